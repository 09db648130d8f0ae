"""`tunmesh run`: what is started as whom. tests/host/test_both.py has how it goes on."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial import unittest

from tunmesh.cli.main import main
from tunmesh.host import both
from tunmesh.host.both import Commands, User


class RunTests(unittest.SynchronousTestCase):
    """The command line; nothing is started."""

    def setUp(self) -> None:
        self.started: list[tuple[Commands, User, float]] = []
        self.patch(os, "geteuid", lambda: 0)
        self.patch(both, "supervise", self.supervise)

    def supervise(self, commands: Commands, user: User, grace: float) -> int:
        self.started.append((commands, user, grace))
        return 3

    def run_with(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["run", *arguments])

    def user(self, value: str) -> User:
        result = self.run_with("--user", value, "--", "true")
        self.assertEqual(result.exit_code, 3, result.output)
        return self.started[-1][1]

    def refused(self, *arguments: str) -> str:
        result = self.run_with(*arguments)
        self.assertEqual(self.started, [])
        self.assertIn(result.exit_code, (1, 2))
        return result.output.strip().splitlines()[-1]

    def test_commands(self) -> None:
        """The node, what is waited for, and the application with its own options. The exit code is
        that of `supervise`."""
        result = self.run_with("--user", "1234", "--for", "peers=2", "--", "app", "--user", "x")
        self.assertEqual(result.exit_code, 3)
        ((commands, _, grace),) = self.started
        self.assertEqual(commands.application, ("app", "--user", "x"))
        node, *options = commands.node
        self.assertEqual(
            (Path(node).name, options), ("twistd", ["--nodaemon", "--pidfile=", "tunmesh"])
        )
        gate, *options = commands.gate
        waited_for = ["wait", "--timeout", "inf", "--for", "peers=2"]
        self.assertEqual((Path(gate).name, options), ("tunmesh", waited_for))
        self.assertEqual(grace, both.GRACE)

    def test_until_it_has_an_address(self) -> None:
        """By default the application begins when the node has its address."""
        self.run_with("--user", "1234", "app")
        self.assertEqual(list(self.started[0][0].gate)[-2:], ["--for", "address"])

    def test_users(self) -> None:
        """By name or number; a number that nobody has is its own group, never root's."""
        self.assertEqual(self.user("54321"), User(54321, 54321, "/"))
        self.assertEqual(self.user("54321:54322"), User(54321, 54322, "/"))
        nobody = self.user("nobody")
        self.assertNotEqual(nobody.gid, 0)
        self.assertEqual(self.user(f"{nobody.uid}"), nobody)

    def test_refusals(self) -> None:
        """Root, its group, and who is not there; a condition that is none; no command."""
        for value in ("0", "root", "1234:0", "1234:root"):
            self.assertIn(
                "another user and group than root's", self.refused("--user", value, "app")
            )
        self.assertIn(
            "there is no user 'who-is-this'", self.refused("--user", "who-is-this", "app")
        )
        self.assertIn("there is no group 'what'", self.refused("--user", "1:what", "app"))
        self.assertIn("'soon' is not", self.refused("--user", "1", "--for", "soon", "app"))
        self.assertIn("Missing argument", self.refused("--user", "1"))
        self.assertIn("Missing option '--user'", self.refused("app"))

    def test_not_as_root(self) -> None:
        """It says what it must be started as."""
        self.patch(os, "geteuid", lambda: 1000)
        line = self.refused("--user", "1234", "app")
        self.assertIn(
            "must be started as root, with CAP_NET_ADMIN, CAP_SETUID and CAP_SETGID", line
        )
