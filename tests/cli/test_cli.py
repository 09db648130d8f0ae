"""The command line, as a user sees it."""

from __future__ import annotations

import json

import click
import yaml
from click.testing import CliRunner, Result
from twisted.trial import unittest

from tests.config.test_lint import GOOD, LintCase
from tests.support.configs import SECRET
from tunmesh import __version__
from tunmesh.cli.base import OneLineErrors, instead
from tunmesh.cli.configs import generate_example, parse
from tunmesh.cli.main import main
from tunmesh.config.docs.example import example
from tunmesh.config.docs.reference import reference
from tunmesh.config.docs.schema import schema
from tunmesh.errors import OperatorError

# An error that any command finds, and one that only the lint finds.
WRONG = GOOD.replace("uid: 1000", "uid: 0").replace("198.18.", "127.7.")
DOUBTFUL = GOOD.replace("  control_api:\n", "  control_api:\n    max_batch_size: 9\n")


def run(
    *arguments: str, environ: dict[str, str] | None = None, command: click.Command = main
) -> Result:
    return CliRunner().invoke(command, arguments, env=environ)


class ConfigCommands(LintCase):
    """`tunmesh config …`."""

    def setUp(self) -> None:
        super().setUp()
        self.path.write_text(GOOD)

    def test_check_passes(self) -> None:
        """For a valid file, one line says so."""
        result = run("config", "check", str(self.path))
        self.assertEqual((result.exit_code, result.output), (0, f"{self.path}: ok\n"))

    def test_file_from_environment(self) -> None:
        """Without a file argument, the file in $TUNMESH_CONFIG_PATH is checked."""
        result = run("config", "check", environ={"TUNMESH_CONFIG_PATH": str(self.path)})
        self.assertEqual((result.exit_code, result.output), (0, f"{self.path}: ok\n"))

    def test_check_fails(self) -> None:
        """Every problem is one line on stderr, and the exit code is not 0."""
        self.path.write_text(GOOD.replace("uid: 1000", "uid: 0\n    gdi: 5"))
        result = run("config", "check", str(self.path))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr,
            f"{self.path}:20: tun_mesh/process/uid: must be 1 or more, not 0\n"
            f"{self.path}:21: tun_mesh/process/gdi: is not a key; did you mean gid?\n",
        )

    def test_check_warns(self) -> None:
        """A warning is one line on stderr, and does not change the exit code."""
        self.path.write_text(DOUBTFUL)
        result = run("config", "check", "--redact", str(self.path))
        self.assertEqual((result.exit_code, result.stdout), (0, f"{self.path}: ok\n"))
        self.assertEqual(
            result.stderr,
            f"warning: {self.path}:12: tun_mesh/control_api/max_batch_size: "
            "has no effect here; it can be removed\n",
        )

    def test_check_includes_the_lint(self) -> None:
        """Problems found only by the lint are reported together with those that every command
        finds."""
        self.path.write_text(WRONG)
        result = run("config", "check", str(self.path))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        network, uid = result.stderr.splitlines()
        self.assertIn(":17: tun_mesh/networking/ipv4/network_cidr: 127.7.0.0/16 overlaps", network)
        self.assertIn(":20: tun_mesh/process/uid: must be 1 or more, not 0", uid)

    def test_example(self) -> None:
        """The example is printed exactly as it should be saved."""
        result = run("config", "example")
        self.assertEqual((result.exit_code, result.stdout), (0, example()))

    def test_schema(self) -> None:
        """The schema is printed as JSON."""
        result = run("config", "schema")
        self.assertEqual((result.exit_code, json.loads(result.stdout)), (0, schema()))

    def test_reference(self) -> None:
        """The documentation of the keys is printed, for users who have only the image."""
        result = run("config", "reference")
        self.assertEqual((result.exit_code, result.stdout), (0, reference()))

    def test_show(self) -> None:
        """The effective config is printed as YAML with every default, and without the secret."""
        result = run("config", "show", str(self.path))
        self.assertEqual(result.exit_code, 0)
        self.assertNotIn(SECRET, result.output)
        tree = yaml.safe_load(result.stdout)["tun_mesh"]
        self.assertEqual(tree["clustering"]["auth"]["secret"], "(redacted)")
        self.assertEqual(tree["control_api"]["listen_port"], 4567)
        self.assertEqual(tree["process"]["gid"], 1000)

    def test_show_secrets(self) -> None:
        """The secret is shown on request."""
        result = run("config", "show", "--no-redact", str(self.path))
        tree = yaml.safe_load(result.stdout)["tun_mesh"]
        self.assertEqual(tree["clustering"]["auth"]["secret"], SECRET)

    def test_show_fails(self) -> None:
        """A file that cannot be read is one line on stderr, for every command."""
        result = run("config", "show", str(self.path.with_name("none.yaml")))
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("none.yaml: cannot be read: No such file or directory", result.stderr)


