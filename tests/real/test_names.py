"""Names on real tun devices: resolvers of C libraries and other programs, with a resolv.conf of
their own."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol, ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support import netns
from tests.support.nameservers import DockersResolver, Nameserver, answer, query, read
from tests.support.places import short_directory
from tests.support.realnode import THEN_EXEC, Ground, RealNode, reactor

DNS, DNS6 = "10.77.255.254", "fd77::ffff:ffff:ffff:ffff"
# The rest of the script sees another /etc/resolv.conf.
RESOLV_CONF = """
import ctypes
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
MS_PRIVATE_RECURSIVELY, MS_BIND = 1 << 18 | 1 << 14, 1 << 12
unshare(CLONE_NEWNS)
mount = ctypes.CDLL(None).mount
assert mount(None, b"/", None, MS_PRIVATE_RECURSIVELY, None) == 0
assert mount({path!r}, b"/etc/resolv.conf", None, MS_BIND, None) == 0
"""
# As a pod has it, with searches that are tried before a name with few dots.
SEARCHES = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
GETADDRINFO = """
#include <netdb.h>
#include <stdio.h>
#include <arpa/inet.h>
int main(int count, char **words) {
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
    int failed = getaddrinfo(words[1], 0, &hints, &found);
    if (failed) { puts(gai_strerror(failed)); return 2; }
    for (; found; found = found->ai_next) {
        char text[64], *at = (char *) found->ai_addr;
        inet_ntop(found->ai_family, at + (found->ai_family == AF_INET ? 4 : 8), text, sizeof text);
        puts(text);
    }
    return 0;
}
"""
PYTHON = """
import socket, sys
try:
    print(*sorted({each[4][0] for each in socket.getaddrinfo(sys.argv[1], None)}))
except socket.gaierror as error:
    print(error.args[1])
"""
# Asks for a name again and again, as a client that reconnects does, and says when the address that
# it reaches changes. It ends when its input does.
CLIENT = """
import socket, sys, time
last = None
while True:
    try:
        with socket.create_connection((sys.argv[1], 8080), timeout=1) as connection:
            said = connection.recv(100).decode()
    except OSError:
        said = ""
    if said and said != last:
        print(said, flush=True)
        last = said
    time.sleep(0.05)
