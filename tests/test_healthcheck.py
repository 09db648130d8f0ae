"""The health check that Docker runs in a container."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.api.test_public import DEAD, LIVE, LONELY
from tests.observe.test_metrics import a_status
from tests.support.configs import MINIMAL
from tests.support.control import FakeNode, command
from tests.support.places import short_directory
from tests.support.realnode import reactor
from tunmesh.api.public import site
from tunmesh.localmesh.plan import self_signed_certificate
from tunmesh.status.health import Health


class AtThePort(unittest.TestCase):
    """The command, next to a node's HTTP pages on a loopback port, and without a control socket."""

    def setUp(self) -> None:
        self.status = a_status()
        certificate, key = self_signed_certificate()
        self.directory = short_directory(self)
        (self.directory / "cert.pem").write_bytes(certificate)
        (self.directory / "key.pem").write_bytes(key)
        identity = PrivateCertificate.loadPEM(certificate + key)
        self.port = reactor.listenSSL(
            0, site(self.current, None, reactor), identity.options(), interface="127.0.0.1"
        )
        self.addCleanup(self.port.stopListening)
        self.configure(f"    listen_port: {self.port.getHost().port}\n")

    def current(self) -> Health:
        return self.status.health

    def configure(self, listen_port: str) -> None:
        text = MINIMAL.replace("  control_api:\n", f"  control_api:\n{listen_port}")
        (self.directory / "config.yaml").write_text(text)

    async def check(self, *arguments: str) -> tuple[str, int]:
        """The command's output and exit code."""
        config = self.directory / "config.yaml"
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "tunmesh.healthcheck", *arguments],
            env={
                **os.environ,
                "TUNMESH_CONFIG_PATH": str(config),
                "TUNMESH_SOCKET": str(self.directory / "none.sock"),
            },
            reactor=reactor,
        )
        self.assertEqual(err, b"")
        text = out.decode()
        self.assertEqual(text.count("\n"), 1, text)
        return text, code

    async def test_healthy(self) -> None:
        """A working node is healthy, whatever names are in its certificate."""
        text, code = await self.check()
        self.assertEqual(code, 0)
        self.assertIn('/livez answers 200: { "status": "ok"', text)

    async def test_unhealthy(self) -> None:
        """A node that has lost its tun is unhealthy; the port does not reveal the reason."""
        self.status = replace(self.status, live=DEAD.live)
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertEqual(text, '/livez answers 503: { "status": "unavailable" }\n')

    async def test_page(self) -> None:
        """Another page can be requested, to check more than whether a restart would help."""
        self.status = replace(self.status, live=LIVE, ready=LONELY)
        self.assertEqual((await self.check("/livez"))[1], 0)
        text, code = await self.check("/readyz")
        self.assertEqual(code, 1)
        self.assertIn("/readyz answers 503", text)

    async def test_no_listener(self) -> None:
        """A node that does not listen, not yet or no longer, is unhealthy."""
        await self.port.stopListening()
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertIn("does not answer: Connection refused", text)

    async def test_silence(self) -> None:
        """A hung node times out, early enough to report it."""
        silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        self.configure(f"    listen_port: {silent.getHost().port}\n")
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertRegex(text, r"does not answer: .*timed out")

    async def test_unusable_config(self) -> None:
        """Without a usable config there is no node to ask, and the line says why."""
        self.configure("    listen_port: none\n")
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertIn("config.yaml:12: tun_mesh/control_api/listen_port: must be", text)


class AtTheSocket(unittest.TestCase):
    """The command, next to a node with a control socket."""

    def setUp(self) -> None:
        self.node = FakeNode(self)

    async def python(self, *arguments: str, path: Path | None = None) -> tuple[str, int]:
        """The output and exit code of a Python that is given the socket and no config."""
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            arguments,
            env={
                **os.environ,
                "TUNMESH_CONFIG_PATH": "/nonexistent",
                "TUNMESH_SOCKET": str(path or self.node.path),
            },
            reactor=reactor,
        )
        self.assertEqual(err, b"")
        return out.decode(), code

    async def test_pages(self) -> None:
        """The socket gives the same answers and exit codes as the port."""
        self.node.now = replace(self.node.now, live=LIVE, ready=LONELY)
        for page, code, said in (
            ("/livez", 0, '/livez answers 200: { "status": "ok"'),
            ("/readyz", 1, "not linked to any node"),
            ("/health", 1, "/health answers 503"),
            ("/v2", 1, "/v2 answers 404"),
        ):
            text, ended = await self.python("-m", "tunmesh.healthcheck", page)
            self.assertEqual(ended, code)
            self.assertIn(said, text)
            self.assertEqual(text.count("\n"), 1)

    async def test_command(self) -> None:
        """`tunmesh healthcheck` does the same, with an option for readiness."""
        self.node.now = replace(self.node.now, live=LIVE, ready=LONELY)
        alive = await command(self.node.path, "healthcheck")
        self.assertEqual(alive.exit_code, 0, alive.output)
        ready = await command(self.node.path, "healthcheck", "--ready")
        self.assertEqual(ready.exit_code, 1)
        self.assertIn("not linked to any node", ready.output)

    async def test_light(self) -> None:
        """It imports nothing heavy, since it is run every few seconds in every container."""
        heavy = {"ssl", "http", "json", "click", "pydantic", "yaml", "twisted", "asyncio"}
        text, code = await self.python(
            "-c",
            "import os, sys; from tunmesh import healthcheck; healthcheck.main([], os.environ); "
            f"sys.exit(', '.join({heavy} & set(sys.modules)) or 0)",
        )
        self.assertEqual(code, 0, text)
        self.assertIn("answers 200", text)

    async def test_silence(self) -> None:
        """A hung node is unhealthy, and its port is not tried after that."""
        path = self.node.directory / "silent.sock"
        silent = reactor.listenUNIX(str(path), Factory.forProtocol(Protocol))
        self.addCleanup(silent.stopListening)
        text, code = await self.python("-m", "tunmesh.healthcheck", path=path)
        self.assertEqual(code, 1)
        self.assertEqual(text, f"/livez of {path} does not answer: timed out\n")

    async def test_nonsense(self) -> None:
        """Any answer from another server is reported in one line."""
        path = self.node.directory / "else.sock"
        other = reactor.listenUNIX(str(path), Factory.forProtocol(NonHttpServer))
        self.addCleanup(other.stopListening)
        text, code = await self.python("-m", "tunmesh.healthcheck", path=path)
        self.assertEqual((code, text.count("\n")), (1, 1))
        self.assertIn("does not answer", text)


class NonHttpServer(Protocol):
    """A server that does not speak HTTP."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"mumble mumble")
        self.transport.loseConnection()