class CommandsOfTheOriginal(LintCase):
    """`generate_tun_mesh_example_config` and `parse_tun_mesh_config`."""

    def setUp(self) -> None:
        super().setUp()
        self.path.write_text(GOOD)

    def test_generate(self) -> None:
        """The example is the same as that of `tunmesh config example`."""
        result = run(command=generate_example)
        self.assertEqual((result.exit_code, result.stdout), (0, example()))

    def test_parse(self) -> None:
        """The effective config is printed as YAML, the secret hidden."""
        result = run(str(self.path), command=parse)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertEqual(result.stdout, run("config", "show", str(self.path)).stdout)
        self.assertNotIn(SECRET, result.output)

    def test_parse_secrets(self) -> None:
        """The secret is shown on request, and the output is then a valid config."""
        result = run("--no-redact", str(self.path), command=parse)
        self.assertEqual(self.load(result.stdout), self.load(GOOD))

    def test_parse_file_from_environment(self) -> None:
        """Without a file argument, the file in $TUNMESH_CONFIG_PATH is used."""
        result = run(environ={"TUNMESH_CONFIG_PATH": str(self.path)}, command=parse)
        self.assertEqual(result.stdout, run("config", "show", str(self.path)).stdout)

    def test_parse_warns(self) -> None:
        """Warnings go to stderr, so that stdout is still YAML."""
        self.path.write_text(DOUBTFUL)
        result = run(str(self.path), command=parse)
        self.assertEqual(result.exit_code, 0)
        self.assertTrue(result.stderr.startswith(f"warning: {self.path}:12: "), result.stderr)
        self.assertEqual(yaml.safe_load(result.stdout)["tun_mesh"]["process"]["uid"], 1000)

    def test_parse_fails(self) -> None:
        """Every error is one line on stderr, with exit code 1 and nothing on stdout."""
        self.path.write_text(WRONG)
        result = run(str(self.path), command=parse)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 2)
        for line in result.stderr.splitlines():
            self.assertTrue(line.startswith(f"{self.path}:"), line)

    def test_parse_nothing(self) -> None:
        """A missing file is one line, too."""
        result = run("/nowhere/config.yaml", command=parse)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr,
            "/nowhere/config.yaml: cannot be read: No such file or directory; "
            "must be a readable file\n",
        )


class HelpTests(unittest.SynchronousTestCase):
    """`tunmesh --help`, on a terminal of 80 columns."""

    def test_summaries(self) -> None:
        """The list of commands says what each one does, in a line that is not cut."""
        for group in ([], ["config"], ["secret"]):
            shown = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).output
            _, _, commands = shown.partition("\nCommands:\n")
            self.assertTrue(commands, group)
            self.assertNotIn("...", commands)


class CommonOptions(unittest.SynchronousTestCase):
    """What all commands have in common."""

    def test_version(self) -> None:
        """--version prints the version of tunmesh."""
        result = run("--version")
        self.assertEqual(
            (result.exit_code, result.output), (0, f"tunmesh, version {__version__}\n")
        )

    def test_operator_errors(self) -> None:
        """An error that a person must fix is one line, for every command."""

        @click.command(cls=OneLineErrors)
        def doomed() -> None:
            raise OperatorError("/dev/net/tun is missing; run with --device /dev/net/tun")

        result = CliRunner().invoke(doomed)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(
            result.stderr, "tunmesh: /dev/net/tun is missing; run with --device /dev/net/tun\n"
        )

    def test_misspelt_commands(self) -> None:
        """A command that does not exist is answered with the one that was probably meant."""
        for given, meant in (
            (["statsu"], "'status'"),
            (["config", "chekc"], "'check'"),
            (["init", "composer"], "'compose'"),
        ):
            result = CliRunner().invoke(main, given)
            self.assertEqual(result.exit_code, 2)
            self.assertIn(f"No such command {given[-1]!r}. Did you mean {meant}?", result.stderr)
        unknown = CliRunner().invoke(main, ["frobnicate"])
        self.assertIn("No such command 'frobnicate'.\n", unknown.stderr)

    def test_names_of_many_nodes(self) -> None:
        """Of a large mesh an error names only some nodes."""
        names = [f"web-{number}" for number in range(20)]
        self.assertEqual(instead("db", []), "linked: nobody")
        self.assertEqual(instead("web1", names), "did you mean web-1?")
        self.assertTrue(instead("db", names).endswith(" and 12 others"))

    def test_mesh_options(self) -> None:
        """A mesh of fewer than two nodes is refused before anything starts."""
        result = run("mesh", "--nodes", "1")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("--nodes", result.stderr)