"""
FLOOD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 53))
query = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\5node2\\4mesh\\0\\0\\1\\0\\1"
sent = 0
while True:
    try:
        sock.send(query)
    except OSError:
        continue
    sent += 1
    if sent % 10000 == 0:
        print(sent, flush=True)
"""
TCP_SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 8080)) as server:
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(sys.argv[1].encode())
"""


def need(*programs: str) -> None:
    """Skip a test for want of a program."""
    lacking = [each for each in programs if shutil.which(each) is None]
    if lacking:
        raise unittest.SkipTest(f"{', '.join(lacking)} is not installed")


class Program(ProcessProtocol):
    """A program beside a node, which prints lines."""

    def __init__(self) -> None:
        self._text = ""
        self._awaited: list[tuple[str, Deferred[None]]] = []
        self.ended: Deferred[None] = Deferred()

    def said(self, line: str) -> Deferred[None]:
        """It has printed this line, or does."""
        answer: Deferred[None] = Deferred()
        self._awaited.append((line, answer))
        self._tell()
        return answer

    def outReceived(self, data: bytes) -> None:
        self._text += data.decode()
        self._tell()

    def errReceived(self, data: bytes) -> None:
        self._text += data.decode()

    def _tell(self) -> None:
        for line, awaited in list(self._awaited):
            if line in self._text.split("\n")[:-1]:
                self._awaited.remove((line, awaited))
                awaited.callback(None)

    def end(self) -> Deferred[None]:
        if self.transport is not None and self.transport.pid:
            self.transport.signalProcess("KILL")
        return self.ended

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class NamesCase(unittest.TestCase):
    """Two nodes that answer names, and programs beside node 1 that ask."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.ground = Ground(self, 2)
        self.resolver = self.file("app", f"nameserver {DNS}\n{SEARCHES}")

    def file(self, name: str, text: str) -> Path:
        path = self.ground.directory / f"resolv-{name}.conf"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def configure(self, number: int, servers: Sequence[str] = (), **dns: Any) -> None:
        self.ground.change(
            number, networking__dns=dns or {"domain": "mesh"}, clustering__node_groups=["all"]
        )
        self.file(f"node{number}", "".join(f"nameserver {each}\n" for each in servers))

    def start(self, number: int) -> RealNode:
        path = self.ground.directory / f"resolv-node{number}.conf"
        return self.ground.start(number, before=RESOLV_CONF.format(path=bytes(path)))

    async def started(self, servers: Sequence[str] = (), **dns: Any) -> list[RealNode]:
        """Both nodes, linked."""
        for number in (1, 2):
            self.configure(number, servers, **dns)
        nodes = [self.start(number) for number in (1, 2)]
        for node, peer in zip(nodes, ("node2", "node1"), strict=True):
            await node.logged("linked", peer=peer)
        return nodes

    def program(self, number: int, code: str, *arguments: str) -> Program:
        """Python that runs beside a node until the test ends."""
        program = Program()
        before = RESOLV_CONF.format(path=bytes(self.resolver)) + code
        with self.ground.namespace(number):
            reactor.spawnProcess(
                program, sys.executable, [sys.executable, "-c", before, *arguments], os.environ
            )
        self.addCleanup(program.end)
        return program

    async def run_beside(
        self, *command: str, number: int = 1, resolver: Path | None = None
    ) -> tuple[str, int]:
        """Output and exit code of a program beside a node, with the applications' resolv.conf."""
        found = shutil.which(command[0]) or command[0]
        before = RESOLV_CONF.format(path=bytes(resolver or self.resolver)) + THEN_EXEC
        with self.ground.namespace(number):
            running = getProcessOutputAndValue(
                sys.executable, ["-c", before, found, *command[1:]], os.environ, reactor=reactor
            )
        out, err, code = await running
        return (out + err).decode(), code

    async def lead_to(self, name: str, address: str, number: int = 1) -> None:
        """Wait until the name leads to this address only: a node may hear of it later than its
        owner logs it, and answers may be a tenth of a second old."""
        while await self.addresses(name, number) != {address}:
            pass

    async def addresses(self, name: str, number: int = 1) -> set[str]:
        """The IPv4 addresses of a name, asked for beside a node."""
        text, _ = await self.run_beside("dig", "+short", f"@{DNS}", name, number=number)
        return set(text.split())

    def serve(
        self, server: Any, number: int = 1, address: str = "10.99.0.1", by_tcp: bool = False
    ) -> None:
        """A name server in a node's namespace."""
        with self.ground.namespace(number):
            netns.loopback_up()
            port = reactor.listenUDP(53, server, interface=address)
            self.addCleanup(port.stopListening)
            if by_tcp:
                stream = reactor.listenTCP(53, server.by_tcp(), interface=address)
                self.addCleanup(stream.stopListening)


