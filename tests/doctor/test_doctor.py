"""`tunmesh doctor`: it finds each problem that keeps a node from joining, and says how to fix
it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pyroute2 import IPRoute
from twisted.internet import reactor as trial_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.config.test_lint import GOOD, LintCase
from tests.real.test_inside import hosts_of
from tests.real.test_names import RESOLV_CONF
from tests.real.test_nat import RouterCase
from tests.real.test_paths import NARROW
from tests.real.test_udp import nft, segment
from tests.support import netns
from tests.support.certificates import DAY, Holder
from tests.support.configs import middle
from tests.support.realnode import THEN_EXEC, Ground
from tunmesh.cli import client
from tunmesh.cli.doctoring import doctor
from tunmesh.cli.keys import rotate
from tunmesh.config import paths
from tunmesh.config.lint.lint import lint
from tunmesh.config.paths import SOCKET_VARIABLE
from tunmesh.dialing.segments import LIMITS
from tunmesh.doctor import diagnosis
from tunmesh.doctor.diagnosis import Running
from tunmesh.doctor.probe import Stage, reach
from tunmesh.host import holders
from tunmesh.host.holders import Holder as Holding
from tunmesh.localmesh.plan import CERTIFICATE, KEY, LISTEN_PORT
from tunmesh.service import preflight
from tunmesh.service.preflight import Plan
from tunmesh.tls.underlay import Outside

reactor: Any = trial_reactor
TUNMESH = str(Path(sys.executable).with_name("tunmesh"))


class _Clock(Factory):
    """A server that sends the time, standing in for any other service."""

    def buildProtocol(self, addr: object) -> Protocol:
        return _Saying()


class _Saying(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"it is late, good night, and that is all that there is to say\r\n")


class DoctorCase(unittest.TestCase):
    """Two machines."""

    skip = netns.skip_reason()
    maxDiff = None

    def setUp(self) -> None:
        self.ground = Ground(self, 2)

    async def says(
        self, code: int, before: str = "", socket_path: str = "/nowhere/control.sock"
    ) -> str:
        """The doctor's output on node 2. `before` is Python that its process runs first."""
        arguments = [TUNMESH, "doctor", "--socket", socket_path]
        arguments = ["-c", before + THEN_EXEC, *arguments, str(self.ground.config(2))]
        with self.ground.namespace(2):
            running = getProcessOutputAndValue(
                sys.executable, arguments, os.environ, reactor=reactor
            )
        out, err, exit_code = await running
        self.assertEqual((err, exit_code), (b"", code), out.decode())
        text: str = out.decode()
        self.assertNotIn(self.ground.secret, text)
        return text


class TcpTests(unittest.SynchronousTestCase):
    """Why a connection fails."""

    @staticmethod
    def fail_with(number: int, *_: object) -> None:
        raise OSError(number, os.strerror(number))

    def test_hints(self) -> None:
        """The kernel's terse errors come with hints about what to check."""
        for number, hint in (
            (errno.EHOSTUNREACH, "No route to host; is that host up, its address right"),
            (errno.ENETUNREACH, "Network is unreachable; this machine has no route there"),
        ):
            self.patch(socket, "create_connection", partial(self.fail_with, number))
            (stage,) = reach("10.99.0.9", 4567, Holder("a").credentials(), [], Outside())
            self.assertFalse(stage.ok)
            self.assertIn(f"10.99.0.9 port 4567: {hint}", stage.text)


class FirstNodeTests(LintCase):
    """Nodes that share one config bootstrap from the first of them."""

    def verdicts(self, text: str, running: Running | None) -> list[tuple[str, str]]:
        """What is said of the URL https://192.0.2.1:9."""
        self.patch(diagnosis, "reach", lambda *_: [Stage("TCP", False, "refused")])
        self.path.write_text(text)
        found = diagnosis.examine(self.path, {}, middle, time.time(), running)
        return [(each.verdict, each.text) for each in found if each.part == "https://192.0.2.1:9"]

    def test_first_node(self) -> None:
        """That the list leads only to the node itself is no fault once another node is linked, nor
        with automatic addresses; before the start it is doubtful."""
        url = "https://192.0.2.1:9"
        text = GOOD.replace("https://alice.example:4567", url)
        text = text.replace("https://bob.example:4567", url)
        alone, linked = Running("tun1", 4567, peers=0), Running("tun1", 4567, peers=2)
        self.assertEqual(self.verdicts(text, linked), [("ok", "it is what this node advertises")])
        ((verdict, said),) = self.verdicts(text, alone)
        self.assertEqual(verdict, "NO", said)
        self.patch(diagnosis, "_machine", lambda *_: [])
        ((verdict, said),) = self.verdicts(text, None)
        self.assertEqual(verdict, "?", said)
        self.assertIn("on the first node of a mesh all is well", said)
        for running in (None, alone):
            automatic = text.replace("198.18.1.2/24", "auto")
            ((verdict, said),) = self.verdicts(automatic, running)
            self.assertEqual(verdict, "ok", said)
            self.assertIn("this is the first node of its mesh, as it seems", said)


