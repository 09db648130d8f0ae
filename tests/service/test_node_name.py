"""`node_name: auto`: a node takes the name that the DNS knows its address by, or the host name."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from tests.support import netns
from tunmesh.host.namespaces import Namespace
from tunmesh.names import resolv_conf
from tunmesh.names.resolv_conf import nameservers
from tunmesh.netlink import own_address
from tunmesh.service import node_name
from tunmesh.service.node_name import ChosenName, choose, is_address_like

HOST = "4f1a2b3c4d5e"  # as Docker names them
NO_NETWORKS = ()

Answer = Callable[[bytes], list[bytes]]


def reply(query: bytes, name: bytes | None, wrong_id: bool = False) -> bytes:
    """The answer of a name server that calls the address `name`."""
    asked = dns.Message()
    asked.fromStr(query)
    answer = dns.Message(asked.id ^ wrong_id, answer=1, recAv=1)
    answer.queries = asked.queries
    if name is None:
        answer.rCode = dns.ENAME
    else:
        pointer = asked.queries[0].name.name
        answer.answers = [dns.RRHeader(pointer, dns.PTR, ttl=600, payload=dns.Record_PTR(name))]
    return answer.toStr()


class NameServer:
    """Answers on a UDP port of 127.0.0.11, as Docker's embedded DNS does, in a thread."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.11", 0))
        self.port: int = self._socket.getsockname()[1]
        # In the same network namespace, wherever it is closed.
        self._closer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            asked = dns.Message()
            asked.fromStr(query)
            self.asked.append(asked.queries[0].name.name.decode())
            for data in self._answer(query):
                self._socket.sendto(data, client)

    def close(self) -> None:
        self._closer.sendto(b"", ("127.0.0.11", self.port))
        self._thread.join()
        self._closer.close()
        self._socket.close()