class ProgramTests(NamesCase):
    """What programs find."""

    async def test_glibc(self) -> None:
        """The C library: one family and both, forward and reverse, searches and ndots of a pod."""
        need("getent")
        cluster = Nameserver({"kubernetes.default.svc.cluster.local": ["10.96.0.1"]})
        self.serve(cluster)
        await self.started(["10.99.0.1"])
        for name, addresses in (
            ("node2.mesh", {"10.77.0.2", "fd77::2"}),
            ("NODE2.Mesh.", {"10.77.0.2", "fd77::2"}),
            ("all.mesh", {"10.77.0.1", "fd77::1", "10.77.0.2", "fd77::2"}),
            ("_nodes.mesh", {"10.77.0.1", "fd77::1", "10.77.0.2", "fd77::2"}),
            ("kubernetes", {"10.96.0.1"}),
        ):
            text, code = await self.run_beside("getent", "ahosts", name)
            self.assertEqual(code, 0, text)
            self.assertEqual({line.split()[0] for line in text.splitlines()}, addresses, name)
        text, _ = await self.run_beside("getent", "ahostsv4", "node2.mesh")
        self.assertIn("10.77.0.2", text)
        text, _ = await self.run_beside("getent", "hosts", "node2.mesh")
        self.assertIn("fd77::2", text)
        for address in ("10.77.0.2", "fd77::2"):
            text, _ = await self.run_beside("getent", "hosts", address)
            self.assertIn("node2.mesh", text)
        text, code = await self.run_beside("getent", "ahosts", "nobody.mesh")
        self.assertEqual((text, code), ("", 2))
        self.assertIn("nobody.mesh.default.svc.cluster.local", cluster.asked)
        self.assertNotIn("nobody.mesh", cluster.asked)

    async def test_python(self) -> None:
        """Python's getaddrinfo, for a node with one family only, too."""
        for number in (1, 2):
            self.configure(number)
        config: Any = {"networking__ipv6": None, "networking__dns": {"domain": "mesh"}}
        self.ground.change(2, **config)
        nodes = [self.start(number) for number in (1, 2)]
        await nodes[0].logged("linked", peer="node2")
        for name, said in (
            ("node2.mesh", "10.77.0.2"),
            ("node1.mesh", "10.77.0.1 fd77::1"),
        ):
            text, _ = await self.run_beside(sys.executable, "-c", PYTHON, name)
            self.assertEqual(text.strip(), said)

    async def test_musl(self) -> None:
        """musl, as in Alpine: it asks for both families at once, and gives up at the first answer
        that a name does not exist."""
        need("musl-gcc")
        directory = short_directory(self)
        source, program = directory / "ask.c", directory / "ask"
        source.write_text(GETADDRINFO)
        command = [str(source), "-static", "-o", str(program)]
        _, err, code = await getProcessOutputAndValue(
            shutil.which("musl-gcc"), command, os.environ, reactor=reactor
        )
        self.assertEqual(code, 0, err)
        cluster = Nameserver({"kubernetes.default.svc.cluster.local": ["10.96.0.1"]})
        self.serve(cluster)
        for number in (1, 2):
            self.configure(number, ["10.99.0.1"])
        self.ground.change(2, networking__ipv6=None, networking__dns={"domain": "mesh"})
        nodes = [self.start(number) for number in (1, 2)]
        await nodes[0].logged("linked", peer="node2")
        for name, addresses in (
            ("node2.mesh", {"10.77.0.2"}),
            ("node1.mesh", {"10.77.0.1", "fd77::1"}),
            ("_nodes.mesh", {"10.77.0.1", "fd77::1", "10.77.0.2"}),
            ("kubernetes", {"10.96.0.1"}),
        ):
            text, code = await self.run_beside(str(program), name)
            self.assertEqual((set(text.split()), code), (addresses, 0), name)
        text, code = await self.run_beside(str(program), "nobody.mesh")
        self.assertEqual(code, 2, text)

    async def test_busybox(self) -> None:
        """busybox."""
        need("busybox")
        await self.started()
        text, code = await self.run_beside("busybox", "nslookup", "node2.mesh", DNS)
        self.assertEqual(code, 0, text)
        self.assertIn("10.77.0.2", text)
        self.assertIn("fd77::2", text)

    async def test_dig(self) -> None:
        """dig: header, families, sections, EDNS, over IPv6, and what is refused."""
        need("dig", "host")
        await self.started(domain="mesh", forward=False)
        ask = ("dig", f"@{DNS}", "+tries=1", "+time=60")
        text, _ = await self.run_beside(*ask, "nOde2.mesh", "A")
        self.assertIn("status: NOERROR", text)
        self.assertIn("flags: qr aa rd; QUERY: 1, ANSWER: 1", text)
        self.assertIn("udp: 1232", text)
        self.assertRegex(text, r"nOde2\.mesh\.\s+5\s+IN\s+A\s+10\.77\.0\.2")
        for arguments, status, answers in (
            (("node2.mesh", "MX"), "NOERROR", 0),
            (("mesh", "NS"), "NOERROR", 1),
            (("mesh", "SOA"), "NOERROR", 1),
            (("+notcp", "_dns.mesh", "ANY"), "NOERROR", 2),
            (("nobody.mesh", "A"), "NXDOMAIN", 0),
            (("-x", "10.77.0.2"), "NOERROR", 1),
            (("-x", "fd77::1"), "NOERROR", 1),
            (("-x", "10.77.9.9"), "NXDOMAIN", 0),
            (("example.com", "A"), "REFUSED", 0),
            (("+noedns", "node2.mesh"), "NOERROR", 1),
            (("+edns=1", "+noednsneg", "node2.mesh"), "BADVERS", 0),
            (("+opcode=notify", "node2.mesh"), "NOTIMP", 0),
        ):
            text, _ = await self.run_beside(*ask, *arguments)
            self.assertIn(f"status: {status}", text, arguments)
            self.assertIn(f"ANSWER: {answers}", text, arguments)
        text, _ = await self.run_beside("dig", "+short", f"@{DNS6}", "node2.mesh")
        self.assertEqual(text.split(), ["10.77.0.2"], text)
        text, _ = await self.run_beside(*ask, "+tcp", "node2.mesh")
        self.assertIn("connection refused", text)
        text, code = await self.run_beside("host", "node2.mesh.", DNS)
        self.assertEqual(code, 0)
        self.assertIn("node2.mesh has address 10.77.0.2", text)
        text, code = await self.run_beside("ping", "-c1", "-W60", DNS)
        self.assertEqual(code, 0, text)

    async def test_commands(self) -> None:
        """`tunmesh resolve`, `ping` and `explain` with names, and the counts."""
        await self.started()
        tunmesh = str(Path(sys.executable).with_name("tunmesh"))
        at = ("--socket", str(self.ground.directory / self.ground.plans[0].socket))
        text, code = await self.run_beside(tunmesh, "resolve", *at, "node2")
        self.assertEqual(code, 0, text)
        self.assertIn("node2.mesh  answered", text)
        self.assertIn("10.77.0.2", text)
        text, code = await self.run_beside(tunmesh, "ping", *at, "-c1", "node2.mesh")
        self.assertEqual(code, 0, text)
        text, code = await self.run_beside(tunmesh, "explain", *at, "node1", "node2.mesh")
        self.assertEqual(code, 0, text)
        await self.run_beside(sys.executable, "-c", PYTHON, "node2.mesh.")
        metrics = await self.ground.metrics(1)
        self.assertEqual(metrics['tunmesh_dns_queries_total{outcome="answered"}'], 2)
        names = (await self.ground.status(1))["names"]
        self.assertEqual((names["domain"], names["queries"]["answered"]), ("mesh", 2))


