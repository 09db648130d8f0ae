"""`tunmesh init` writes deployments that work as they are, and nothing when it cannot."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.cli.main import main
from tunmesh.config import loading
from tunmesh.config.values import Automatic
from tunmesh.deployments import write
from tunmesh.deployments.templates import KINDS, Choices, render
from tunmesh.errors import OperatorError
from tunmesh.pki import pem

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
WORDS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


def tree(directory: Path) -> dict[str, str]:
    """The content of every file below, by its path."""
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class InitCase(SynchronousTestCase):
    """An empty directory, and the command."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def run_init(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["init", *arguments])

    def written(self, kind: str, *options: str) -> Path:
        """Where the deployment is."""
        where = self.directory / kind
        result = self.run_init(kind, str(where), *options)
        self.assertEqual(result.exit_code, 0, result.output)
        return where

    def config(self, where: Path) -> loading.Config:
        """The config, as a node reads it."""
        (path,) = where.rglob("config.yaml")
        path.write_text(path.read_text().replace("uid: tunmesh", "uid: 1"))
        environment = {"POD_IP": "10.244.1.7", "MESH_GROUP": "web"}
        return loading.load(path, environment, lambda low, _high: low)

    def refused(self, *arguments: str) -> str:
        """The one line about why nothing was written."""
        before = tree(self.directory)
        result = self.run_init(*arguments)
        self.assertNotEqual(result.exit_code, 0, result.output)
        self.assertEqual(tree(self.directory), before)
        return result.output.splitlines()[-1]


class WrittenTests(InitCase):
    """What is written."""

    def test_config(self) -> None:
        """Every deployment has one config that nodes accept, without a number that differs from
        node to node, and the new secret, certificate and key that it names."""
        for kind in KINDS:
            config = self.config(self.written(kind))
            for family, network in (
                (config.networking.ipv4, "10.9.0.0/16"),
                (config.networking.ipv6, "fd09::/64"),
            ):
                assert family is not None
                self.assertEqual(str(family.network_cidr), network)
                self.assertIsInstance(family.node_address_cidr, Automatic)
            self.assertEqual(str(config.clustering.control_api_advertise_url), "auto")
            self.assertEqual(config.clustering.node_groups, ("web",))
            self.assertIn("10.9.255.254", map(str, config.networking.dns_addresses))
            self.assertEqual(len(config.clustering.auth.accepted[0]), 64)
            ssl = config.control_api.ssl
            (certificate,), _key = pem.read_pair(ssl.cert_file_path, ssl.key_file_path)
            self.assertGreater(certificate.not_valid_after_utc.year, datetime.now(UTC).year + 8)

    def test_keys(self) -> None:
        """Keys can be read by their owner only, as can their directory; in Compose by one group as
        well, since in the container root may read only what its groups may. Each mesh has keys of
        its own."""
        for kind, file, folder in (
            ("kubernetes", 0o600, 0o700),
            ("systemd", 0o600, 0o700),
            ("compose", 0o640, 0o750),
        ):
            (key,) = self.written(kind).rglob("key.pem")
            for name in ("key.pem", "cert.pem", "secret"):
                self.assertEqual(mode(key.with_name(name)), file)
            self.assertEqual(mode(key.parent), folder)
        group = 65532 if os.geteuid() == 0 else os.getegid()
        self.assertEqual(key.stat().st_gid, group)
        compose = yaml.safe_load((key.parent.parent / "compose.yaml").read_text())
        for service in compose["services"].values():
            if "NET_ADMIN" in service.get("cap_add", ()):
                self.assertEqual(service["group_add"], [str(group)])
        secrets = {path.read_text() for path in self.directory.rglob("secret")}
        self.assertEqual(len(secrets), 3)

    def test_ignored(self) -> None:
        """git ignores the keys, and nothing else."""
        for kind in KINDS:
            where = self.written(kind)
            ignored = set((where / ".gitignore").read_text().split())
            (key,) = where.rglob("key.pem")
            folder = key.parent.relative_to(where)
            self.assertEqual(ignored, {f"{folder}/secret", f"{folder}/*.pem"})

    def test_umask(self) -> None:
        """The modes do not depend on the umask."""
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        where = self.written("kubernetes")
        self.assertEqual(mode(where / "base" / "service.yaml"), 0o644)
        self.assertEqual(mode(where / "deployment"), 0o755)

    def test_readme(self) -> None:
        """The README has the commands, on about one screen, and no line that is too long."""
        for kind in KINDS:
            lines = (self.written(kind) / "README.md").read_text().splitlines()
            self.assertLessEqual(len(lines), 25)
            self.assertLessEqual(max(map(len, lines)), 120)

    def test_choices(self) -> None:
        """Choices appear in the config and in the manifests, everywhere."""
        options = ["--name", "net7", "--network", "10.50.0.0/20", "--port", "7777"]
        for kind in KINDS:
            where = self.written(kind, *options)
            config = self.config(where)
            assert config.networking.ipv4 is not None
            self.assertEqual(str(config.networking.ipv4.network_cidr), "10.50.0.0/20")
            self.assertIsNone(config.networking.ipv6)
            self.assertEqual(list(map(str, config.networking.dns_addresses)), ["10.50.15.254"])
            self.assertEqual(config.control_api.listen_port, 7777)
            text = "".join(tree(where).values())
            self.assertIn("10.50.15.254", text)
            for default in ("10.9.", "fd09:", "https://tunmesh"):
                self.assertNotIn(default, text)
            self.assertNotRegex(text, r"<<(?!: \*)")  # YAML's merge key is no choice
            self.assertNotRegex(text, r"(?<!#) 4567\b(?! is also)")

    def test_bootstrap(self) -> None:
        """Hosts are found by those that are named."""
        hosts = ["--bootstrap", "192.0.2.1", "--bootstrap", "fd00::2", "--bootstrap", "c.example"]
        where = self.written("systemd", *hosts)
        self.assertIn('through https://192.0.2.1:4567, "', (where / "README.md").read_text())
        config = self.config(where)
        (group,) = config.clustering.bootstrap_groups.values()
        self.assertEqual(
            list(map(str, group.bootstrap_node_urls)),
            ["https://192.0.2.1:4567", "https://[fd00::2]:4567", "https://c.example:4567"],
        )

    def test_deploy(self) -> None:
        """`deploy/` has what `tunmesh init` writes, without the keys: run `make docs`."""
        for kind in KINDS:
            written = tree(self.written(kind, "--without-keys"))
            there = tree(DEPLOY / kind)
            self.assertEqual(sorted(written), sorted(there))
            for name, text in written.items():
                self.assertEqual(text, there[name], f"{kind}/{name}")

    @settings(max_examples=30, deadline=None)
    @given(st.sampled_from(KINDS), WORDS, WORDS, st.integers(1, 65535))
    def test_any_choice(self, kind: str, name: str, service: str, port: int) -> None:
        """Whatever is chosen, nothing is left to fill in, and YAML stays YAML."""
        files = render(kind, Choices(name=name, service=service, port=port))
        for path, text in files.items():
            self.assertNotIn("<<", text.replace("<<:", ""))
            if path.endswith(".yaml"):
                for document in yaml.safe_load_all(text):
                    self.assertIsInstance(document, Mapping)


