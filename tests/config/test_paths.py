"""Where the commands look for the control socket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial import unittest

from tests.support.configs import MINIMAL
from tests.support.places import short_directory
from tunmesh.config import loading
from tunmesh.config.file import ConfigError
from tunmesh.config.paths import DEFAULT_SOCKET, socket_path


class SocketPath(unittest.SynchronousTestCase):
    """The path that a config gives, without the checks that a node makes."""

    def setUp(self) -> None:
        self.directory = short_directory(self)
        self.path = self.directory / "config.yaml"
        self.environ = {"TUNMESH_CONFIG_PATH": str(self.path), "NAME": "own"}

    def found(self, admin: str) -> Path | None:
        self.path.write_text(f"{MINIMAL}{admin}")
        return socket_path(None, self.environ)

    def test_as_the_node(self) -> None:
        """It is the one that the node has, whatever the config says."""
        for name in ("cert.pem", "key.pem"):
            (self.directory / name).touch()
        for admin, path in (
            ("", DEFAULT_SOCKET),
            ("  # socket of the admin\n", DEFAULT_SOCKET),
            ("  admin: {http_port: 8600}  # and a socket\n", DEFAULT_SOCKET),
            ("  admin: {socket: /run/own.sock}\n", Path("/run/own.sock")),
            ("  admin:\n    socket: here/own.sock\n", self.directory / "here/own.sock"),
            ("  admin: {socket: '/run/${NAME}.sock'}\n", Path("/run/own.sock")),
            ("  admin: {socket: null}\n", None),
        ):
            self.assertEqual(self.found(admin), path, admin)
            loaded = loading.load(self.path, self.environ, lambda low, _: low)
            self.assertEqual(loaded.admin.socket, path, admin)

    def test_said(self) -> None:
        """What the command or the environment says comes first; a file that is not there is no
        error, as the node may have another one."""
        self.found("  admin: {socket: /run/own.sock}\n")
        said = {**self.environ, "TUNMESH_SOCKET": "/run/said.sock"}
        self.assertEqual(socket_path(None, said), Path("/run/said.sock"))
        self.assertEqual(socket_path("/run/option.sock", said), Path("/run/option.sock"))
        self.path.unlink()
        self.assertEqual(socket_path(None, self.environ), DEFAULT_SOCKET)

    def test_unusable(self) -> None:
        """A value that cannot be known is an error, as one of a key elsewhere is not."""
        del self.environ["NAME"]
        with self.assertRaises(ConfigError) as raised:
            self.found("  admin: {socket: '/run/${NAME}.sock'}\n")
        self.assertIn("NAME", str(raised.exception))
        self.assertEqual(self.found("  admin: {socket: /own.sock}\n  typo: 1\n"), Path("/own.sock"))

    def test_light(self) -> None:
        """What checks configs is not imported: a container asks every few seconds."""
        self.found("  admin: {socket: /run/own.sock}\n")
        code = (
            "import os, sys; from tunmesh.config.paths import socket_path; "
            "assert str(socket_path(None, os.environ)) == '/run/own.sock'; "
            "sys.exit('pydantic' in sys.modules)"
        )
        self.assertEqual(
            subprocess.run([sys.executable, "-c", code], env=self.environ).returncode, 0
        )