class AddressTests(NamesCase):
    """A node that chooses its address itself."""

    async def test_before_it_has_one(self) -> None:
        """Names work from the start, before the node is linked and has an address: its own name
        exists, names of others are not denied, and other names are forwarded. Later its name leads
        to its address."""
        server = Nameserver({"example.com": ["192.0.2.7"]})
        self.serve(server, 2, "10.99.0.2")
        self.configure(1)
        self.configure(2, ["10.99.0.2"])
        self.ground.change(
            2,
            networking__ipv4={"network_cidr": "10.77.0.0/16", "node_address_cidr": "auto"},
            networking__ipv6=None,
            networking__dns={"domain": "mesh"},
        )
        second = self.start(2)
        await second.logged("names")
        need("dig")
        ask = ("dig", f"@{DNS}", "+tries=1", "+time=60")
        for name, status, answers in (
            ("node2.mesh", "NOERROR", 0),
            ("node1.mesh", "SERVFAIL", 0),
            ("example.com", "NOERROR", 1),
        ):
            text, _ = await self.run_beside(*ask, name, number=2)
            self.assertIn(f"status: {status}", text, name)
            self.assertIn(f"ANSWER: {answers}", text, name)
        first = self.start(1)
        await first.logged("linked", peer="node2")
        address = (await second.logged("address_held"))["address"]
        for number in (1, 2):
            await self.lead_to("node2.mesh", address.partition("/")[0], number)


class ChangeTests(NamesCase):
    """What changes while nodes run."""

    async def test_groups(self) -> None:
        """The groups of a node change at a reload, in the answers of all nodes, and links stay."""
        need("dig")
        for number in (1, 2):
            self.configure(number)
        self.ground.change(
            1,
            logging__level="debug",
            networking__dns={"domain": "mesh"},
            clustering__node_groups=["all"],
        )
        first, second = (self.start(number) for number in (1, 2))
        await first.logged("linked", peer="node2")
        await second.logged("linked", peer="node1")
        self.assertEqual(await self.addresses("all.mesh"), {"10.77.0.1", "10.77.0.2"})
        self.ground.change(
            2, networking__dns={"domain": "mesh"}, clustering__node_groups=["db", "web"]
        )
        second.signal("HUP")
        event = await second.logged("reloaded")
        self.assertIn("node_groups (db, web)", event["text"])
        await first.logged("revised")
        for number in (1, 2):
            await self.lead_to("all.mesh", "10.77.0.1", number)
            await self.lead_to("db.mesh", "10.77.0.2", number)
        self.assertEqual(first.all_logged("unlinked"), [])

    async def test_one_name(self) -> None:
        """Of two nodes with one name the first one has it, for all; the doctor says so, too. When
        it goes, the second one has it."""
        need("dig")
        self.ground = Ground(self, 3)
        self.resolver = self.file("app", f"nameserver {DNS}\n")
        for number in (1, 2, 3):
            self.configure(number)
        self.ground.change(3, clustering__node_name="NODE2", networking__dns={"domain": "mesh"})
        nodes = [self.start(1), self.start(2)]
        await nodes[0].logged("linked", peer="node2")
        await nodes[1].logged("linked", peer="node1")
        nodes.append(self.start(3))
        for node in nodes:
            await node.logged("name_conflict")
        for number in (1, 2, 3):
            await self.lead_to("node2.mesh", "10.77.0.2", number)
        tunmesh = str(Path(sys.executable).with_name("tunmesh"))
        at = str(self.ground.directory / self.ground.plans[2].socket)
        config = str(self.ground.config(3))
        text, _ = await self.run_beside(tunmesh, "doctor", "--socket", at, config, number=3)
        self.assertIn("node2 leads to 10.77.0.2, fd77::2, which had it first", text)
        text, _ = await self.run_beside(tunmesh, "resolve", "--socket", at, "node2", number=3)
        self.assertIn("this node claims this name, too; it stays with the node that", text)
        nodes[1].signal("TERM")
        await nodes[0].logged("unlinked")
        await nodes[2].logged("unlinked")
        for number in (1, 3):
            await self.lead_to("node2.mesh", "10.77.0.3", number)