class NodeTests(LintCase):
    """Which node is asked."""

    def test_the_node_of_a_file(self) -> None:
        """Without --socket and $TUNMESH_SOCKET it is the node whose config the file is, so that
        what that one holds is not held against it. With a file that cannot be read it is the
        default one."""
        self.patch(diagnosis, "examine", lambda *_: iter(()))
        own, other = "/nowhere/own.sock", "/nowhere/other.sock"
        self.path.write_text(f"{GOOD}  admin: {{socket: {own}}}\n")
        default = Path("/nowhere/default.sock")  # at the real one there may be a node
        self.patch(paths, "DEFAULT_SOCKET", default)
        self.patch(client, "DEFAULT_SOCKET", default)
        broken = self.directory / "broken.yaml"
        broken.write_text("admin: {socket: ${no")
        for arguments, environ, asked in (
            ([str(self.path)], {}, own),
            ([str(self.path)], {SOCKET_VARIABLE: other}, other),
            (["--socket", other, str(self.path)], {}, other),
            ([str(broken)], {}, default),
        ):
            said = CliRunner().invoke(doctor, arguments, env={SOCKET_VARIABLE: None, **environ})
            self.assertIn(f"none answers at {asked}\n", said.output)
        said = CliRunner().invoke(rotate, ["--config", str(self.path)], env={SOCKET_VARIABLE: None})
        self.assertIn(f"no node answers at {own}: is it", said.output)

    def test_monitoring_of_a_node(self) -> None:
        """That a node of tunmesh holds the address of the metrics is only doubtful: it may be the
        one that is asked about."""
        holder = Holding(0, 7, "twistd", is_node=True)
        self.patch(holders, "of_port", lambda port, *_: [holder] * (port == 9464))
        self.path.write_text(f"{GOOD}  monitoring: {{listen: '127.0.0.1:9464'}}\n")
        config = lint(self.path, {}, middle, time.time()).config
        assert config is not None
        self.assertEqual(preflight.holders_of("monitoring", Plan.of(config)), [holder])


