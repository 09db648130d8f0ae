"""The example and the reference page, generated from the declarations of the keys."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.support.configs import SECRET, Case
from tunmesh.config.docs.describe import duration, size
from tunmesh.config.docs.example import WIDTH, example
from tunmesh.config.docs.reference import reference
from tunmesh.config.keys.root import key_paths
from tunmesh.config.loading import dump

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"

# In the order of the file.
ANSWERS = (
    ("secret", SECRET),
    ("cert_file_path", "cert.pem"),
    ("key_file_path", "key.pem"),
    ("network_cidr", "198.18.0.0/16"),
    ("node_address_cidr", "198.18.1.2/24"),
    ("uid", "65532"),
)
ANSWERS_FOR_IPV6 = (
    *ANSWERS[:5],
    ("network_cidr", "fd77::/48"),
    ("node_address_cidr", "fd77::2/64"),
    ANSWERS[5],
)


def filled(text: str, answers: tuple[tuple[str, str], ...] = ANSWERS) -> str:
    """The example as a user fills it in, from top to bottom."""
    for name, value in answers:
        text = re.sub(rf"(?m)^( *{name}:) REQUIRED$", rf"\1 {value}", text, count=1)
    return text


def uncommented(text: str) -> str:
    """The example with every commented-out key enabled."""
    return re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", text)


class Example(Case):
    """`tunmesh config example`."""

    def test_as_printed(self) -> None:
        """Unchanged, it is refused for exactly the keys marked REQUIRED."""
        keys = [line.split(": ")[1].split("/")[-1] for line in self.refusal(example())]
        self.assertEqual(keys, [name for name, _ in ANSWERS])

    def test_required(self) -> None:
        """The comment of a key says REQUIRED if and only if it must be filled in."""
        comment = ""
        for line in example().splitlines():
            text = line.strip()
            if text.startswith("# "):
                comment = comment or text
            elif text and text not in ("---", "ipv4:", "config_version: 1.1"):
                self.assertEqual(
                    comment.startswith("# REQUIRED"), text.endswith(": REQUIRED"), line
                )
            if not text.startswith("# "):
                comment = ""

    def test_filled_in(self) -> None:
        """Once these are filled in, it loads."""
        config = self.load(filled(example()))
        self.assertEqual(config.clustering.auth.accepted, (SECRET.encode(),))
        self.assertEqual(list(config.clustering.bootstrap_groups), ["default"])
        self.assertIsNone(config.networking.ipv6)

    def test_defaults(self) -> None:
        """The value shown for a commented-out key is its default."""
        short = dump(self.load(filled(example())))
        long = dump(self.load(filled(uncommented(example()), ANSWERS_FOR_IPV6)))
        self.assertIsNotNone(long["tun_mesh"]["networking"]["ipv6"])
        self.assertEqual(long["tun_mesh"]["networking"]["dns"]["domain"], "mesh")
        long["tun_mesh"]["networking"] |= {"ipv6": None, "dns": None}
        self.assertEqual(long, short)

    def test_one_at_a_time(self) -> None:
        """Any single key can be enabled by removing the # in front of it."""
        lines = filled(example()).splitlines(keepends=True)
        for number, line in enumerate(lines):
            if re.match(r" *#[a-z]\w*: ", line) and "REQUIRED" not in line:
                if self.is_in_commented_section(lines, number):
                    continue
                self.load("".join([*lines[:number], uncommented(line), *lines[number + 1 :]]))

    def is_in_commented_section(self, lines: list[str], number: int) -> bool:
        indent = len(lines[number]) - len(lines[number].lstrip())
        parents = (re.match(r"( *)(#?)[a-z]\w*:\s*$", line) for line in reversed(lines[:number]))
        return bool(next(match[2] for match in parents if match and len(match[1]) < indent))

    def test_every_key(self) -> None:
        """It contains every key."""
        tree = yaml.safe_load(uncommented(example()))
        for path in key_paths():
            place = tree
            for name in path:
                place = place["default" if name == "NAME" else name]

    def test_width(self) -> None:
        """It fits a terminal: no line is longer than 100 characters."""
        self.assertEqual([line for line in example().splitlines() if len(line) > WIDTH], [])


class Reference(Case):
    """docs/configuration.md."""

    def test_fresh(self) -> None:
        """The page is up to date with the declarations; `make docs` generates it."""
        self.assertEqual(PAGE.read_text(encoding="utf-8"), reference())

    def test_every_key(self) -> None:
        """It has a section for every section and a row for every key."""
        headings = {line[4:] for line in reference().splitlines() if line.startswith("### ")}
        rows = re.findall(r"(?m)^\| `(\w+)` \|", reference())
        paths = set(key_paths())
        leaves = {path for path in paths if not any(p[: len(path)] == path != p for p in paths)}
        self.assertEqual(len(rows), len(leaves))
        for path in leaves:
            self.assertIn("/".join(path[:-1]), headings)
            self.assertIn(path[-1], rows)

    def test_durations(self) -> None:
        """A duration is shown in the largest unit of which it is a whole number."""
        for seconds, text in {
            0.0: "0s",
            0.1: "0.1s",
            90.0: "90s",
            3600.0: "1h",
            6e5: "10000m",
        }.items():
            self.assertEqual(duration(seconds), text)

    def test_sizes(self) -> None:
        """A size is shown in the largest unit of which it is a whole number."""
        for count, text in {0: "0", 1000: "1000", 2048: "2KiB", 67108864: "64MiB"}.items():
            self.assertEqual(size(count), text)
