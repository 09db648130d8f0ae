"""What the documentation shows can be typed: its configs load, its commands have these options."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.config.test_lint import LintCase
from tests.support.configs import MINIMAL, middle
from tests.test_docs import CODE, ROOT
from tunmesh.cli.main import main
from tunmesh.config.keys.root import Config
from tunmesh.config.lint.lint import lint

# The first keys of what is for other programs: Kubernetes, Compose, Patroni.
FOREIGN = {"initContainers", "spec", "resources", "services", "postgresql"}
BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
PROMPT = re.compile(r"(?m)^(?:\w*[$#] )(.*)$")
# From `tunmesh` to where a shell would end the command.
COMMAND = re.compile(r"(?<![\w.:@-])tunmesh ([a-z][^\n\\|;&#<>()…\"']+)")


def pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from (ROOT / "docs").glob("*.md")
    yield from (ROOT / "deploy").glob("**/README.md")
    yield from (ROOT / "tunmesh" / "deployments" / "templates").glob("**/README.md")


class Configs(LintCase):
    """The YAML in the documentation."""

    def test_configs_load(self) -> None:
        """Each example is a config, or becomes one in the place of a minimal one that it belongs
        to: `tunmesh config check` has nothing against it."""
        for name in ("secret", "secret-2"):
            (self.directory / name).write_text(f"{name}: at least 32 characters of it")
            (self.directory / name).chmod(0o600)
        wrong, seen = [], 0
        for page in pages():
            for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
                if language == "yaml" and not FOREIGN & set(tree := yaml.safe_load(text)):
                    seen += 1
                    self.path.write_text(yaml.safe_dump(self.whole(tree)))
                    # What is in use on this machine does not matter.
                    findings = lint(self.path, {}, middle, time.time(), False, False)
                    for problem in (*findings.errors, *findings.warnings):
                        wrong.append(f"{page.name}: {problem.key}: {problem.text}: {text}")
        self.assertEqual(wrong, [])
        self.assertGreater(seen, 10)

    def whole(self, tree: dict[str, Any]) -> dict[str, Any]:
        """A fragment, in the config around it."""
        config: dict[str, Any] = yaml.safe_load(MINIMAL)
        if "tun_mesh" not in tree:
            section = next(
                (
                    name
                    for name, field in Config.model_fields.items()
                    if set(tree) <= set(getattr(field.annotation, "model_fields", ()))
                ),
                None,
            )
            tree = {"tun_mesh": {section: tree} if section else tree}
        if "config_version" in tree["tun_mesh"]:
            config = tree
        else:
            if "auth" in tree["tun_mesh"].get("clustering", ()):
                del config["tun_mesh"]["clustering"]["auth"]
            merge(config, tree)
        config["tun_mesh"]["process"] = {"uid": 65532}  # README's user is not on this machine
        return config


def merge(config: dict[str, Any], tree: dict[str, Any]) -> None:
    """Put the fragment's keys into the config."""
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


class Commands(SynchronousTestCase):
    """The commands in the documentation."""

    def test_commands_exist(self) -> None:
        """Each `tunmesh …`, in a block or in a sentence, is a command with these options."""
        wrong, seen = [], 0
        for page in pages():
            for words in self.commands(page.read_text(encoding="utf-8")):
                seen += 1
                try:
                    parse(main, words)
                except click.BadOptionUsage:
                    pass  # a sentence that names an option gives it no value
                except click.UsageError as error:
                    wrong.append(f"{page.name}: tunmesh {' '.join(words)}: {error.message}")
        self.assertEqual(wrong, [])
        self.assertGreater(seen, 150)

    def test_targets_exist(self) -> None:
        """Each `make …` is a target, and its variables are used."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
        for page in pages():
            for line in re.findall(r"(?:`|^\$ |^)make ([a-z][^`\n#|]*)", page.read_text(), re.M):
                target, *others = shlex.split(line)
                self.assertIn(target, targets, page.name)
                for other in others:
                    self.assertIn(f"$({other.partition('=')[0]}", makefile.replace("$(if $(", "$("))

    def commands(self, text: str) -> Iterator[list[str]]:
        for language, block in BLOCK.findall(text.replace("\\\n", "")):
            lines = [block] if language in ("sh", "yaml") else PROMPT.findall(block)
            for line in lines:
                yield from map(shlex.split, COMMAND.findall(line))
        for inline in INLINE.findall(CODE.sub("", text)):
            yield from map(shlex.split, COMMAND.findall(inline.replace("\n", " ")))


def parse(command: click.Command, words: list[str]) -> None:
    """Raises click's UsageError if there is no such command, option or argument. Values are not
    looked at: most are placeholders."""
    context = click.Context(command)
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"there is no {words[0]}")
        parse(found, words[1:])
        return
    _, rest, _ = command.make_parser(context).parse_args(list(words))
    if rest and not isinstance(command, click.Group):
        raise click.UsageError(f"there is no argument for {rest}")