class DoctorTests(DoctorCase):
    """Node 1 runs; node 2 is examined before it joins."""

    async def test_all_is_well(self) -> None:
        """If nothing is wrong, every step says so."""
        node = self.ground.start(1)
        await node.logged("ready")
        text = await self.says(0)
        for word in ("can be used", "tun1 can be made", "TCP:", "TLS:", "certificate:"):
            self.assertIn(word, text)
        self.assertIn("handshake: it holds the same secret", text)
        self.assertNotIn("NO", text)

    async def test_no_listener(self) -> None:
        """A port that refuses connections is named."""
        text = await self.says(2)
        self.assertIn("NO  TCP: 10.99.0.1 port 4567: refused; is the node up", text)

    async def test_wrong_secret(self) -> None:
        """With a different secret, TLS succeeds and the handshake is reported."""
        node = self.ground.start(1)
        await node.logged("ready")
        self.ground.change(2, clustering__auth={"secret": "another-0123456789-abcdefghijklmn"})
        text = await self.says(2)
        self.assertIn("ok  certificate:", text)
        self.assertIn("NO  handshake: it hung up: it holds none of this node's secrets", text)
        self.assertEqual((await node.logged("handshake_failed"))["reason"], "unknown_key")

    async def test_wrong_certificate(self) -> None:
        """A certificate that this node does not trust is reported."""
        node = self.ground.start(1)
        await node.logged("ready")
        other = Holder("other")
        (self.ground.directory / "other.pem").write_bytes(other.pem())
        (self.ground.directory / "other-key.pem").write_bytes(other.key_pem())
        files = {"cert_file_path": "other.pem", "key_file_path": "other-key.pem"}
        self.ground.change(2, control_api__ssl=files)
        self.assertIn("NO  certificate: TLS: ", await self.says(2))

    async def test_expired_certificate(self) -> None:
        """An expired certificate in the node's own config is reported."""
        old = Holder("old", begin=-90 * DAY, end=-2 * DAY)
        (self.ground.directory / KEY).write_bytes(old.key_pem())
        (self.ground.directory / CERTIFICATE).write_bytes(old.pem())
        self.assertIn("?   ", text := await self.says(2))
        self.assertIn("expired 2 days ago", text)
        self.assertNotIn("so can its certificate", text)

    async def test_clashing_network(self) -> None:
        """A mesh network that overlaps with this machine's addresses is reported."""
        with self.ground.namespace(2), IPRoute() as ip:
            (index,) = ip.link_lookup(ifname="lo")
            ip.addr("add", index=index, address="10.77.3.4", prefixlen=24)
        self.assertIn("NO  ", text := await self.says(2))
        self.assertIn("10.77.3.0/24", text)

    async def test_inside_the_mesh(self) -> None:
        """Names that resolve to addresses inside the mesh are reported, one of them the node's
        own."""
        url = "https://two.test:4567"
        urls = ["https://one.test:4567"]
        self.ground.change(
            2,
            clustering__control_api_advertise_url=url,
            clustering__bootstrap_groups={"first": {"bootstrap_node_urls": urls}},
        )
        before = hosts_of(self.ground, one="10.77.0.1", two="10.77.0.2")
        text = await self.says(2, before)
        self.assertIn("NO  advertised by this node: 10.77.0.2 is inside the mesh", text)
        self.assertIn(
            "ok  resolve: one.test is 10.77.0.1\n  NO  resolve: 10.77.0.1 is inside", text
        )
        self.assertNotIn("TCP:", text)

    async def test_url_to_be_found(self) -> None:
        """The doctor says which URL the node would find for itself."""
        self.ground.change(2, clustering__control_api_advertise_url="https://auto:14567")
        text = await self.says(2)
        self.assertIn("https://10.99.0.2:14567\n  ok  this machine would advertise it", text)

    async def test_forwarding(self) -> None:
        """Where other names are forwarded to; that they are refused, if there is no name server but
        the node itself."""
        node = self.ground.start(1)
        await node.logged("ready")
        path = self.ground.directory / "resolv.conf"
        self.ground.change(2, networking__dns={"domain": "mesh"})
        for text, said in (
            ("nameserver 10.77.255.254\nnameserver 192.0.2.53\n", "are forwarded to 192.0.2.53"),
            ("nameserver 10.77.255.254\n", "names outside mesh are refused: /etc/resolv.conf has"),
        ):
            path.write_text(text)
            path.chmod(0o644)
            self.assertIn(said, await self.says(0, before=RESOLV_CONF.format(path=bytes(path))))

    async def test_something_else(self) -> None:
        """A name that does not resolve, and a port of some other service, are reported."""
        urls = ["https://node.invalid:4567", "https://10.99.0.2:4599"]
        self.ground.change(2, clustering__bootstrap_groups={"far": {"bootstrap_node_urls": urls}})
        with self.ground.namespace(2):
            port = reactor.listenTCP(4599, _Clock(), interface="10.99.0.2")
        self.addCleanup(port.stopListening)
        text = await self.says(2)
        self.assertIn("NO  resolve: node.invalid does not resolve", text)
        self.assertIn("NO  TLS: ", text)
        self.assertIn("is that a tunmesh node", text)


class NarrowTests(DoctorCase):
    """The path between the two loses large packets."""

    skip = RouterCase.skip

    async def test_narrow_path(self) -> None:
        """If the path loses large packets without a word, that is said, and that it goes with small
        ones."""
        node = self.ground.start(1)
        await node.logged("ready")
        segment(self.ground.namespace(1))
        nft(self.ground.namespace(2), NARROW.format(port=LISTEN_PORT, most=1000))
        text = await self.says(2)
        self.assertIn("NO  TLS: ", text)
        self.assertIn(f"ok  small segments: with TCP segments of at most {LIMITS[1]} bytes", text)
        self.assertIn("handshake: it holds the same secret", text)