class LookUpTests(SynchronousTestCase):
    """The lookup, with a name server of the tests."""

    def setUp(self) -> None:
        self.patch(socket, "gethostname", lambda: HOST)
        self.resolv_conf("search example\nnameserver 127.0.0.11\noptions ndots:0\n")
        if ip_address(own_address.guess(NO_NETWORKS)).is_loopback:  # this machine has no network
            self.patch(own_address, "guess", lambda *_: "192.0.2.7")

    def resolv_conf(self, text: str) -> None:
        path = Path(self.mktemp())
        path.write_text(text)
        self.patch(resolv_conf, "PATH", path)

    def server(self, answer: Answer) -> NameServer:
        server = NameServer(answer)
        self.addCleanup(server.close)
        return server

    def named(self, name: bytes | None) -> ChosenName:
        """What a node is called whose address has this name."""
        return choose(
            "auto", NO_NETWORKS, port=self.server(lambda query: [reply(query, name)]).port
        )

    def test_container(self) -> None:
        """The name of a container is the first label; the log says of which address it is."""
        chosen = self.named(b"project-web-3.project_default")
        self.assertEqual(chosen.name, "project-web-3")
        self.assertRegex(chosen.why, r"^the name of [0-9a-f.:]+ in the DNS$")

    def test_label(self) -> None:
        """Containers of Compose 1 have the same names as those of Compose 2, which are labels."""
        self.assertEqual(self.named(b"project_web_3.project_default").name, "project-web-3")
        self.assertEqual(self.named(b"_My.Web.net").name, "my")

    def test_own_address(self) -> None:
        """The query is about an address of this machine, and never about that of the loopback."""
        server = self.server(lambda query: [reply(query, b"web-1.net")])
        choose("auto", NO_NETWORKS, port=server.port)
        (pointer,) = server.asked
        self.assertTrue(pointer.endswith((".in-addr.arpa", ".ip6.arpa")), pointer)
        self.assertFalse(pointer.endswith(".127.in-addr.arpa"), pointer)

    def test_default(self) -> None:
        """Without `auto` nobody is asked: the name is the given one or the host name."""
        self.resolv_conf("garbage")
        self.assertEqual(choose(None, NO_NETWORKS), ChosenName(HOST))
        self.assertEqual(choose("db", NO_NETWORKS), ChosenName("db"))

    def assert_host_name(self, chosen: ChosenName, why: str) -> None:
        self.assertEqual(chosen.name, HOST)
        self.assertRegex(chosen.why, f"^the host name, because {why}$")

    def test_unknown(self) -> None:
        """Where the address has no name, the host name is used."""
        self.assert_host_name(self.named(None), r"127\.0\.0\.11 knows no name of \S+")

    def test_name_of_an_address(self) -> None:
        """A name that only repeats the address, or that no node may have, is not used."""
        for name in (b"7.example", b"-.-\xff.example"):
            self.assert_host_name(self.named(name), r".* which names no container")

    def test_garbage(self) -> None:
        """Garbage and answers to other queries are ignored; the right answer still counts."""

        def answer(query: bytes) -> list[bytes]:
            loop = query[:2] + struct.pack("!HHHHH", 0x8180, 0, 1, 0, 0) + b"\xc0\x0c"
            return [b"\0", b"\xff" * 40, loop, reply(query, b"evil.x", True), reply(query, b"a.b")]

        self.assertEqual(choose("auto", NO_NETWORKS, port=self.server(answer).port).name, "a")

    def test_silence(self) -> None:
        """A name server that does not answer costs no more than the stated time."""
        self.patch(node_name, "PATIENCE", 0.05)
        chosen = choose("auto", NO_NETWORKS, port=self.server(lambda _query: []).port)
        self.assert_host_name(chosen, r"the reverse lookup failed: no answer from 127\.0\.0\.11.*")

    def test_only_the_mesh(self) -> None:
        """Where applications ask the mesh's name server only, Docker's is asked: the mesh is not
        there yet."""
        self.resolv_conf("nameserver 10.9.255.254\n")
        server = self.server(lambda query: [reply(query, b"web-1.net")])
        chosen = choose("auto", (ip_network("10.9.0.0/16"),), port=server.port)
        self.assertEqual(chosen.name, "web-1")

    def test_listed_server(self) -> None:
        """Where the config says which servers other names are forwarded to, the first is asked."""
        self.resolv_conf("nameserver 192.0.2.53\n")
        server = self.server(lambda query: [reply(query, b"web-1.net")])
        chosen = choose("auto", NO_NETWORKS, (ip_address("127.0.0.11"),), server.port)
        self.assertEqual(chosen.name, "web-1")

    def test_no_server(self) -> None:
        """Without a name server, or without a list of them, the host name is used."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.11", 0))
            port = closed.getsockname()[1]
        self.assert_host_name(
            choose("auto", (), port=port), "the reverse lookup failed: .* refused"
        )
        self.patch(resolv_conf, "PATH", Path("/nowhere/resolv.conf"))
        self.assert_host_name(choose("auto", ()), r"the reverse lookup failed: No such file.*")

    def test_crash(self) -> None:
        """Whatever else goes wrong in the lookup does not keep the node from starting."""
        self.patch(resolv_conf, "nameservers", lambda _text, _ours: 1 / 0)
        self.assert_host_name(choose("auto", ()), "the lookup crashed")


class NoAddressTests(SynchronousTestCase):
    """Machines without a default route."""

    skip = netns.skip_reason()

    def test_internal_network(self) -> None:
        """On a network that leads nowhere else (`internal: true`) the address of its interface is
        looked up; without any interface, the host name is used."""
        machine, switch = Namespace.create(), Namespace.create()
        self.addCleanup(machine.close)
        self.addCleanup(switch.close)
        path = Path(self.mktemp())
        path.write_text("nameserver 127.0.0.11\n")
        self.patch(resolv_conf, "PATH", path)
        with machine:
            self.assertIn("has no address", choose("auto", NO_NETWORKS).why)
            netns.loopback_up()
            netns.wire(machine, "172.30.0.5/24", switch, "172.30.0.1/24")
            server = NameServer(lambda query: [reply(query, b"project-db-1.project_back")])
            self.addCleanup(server.close)
            chosen = choose("auto", NO_NETWORKS, port=server.port)
        self.assertEqual(chosen, ChosenName("project-db-1", "the name of 172.30.0.5 in the DNS"))
        self.assertEqual(server.asked, ["5.0.30.172.in-addr.arpa"])


class FormTests(SynchronousTestCase):
    """What is read and what is compared."""

    def test_name_servers(self) -> None:
        """Only lines that the resolver understands, and addresses that a socket can be sent to."""
        text = "# nameserver 1.1.1.1\nnameserver 127.0.0.11 # x\nnameserver\nnameserver x\n"
        text += "options nameserver 9.9.9.9\n\tnameserver   fd00::a\n"
        self.assertEqual(nameservers(text, ()), ("127.0.0.11", "fd00::a"))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text has name servers or none."""
        nameservers(text, ())

    def test_address_like(self) -> None:
        """Names that clusters and clouds derive from an address are told from names of
        containers."""
        for label, address in {
            "10-244-1-7": "10.244.1.7",
            "ip-10-0-0-5": "10.0.0.5",
            "static-5-0-0-10": "10.0.0.5",
            "x0A000005y": "10.0.0.5",
            "12": "10.0.0.12",
            "fd00-10-244--7": "fd00:10:244::7",
            "node-fd000010024400000000000000000007": "fd00:10:244::7",
        }.items():
            self.assertTrue(is_address_like(label, ip_address(address)), label)
        for label in ("project-web-3", "web-10-0-3", "a1b2c3", "db", "mesh-0"):
            for own in ("10.0.0.3", "172.18.0.3", "fd00::3"):
                self.assertFalse(is_address_like(label, ip_address(own)), label)