class RefusedTests(InitCase):
    """When nothing is written."""

    def test_taken(self) -> None:
        """Nothing is overwritten, not even an empty directory or a dead link; files of other names
        do no harm."""
        where = self.written("compose")
        self.assertIn(".gitignore: exists already", self.refused("systemd", str(where)))
        other = self.directory / "other"
        other.mkdir()
        (other / "mine").write_text("x")
        (other / "config").symlink_to("nowhere")
        self.assertIn("config: exists already", self.refused("compose", str(other)))
        (other / "config").unlink()
        (other / "config").mkdir()
        self.assertIn("config: exists already", self.refused("compose", str(other)))
        (other / "config").rmdir()
        self.assertEqual(self.run_init("compose", str(other)).exit_code, 0)
        self.assertEqual((other / "mine").read_text(), "x")

    def test_twice(self) -> None:
        """A second run says so and changes no key."""
        where = self.written("kubernetes")
        self.assertIn("exists already", self.refused("kubernetes", str(where)))

    def test_unusable_choice(self) -> None:
        """What nodes would not accept is refused in the words of the config check."""
        line = self.refused("systemd", str(self.directory / "x"), "--network", "10.9.0.0/31")
        self.assertIn("config/config.yaml:", line)
        self.assertIn("10.9.0.0/31 is too small", line)
        self.assertIn("nothing is written", line)
        self.assertFalse((self.directory / "x").exists())

    def test_options(self) -> None:
        """What would break the files is refused."""
        for option, value in (
            ("--name", "Mesh"),
            ("--name", "a\nb"),
            ("--service", "-x"),
            ("--domain", 'x"y'),
            ("--network", "10.9.0.1/16"),
            ("--network", "${X}"),
            ("--port", "0"),
            ("--image", "a b"),
            ("--replicas", "0"),
        ):
            line = self.refused("compose", str(self.directory / "x"), option, value)
            self.assertIn(option, line)
        both = ("--network", "10.9.0.0/16", "--network", "10.8.0.0/16")
        line = self.refused("compose", str(self.directory / "x"), *both)
        self.assertIn("two networks of one family", line)
        same = self.refused("compose", str(self.directory / "x"), "--name", "mesh")
        self.assertIn("must differ", same)

    def test_not_a_directory(self) -> None:
        """A file in the way is named."""
        (self.directory / "file").write_text("")
        line = self.refused("compose", str(self.directory / "file"))
        self.assertRegex(line, r"file: cannot be written: (Not a directory|File exists)")

    def test_half_written(self) -> None:
        """If the last step fails, what was there before is there, and nothing else."""

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "link", full)
        (self.directory / "x").mkdir()
        for name in ("x", "new"):
            line = self.refused("compose", str(self.directory / name))
            self.assertIn("No space left on device", line)
        self.assertEqual(list((self.directory / "x").iterdir()), [])
        self.assertFalse((self.directory / "new").exists())

    def test_race(self) -> None:
        """What appears meanwhile is not overwritten either."""
        real, where = write._make_keys, self.directory / "x"

        def slowly(*arguments: object) -> None:
            real(*arguments)  # type: ignore[arg-type]
            (where / "README.md").write_text("mine")

        self.patch(write, "_make_keys", slowly)
        with self.assertRaises(OperatorError):
            write.write_deployment(where, render("compose", Choices()), NOW, None)
        self.assertEqual(tree(where), {"README.md": "mine"})
