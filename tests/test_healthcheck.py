"""What Docker is told when it asks the container how it is."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.configs import MINIMAL
from tests.realnode import reactor
from tests.test_metrics import LIVE, a_status
from tests.test_web import DEAD, LONELY
from tunmesh.localmesh.plan import self_signed_certificate
from tunmesh.status import Status
from tunmesh.web import site


class HealthcheckTests(unittest.TestCase):
    """The command, beside a port of the loopback on which a node's pages are served."""

    timeout = 30

    def setUp(self) -> None:
        self.status = a_status()
        certificate, key = self_signed_certificate()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        (self.directory / "cert.pem").write_bytes(certificate)
        (self.directory / "key.pem").write_bytes(key)
        identity = PrivateCertificate.loadPEM(certificate + key)
        self.port = reactor.listenSSL(
            0, site(self.current, None, reactor), identity.options(), interface="127.0.0.1"
        )
        self.addCleanup(self.port.stopListening)
        self.configure(f"    listen_port: {self.port.getHost().port}\n")

    def current(self) -> Status:
        return self.status

    def configure(self, listen_port: str) -> None:
        text = MINIMAL.replace("  control_api:\n", f"  control_api:\n{listen_port}")
        (self.directory / "config.yaml").write_text(text)

    async def check(self, *arguments: str) -> tuple[str, int]:
        """What the command prints, and its exit code."""
        config = self.directory / "config.yaml"
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "tunmesh.healthcheck", *arguments],
            env={**os.environ, "TUNMESH_CONFIG_PATH": str(config)},
            reactor=reactor,
        )
        self.assertEqual(err, b"")
        text = out.decode()
        self.assertEqual(text.count("\n"), 1, text)
        return text, code

    async def test_healthy(self) -> None:
        """A node that works is healthy, whatever its certificate says of names."""
        text, code = await self.check()
        self.assertEqual(code, 0)
        self.assertIn('/livez answers 200: { "status": "ok"', text)

    async def test_unhealthy(self) -> None:
        """A node that has lost its tun is not, and Docker keeps the reason."""
        self.status = replace(self.status, live=DEAD)
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertIn("/livez answers 503", text)
        self.assertIn("the tun is gone", text)

    async def test_page(self) -> None:
        """Who wants to know more than whether a restart would help asks for another page."""
        self.status = replace(self.status, live=LIVE, ready=LONELY)
        self.assertEqual((await self.check("/livez"))[1], 0)
        text, code = await self.check("/readyz")
        self.assertEqual(code, 1)
        self.assertIn("not linked to any node", text)

    async def test_nobody_listens(self) -> None:
        """A node that does not listen, yet or any more, is not healthy."""
        await self.port.stopListening()
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertIn("does not answer: [Errno 111] Connection refused", text)

    async def test_silence(self) -> None:
        """A node that hangs is given up on, in time to say so."""
        silent = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        self.configure(f"    listen_port: {silent.getHost().port}\n")
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertRegex(text, r"does not answer: .*timed out")

    async def test_unusable_config(self) -> None:
        """Without a config that can be used there is no node to ask, and the line says why."""
        self.configure("    listen_port: none\n")
        text, code = await self.check()
        self.assertEqual(code, 1)
        self.assertIn("config.yaml:12: tun_mesh/control_api/listen_port: must be", text)