class ApplicationTests(NamesCase):
    """An application that knows a name."""

    async def test_reconnects_by_name(self) -> None:
        """A node that is restarted with another address is found by its name there, within
        seconds, by a program that asks for the name again."""
        _, node = await self.started()
        first, second = "10.77.0.2", "10.77.3.9"

        async def service(address: str) -> Program:
            program = self.program(2, TCP_SERVER, address)
            await program.said("listening")
            return program

        server = await service(first)
        client = self.program(1, CLIENT, "node2.mesh")
        await client.said(first)
        node.signal("TERM")
        await node.ended
        await server.end()
        self.ground.change(
            2,
            networking__ipv4={"network_cidr": "10.77.0.0/16", "node_address_cidr": f"{second}/16"},
            networking__ipv6=None,
            networking__dns={"domain": "mesh"},
        )
        again = self.start(2)
        await again.logged("linked", peer="node1")
        await service(second)
        await client.said(second)


class Client(DatagramProtocol):
    """A socket beside a node, which asks the DNS address."""

    noisy = False

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self._awaited: Deferred[bytes] | None = None

    def ask(self, name: str, number: int = 7) -> Deferred[bytes]:
        """The next answer."""
        self._awaited = Deferred()
        self.transport.write(query(name, number=number), (DNS, 53))  # type: ignore[union-attr]
        return self._awaited

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.answers.append(datagram)
        if self._awaited is not None:
            awaited, self._awaited = self._awaited, None
            awaited.callback(datagram)


