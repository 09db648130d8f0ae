"""The command line, as a person uses it."""

from __future__ import annotations

from pathlib import Path

import click
import yaml
from click.testing import CliRunner, Result
from twisted.trial import unittest

from tests.configs import MINIMAL, SECRET
from tunmesh import __version__
from tunmesh.cli import main
from tunmesh.errors import OperatorError


def run(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


class ConfigCommands(unittest.SynchronousTestCase):
    """`tunmesh config …`."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        for name in ("cert.pem", "key.pem"):
            (directory / name).write_text("PEM")
        self.path = directory / "config.yaml"
        self.path.write_text(MINIMAL)

    def test_check_passes(self) -> None:
        """A file that is right gets one line saying so."""
        result = run("config", "check", str(self.path))
        self.assertEqual((result.exit_code, result.output), (0, f"{self.path}: ok\n"))

    def test_file_from_environment(self) -> None:
        """Without a file, the one of $TUNMESH_CONFIG_PATH is meant."""
        result = run("config", "check", environ={"TUNMESH_CONFIG_PATH": str(self.path)})
        self.assertEqual((result.exit_code, result.output), (0, f"{self.path}: ok\n"))

    def test_check_fails(self) -> None:
        """Every problem is one line on stderr, and the exit code says that there are some."""
        self.path.write_text(MINIMAL.replace("uid: 1000", "uid: 0\n    gdi: 5"))
        result = run("config", "check", str(self.path))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr,
            f"{self.path}:20: tun_mesh/process/uid: must be 1 or more, not 0\n"
            f"{self.path}:21: tun_mesh/process/gdi: is not a key; did you mean gid?\n",
        )

    def test_show(self) -> None:
        """The effective config is YAML with every default, and without the secret."""
        result = run("config", "show", str(self.path))
        self.assertEqual(result.exit_code, 0)
        self.assertNotIn(SECRET, result.output)
        tree = yaml.safe_load(result.stdout)["tun_mesh"]
        self.assertEqual(tree["clustering"]["auth"]["secret"], "(redacted)")
        self.assertEqual(tree["control_api"]["listen_port"], 4567)
        self.assertEqual(tree["process"]["gid"], 1000)

    def test_show_secrets(self) -> None:
        """The secret is shown to those who ask for it."""
        result = run("config", "show", "--no-redact", str(self.path))
        tree = yaml.safe_load(result.stdout)["tun_mesh"]
        self.assertEqual(tree["clustering"]["auth"]["secret"], SECRET)

    def test_show_fails(self) -> None:
        """A file that cannot be read is one line on stderr, whatever the command."""
        result = run("config", "show", str(self.path.with_name("none.yaml")))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("none.yaml: cannot be read: No such file or directory", result.stderr)


class TheRest(unittest.SynchronousTestCase):
    """What is common to all commands."""

    def test_version(self) -> None:
        """--version says which tunmesh this is."""
        result = run("--version")
        self.assertEqual(
            (result.exit_code, result.output), (0, f"tunmesh, version {__version__}\n")
        )

    def test_operator_errors(self) -> None:
        """An error that a person must mend is one line, whatever command it comes from."""

        @click.command()
        def doomed() -> None:
            raise OperatorError("/dev/net/tun is missing; run with --device /dev/net/tun")

        main.add_command(doomed)
        self.addCleanup(main.commands.pop, "doomed")
        result = run("doomed")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr, "tunmesh: /dev/net/tun is missing; run with --device /dev/net/tun\n"
        )

    def test_mesh_options(self) -> None:
        """A mesh of fewer than two nodes is refused before anything starts."""
        result = run("mesh", "--nodes", "1")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("--nodes", result.stderr)
