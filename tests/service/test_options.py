"""The command line of `twistd tunmesh`, and configs that cannot be used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support import netns
from tests.support.places import short_directory
from tests.support.realnode import OWNER, Ground, reactor, state
from tunmesh import __version__
from tunmesh.localmesh.plan import CERTIFICATE, KEY, NodePlan, self_signed_certificate, write_files
from twisted import __version__ as twisted_version

DOCKERFILE = Path(__file__).parent.parent.parent / "Dockerfile"
# Runs the command that follows as process 1 of a pid namespace, see pid_namespaces(7).


class CommandLineTests(unittest.TestCase):
    """The options before and after the word `tunmesh`."""

    def setUp(self) -> None:
        self.directory = short_directory(self)
        self.config = self.directory / "config.yaml"
        plan = NodePlan(1)
        write_files(self.directory, [plan], OWNER)
        self.config = self.directory / plan.config_file

    async def twistd(
        self, *arguments: str, closed: bool = False, program: str = "twistd"
    ) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        told = Told()
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        streams: dict[int, Any] = {0: "w", 2: "r"} if closed else {0: "w", 1: "r", 2: "r"}
        reactor.spawnProcess(
            told, command[0], command, os.environ, str(self.directory), childFDs=streams
        )
        return await told.ended, told.text

    async def test_version(self) -> None:
        """The version is that of tunmesh."""
        code, text = await self.twistd("tunmesh", "--version")
        self.assertEqual((code, text), (0, f"tunmesh {__version__} (Twisted {twisted_version})\n"))

    async def test_twist(self) -> None:
        """twist, which never calls what has to be done as root, is refused."""
        code, text = await self.twistd("tunmesh", "--config", str(self.config), program="twist")
        self.assertEqual(code, 78)
        self.assertEqual(text, "start it with twistd: twist does not start a service as root\n")

    async def test_background(self) -> None:
        """In the background there is no standard output to log to: it is refused in a line that
        says what to do, before anything is touched, and no pidfile is left."""
        code, text = await self.twistd("tunmesh", "--config", str(self.config))
        self.assertEqual(
            (code, text),
            (
                78,
                "the log would go nowhere, as twistd goes to the background: start it with twistd "
                "--nodaemon, or with --logfile FILE or --syslog\n",
            ),
        )
        self.assertFalse((self.directory / "twistd.pid").exists())

    async def test_closed_output(self) -> None:
        """A closed standard output is refused as well."""
        code, text = await self.twistd(
            "--nodaemon", "tunmesh", "--config", str(self.config), closed=True
        )
        self.assertEqual(code, 78)
        self.assertEqual(
            text,
            "the log would go nowhere, as standard output is closed: redirect it to a file, or "
            "give twistd --logfile FILE\n",
        )


class UnusableConfigTests(unittest.TestCase):
    """Errors in the files are printed, a line for each, before anything is touched."""

    skip = netns.skip_reason()

    def _grounds(self) -> Iterator[tuple[Ground, str]]:
        """Machines with an error, and the text for it."""
        missing = Ground(self)
        missing.config().unlink()
        yield missing, f"{missing.config()}: cannot be read: No such file or directory"
        garbled = Ground(self)
        garbled.config().write_text("tun_mesh: [\n")
        yield garbled, f"{garbled.config()}:2: is not valid YAML"
        unknown = Ground(self)
        unknown.change(networking__tun_device="tun7")
        yield unknown, "tun_mesh/networking/tun_device: is not a key"
        incomplete = Ground(self)
        incomplete.change(process={})
        yield incomplete, "tun_mesh/process/uid: is missing"
        weak = Ground(self)
        weak.change(clustering__auth={"secret": "hunter2"})
        yield weak, "tun_mesh/clustering/auth/secret: must be"
        mismatched = Ground(self)
        (mismatched.directory / KEY).write_bytes(self_signed_certificate()[1])
        yield mismatched, f"{KEY}: is not the private key of the certificate in "
        lost = Ground(self)
        (lost.directory / CERTIFICATE).unlink()
        yield lost, "tun_mesh/control_api/ssl/cert_file_path: must be the path of a file"

    async def test_every_problem(self) -> None:
        """All errors are printed, in the words of `tunmesh config check`; for a key that does not
        exist, with the one that was probably meant."""
        ground = Ground(self)
        (ground.directory / KEY).write_bytes(b"")
        network = {"network_cidr": "127.0.0.0/8", "node_address_cidr": "127.7.0.1/16"}
        ground.change(clustering__nod_name="a", process__uid=0, networking={"ipv4": network})
        node = ground.start()
        check = "from tunmesh.cli.main import main; main()", "config", "check", str(ground.config())
        with ground.namespace():
            checking = netns.run_python(reactor, *check)
        self.assertEqual(await node.ended, 78)
        _, told, _ = await checking
        lines = node.complaint.splitlines()
        errors = [line for line in told.decode().splitlines() if not line.startswith("warning")]
        self.assertEqual(lines, errors)
        for line, what in zip(
            lines,
            (
                "did you mean node_name?",
                "is empty",
                "127.0.0.0/8 overlaps 127.0.0.0/8",
                "must be 1 or more",
            ),
            strict=True,
        ):
            self.assertIn(what, line)

    async def test_refusals(self) -> None:
        """A config that cannot be used ends the start with code 78 and one line that names the
        file or key; no interface, address, route or port is made, and no secret is shown."""
        grounds = list(self._grounds())
        before = [state(ground.namespace()) for ground, _ in grounds]
        nodes = [ground.start() for ground, _ in grounds]
        codes = await gatherResults([node.ended for node in nodes])
        for (ground, complaint), node, unchanged in zip(grounds, nodes, before, strict=True):
            self.assertIn(complaint, node.complaint)
            self.assertEqual(node.complaint.count("\n"), 1, node.complaint)
            self.assertEqual(node.output[1], b"")
            self.assertNotIn("hunter2", node.text)
            self.assertEqual(state(ground.namespace()), unchanged, complaint)
        self.assertEqual(codes, [78] * len(nodes))


class Told(ProcessProtocol):
    """The output of a process, and its exit code."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self.text = ""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.text += data.decode()

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self.ended.callback(value.exitCode)