class ForwardTests(NamesCase):
    """Names that are not the mesh's."""

    def client(self) -> Client:
        client = Client()
        with self.ground.namespace(1):
            port = reactor.listenUDP(0, client)
        self.addCleanup(port.stopListening)
        return client

    async def outcomes(self) -> dict[str, int]:
        names = (await self.ground.status(1))["names"]
        return {outcome: count for outcome, count in names["queries"].items() if count}

    async def test_next_server(self) -> None:
        """A server that refuses, one that is not there, and one that answers."""
        refuses, works = Nameserver({}), Nameserver({"example.com": ["192.0.2.7"]})
        refuses.code = 5
        self.serve(refuses)
        self.serve(works, address="127.0.0.3")
        await self.started(["10.99.0.1", "127.0.0.99", "127.0.0.3"])
        client = self.client()
        said = read(await client.ask("Example.COM"))
        self.assertEqual((said.id, said.rCode, len(said.answers)), (7, 0, 1))
        self.assertEqual(said.queries[0].name.name, b"Example.COM")
        self.assertEqual((refuses.asked, works.asked), (["example.com"], ["example.com"]))
        await client.ask("example.com")
        self.assertEqual(len(refuses.asked), 1)  # the one that answered is asked first
        self.assertEqual(await self.outcomes(), {"forwarded": 2})

    async def test_no_server(self) -> None:
        """Without a server that answers, the answer is an error, soon, and the log says it once."""
        first, _ = await self.started(["127.0.0.98", "127.0.0.99"])
        client = self.client()
        self.assertEqual(read(await client.ask("example.com")).rCode, 2)
        event = await first.logged("names_unanswered")
        self.assertEqual(event["servers"], "127.0.0.98, 127.0.0.99")
        self.assertEqual(await self.outcomes(), {"failed": 1})

    async def test_own_address(self) -> None:
        """The DNS address in the node's own resolv.conf is left out."""
        first, _ = await self.started([DNS])
        client = self.client()
        self.assertEqual(read(await client.ask("example.com")).rCode, 5)
        self.assertEqual((await first.logged("names"))["servers"], "")

    async def test_large(self) -> None:
        """An answer that the server has to cut is fetched by TCP, and as much of it as fits is
        passed on, without a bit that says that there is more."""
        addresses = [f"192.0.{n // 250}.{n % 250}" for n in range(500)]
        server = Nameserver({"large.example": addresses}, ["large.example"])
        self.serve(server, by_tcp=True)
        await self.started(["10.99.0.1"])
        raw = await self.client().ask("large.example")
        said = read(raw)
        self.assertLessEqual(len(raw), 512)
        self.assertEqual((said.rCode, said.trunc), (0, 0))
        self.assertGreater(len(said.answers), 25)
        self.assertEqual(server.asked, ["large.example"] * 2)

    async def test_forged(self) -> None:
        """An answer with another id, to another question, or from another place is ignored."""
        addresses = ["192.0.2.7"]

        class Forger(Nameserver):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                forged = answer(datagram, ["203.0.113.6"])
                other = bytes((forged[0] ^ 1,)) + forged[1:]
                wrong = forged.replace(b"\x07", b"\x06", 1)
                for each in (other, wrong, forged[:20], forged[:2] + datagram[2:], b""):
                    self.transport.write(each, addr)  # type: ignore[union-attr]
                with (
                    ground.namespace(1),
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_elsewhere,
                ):
                    from_elsewhere.sendto(forged, addr)
                super().datagramReceived(datagram, addr)

        ground = self.ground
        self.serve(Forger({"example.com": addresses}))
        await self.started(["10.99.0.1"])
        client = self.client()
        said = read(await client.ask("example.com"))
        self.assertEqual([each.payload.dottedQuad() for each in said.answers], addresses)
        self.assertEqual(len(client.answers), 1)

    async def test_loop(self) -> None:
        """With Docker, 127.0.0.11 forwards to the node, which forwards to 127.0.0.11. The node
        refuses its own query at once, Docker goes on to its next server, and everybody gets an
        answer."""
        outside = Nameserver({"example.com": ["192.0.2.7"]})
        docker = DockersResolver(reactor, self.ground.namespace(1), [(DNS, 53), ("127.0.0.3", 53)])
        self.serve(docker, address="127.0.0.11")
        self.serve(outside, address="127.0.0.3")
        first, _ = await self.started(["127.0.0.11"])
        resolver = self.file("docker", "nameserver 127.0.0.11\noptions ndots:0\n")
        for name, found in (
            ("example.com", "192.0.2.7"),
            ("node2.mesh", "10.77.0.2 fd77::2"),
            ("nobody.example", "Name or service not known"),
        ):
            text, _ = await self.run_beside(sys.executable, "-c", PYTHON, name, resolver=resolver)
            self.assertEqual(text.strip(), found)
        await first.logged("names_looped")
        counts = await self.outcomes()
        self.assertEqual(counts["refused"], counts["forwarded"])

    async def test_loop_without_end(self) -> None:
        """The same with no other server: an error, at once, after one round."""
        docker = DockersResolver(reactor, self.ground.namespace(1), [(DNS, 53)])
        self.serve(docker, address="127.0.0.11")
        await self.started(["127.0.0.11"])
        said = read(await self.client().ask("example.com"))
        self.assertEqual((said.rCode, len(docker.forwarded)), (5, 1))

    async def test_flood(self) -> None:
        """A program that asks as fast as it can does not keep another one from its answer for long,
        nor packets between nodes, and what is too much is counted."""
        need("ping")
        first, _ = await self.started()
        flood = self.program(1, FLOOD, DNS)
        await flood.said("10000")
        # The device's queue is full of the flood, so a single ping may be lost on this side of it.
        text, code = await self.run_beside("ping", "-c1", "-w60", "-i0.1", "10.77.0.2")
        self.assertEqual(code, 0, text)
        while (await self.outcomes()).get("dropped", 0) <= 1000:
            pass
        await flood.end()
        text, _ = await self.run_beside(sys.executable, "-c", PYTHON, "node2.mesh.")
        self.assertEqual(text.strip(), "10.77.0.2 fd77::2")
        status = await self.ground.status(1)
        self.assertGreater(status["dropped_packets"]["dns_flood"], 10)
        self.assertTrue(first.is_running)
