"""Attacks by a member that has others dial: mallory vouches for thousands of nodes that he made up,
at addresses of his choice, or at names whose name server never answers."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from ipaddress import ip_interface
from itertools import count
from typing import Any

from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.members import Mallory, mallory
from tunmesh.auth import signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.attempt import MAX_ADDRESSES
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.dial_budget import ALL_BURST, ALL_RATE, BURST, RATE
from tunmesh.dialing.discovered import MAX_DIALS
from tunmesh.dialing.resolver import MAX_LOOKUPS
from tunmesh.node.dials import MAX_PATIENCE
from tunmesh.testing.mesh import PORT, Mesh
from tunmesh.testing.reactor import MemoryReactor
from tunmesh.wire.gossip import Gossip, decode_inquiry, encode_introduction
from tunmesh.wire.records import NodeRecord, SignedRecord

GIVES_UP = 10.0  # seconds until the C library gives up on a name server that does not answer
VICTIM = "203.0.113.9"
TELLINGS = count(1)
LONGEST = 2 * MAX_PATIENCE + 3.0  # seconds until a node that is patient has dialed


def liar(url: Callable[[int], str], number: int = 66) -> Liar:
    """`url(n)`: where the nth node that he makes up claims to be."""
    address = ip_interface(f"10.9.2.{number}/16")
    member = mallory(number, name=f"m{number}", addresses=(address,))
    return Liar(member, url)


class Liar:
    """Mallory, who answers questions about the nodes that he vouches for."""

    def __init__(self, member: Mallory, url: Callable[[int], str]) -> None:
        self.member = member
        self._url = url
        self._random = random.Random(member.record.id)
        self._made_up = 0
        self._keys: dict[str, NodeKey] = {}
        self.real: dict[str, SignedRecord] = {}  # nodes that exist, and that he vouches for, too
        self._answered = 0
        member.answers_pings = True

    def dial(self, mesh: Mesh, node: Any, host: str = "198.51.100.66") -> Liar:
        self.member.dial(mesh, node, host)
        return self

    def vouch(self, many: int) -> None:
        """For that many new nodes."""
        keys = [NodeKey.of(self._random.randbytes(SEED_SIZE)) for _ in range(many)]
        self._keys |= {key.id: key for key in keys}
        self.member.say(Gossip(next(TELLINGS), (*self._keys, *self.real)).encode())

    def take_back(self) -> None:
        """What was vouched for."""
        self._keys.clear()
        self.member.say(Gossip(next(TELLINGS), ()).encode())

    def answer(self) -> None:
        """The questions that have come since the last time."""
        for payload in self.member.heard[self._answered :]:
            if payload[:1] == b"W":
                ids = decode_inquiry(payload)
                self.member.say(encode_introduction([self._record(each) for each in ids]))
        self._answered = len(self.member.heard)

    def _record(self, node_id: str) -> SignedRecord:
        if node_id in self.real:
            return self.real[node_id]
        self._made_up += 1
        address = ip_interface(f"10.9.{self._made_up // 250 + 10}.{self._made_up % 250 + 1}/16")
        name = f"x{self._made_up}"
        record = NodeRecord(node_id, name, 1, self._url(self._made_up), (address,), "evil")
        return signing.sign(record, self._keys[node_id])


@implementer(IHostnameResolver)
class SlowNames:
    """Names that are looked up by threads: some get no answer, and occupy a thread for as long as
    the C library waits for one."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._known = MemoryReactor(mesh.network, "192.0.2.250").nameResolver
        self._free = MAX_LOOKUPS
        self._waiting: deque[tuple[IResolutionReceiver, str, int]] = deque()
        self.most = 0  # that waited for a thread

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, portNumber: int = 0, *_: Any
    ) -> Any:
        if hostName[-1].isdigit():
            self._known.resolveHostName(resolutionReceiver, hostName, portNumber)
            return
        self._waiting.append((resolutionReceiver, hostName, portNumber))
        self._look_up()
        self.most = max(self.most, len(self._waiting))

    def _look_up(self) -> None:
        while self._free and self._waiting:
            receiver, name, port = self._waiting.popleft()
            self._free -= 1
            takes = GIVES_UP if name.endswith(".silent") else 0.01
            self._mesh.clock.callLater(takes, self._answer, receiver, name, port)

    def _answer(self, receiver: IResolutionReceiver, name: str, port: int) -> None:
        self._free += 1
        self._known.resolveHostName(receiver, name, port)
        self._look_up()


class DialsCase(SynchronousTestCase):
    """b is linked with a, from which it bootstraps, and with mallory."""

    def setUp(self) -> None:
        self.mesh = Mesh(groups=(GroupSettings("first", (("mesh.test", PORT),)),))
        url = f"https://mesh.test:{PORT}"
        self.a = self.mesh.add("a", groups=(), url=url)
        self.b = self.mesh.add("b", start=False)
        self.mesh.network.names["mesh.test"] = [self.a.host]
        self.b.names, self.b.bootstrap_names = SlowNames(self.mesh), SlowNames(self.mesh)
        self.b.start()
        self.mesh.until(self.mesh.is_complete)
        self.liars: list[Liar] = []

    def join(self, url: Callable[[int], str], number: int = 66, host: str = "") -> Liar:
        each = liar(url, number).dial(self.mesh, self.b, host or f"198.51.100.{number}")
        self.assertTrue(each.member.is_up)
        self.liars.append(each)
        return each

    def advance(self, seconds: float) -> None:
        """Let time pass, during which the liars answer."""
        for _ in range(round(seconds * 10)):
            for each in self.liars:
                each.answer()
            self.mesh.advance(0.1)

    def until(self, condition: Callable[[], bool], within: float) -> float:
        start = self.mesh.clock.seconds()
        while not condition():
            self.assertLess(self.mesh.clock.seconds() - start, within)
            self.advance(0.1)
        return self.mesh.clock.seconds() - start

    def dials(self) -> int:
        return self.mesh.network.dials_by[self.b.host]


class ReflectorTests(DialsCase):
    def test_scan(self) -> None:
        """He makes a node open BURST connections to addresses of his choice, and then one a second,
        however many nodes he makes up; the log says so. A node that comes then is linked as
        usual."""
        before = self.dials()
        self.join(lambda n: f"https://{VICTIM}:{n}").vouch(4000)
        self.advance(10)
        self.assertLessEqual(self.dials() - before, BURST + 10 * RATE + 1)
        self.assertGreater(self.dials() - before, BURST)
        before = self.dials()
        self.advance(60)
        self.assertApproximates(self.dials() - before, 60 * RATE, 3)
        self.assertEqual({e["source"] for e in self.b.logged("dials_spent")}, {"198.51.100.66"})
        self.assertLess(len(self.b.logged("dials_spent")), 3)
        c = self.mesh.add("c", dial_allow=())  # b has to dial
        self.until(lambda: "c" in self.b.linked_with, within=LONGEST)
        self.assertIn("a", c.linked_with)

    def test_names_with_many_addresses(self) -> None:
        """He cannot have more connections opened by names that each have hundreds of addresses,
        where nobody answers or all connections are refused."""
        names = self.mesh.network.names
        for number in range(1, 5):
            place = "198.51.100" if number % 2 else "203.0.113"
            names[f"x{number}.test"] = [f"{place}.{each}" for each in range(1, 251)]
        self.mesh.network.gone |= {f"203.0.113.{each}" for each in range(1, 251)}
        before = self.dials()
        self.join(lambda n: f"https://x{n % 4 + 1}.test:{n}").vouch(400)
        self.advance(10)
        self.assertLessEqual(self.dials() - before, BURST + 10 * RATE + MAX_DIALS * MAX_ADDRESSES)
        before = self.dials()
        self.advance(60)
        self.assertLessEqual(self.dials() - before, 60 * RATE + 2 * MAX_ADDRESSES)
        self.assertTrue(self.b.logged("dials_spent"))

    def test_many_identities(self) -> None:
        """Identities at one address share one budget; those at many have a common bound."""
        before = self.dials()
        for number in range(60, 70):
            self.join(lambda n: f"https://{VICTIM}:{n}", number, "198.51.100.66").vouch(300)
        self.advance(10)
        self.assertLessEqual(self.dials() - before, BURST + 11 * RATE + 1)
        for number in range(70, 80):
            self.join(lambda n: f"https://{VICTIM}:{n}", number).vouch(100)
        self.advance(10)
        self.assertLessEqual(self.dials() - before, ALL_BURST + 23 * ALL_RATE)

    def test_refused_addresses(self) -> None:
        """Loopback, link-local and multicast addresses are not dialed, also if a name resolves to
        them; the log and the status say why."""
        self.mesh.network.names["inside.test"] = ["127.0.0.1"]
        hosts = ("127.0.0.1", "[::1]", "169.254.169.254", "224.0.0.1", "0.0.0.0", "inside.test")
        before = self.dials()
        self.join(lambda n: f"https://{hosts[n % len(hosts)]}:{n}").vouch(60)
        self.advance(30)
        self.assertEqual(self.dials(), before)
        whys = {dial.why for dial in self.b.status.dials}
        self.assertIn("127.0.0.1 is loopback, and clustering/dial_allow does not have it", whys)
        self.assertIn("clustering/dial_allow", str(self.b.logged("unreachable")))

    def test_urls_of_others(self) -> None:
        """He vouches for nodes that he made up, at the URLs of b and of its neighbour, and takes
        them back, again and again. b finds out who is there, and does not set up a link with them
        each time."""
        before = self.dials()
        hosts = (self.a.host, self.b.host)
        liar = self.join(lambda n: f"https://{hosts[n % 2]}:{PORT}")
        for _ in range(30):
            liar.vouch(2)
            self.advance(1)
            liar.take_back()
            self.advance(1)
        self.assertLess(self.dials() - before, 35)
        self.assertGreater(self.dials() - before, 3)

    def test_remembered(self) -> None:
        """When he has gone, the URL that he claimed is not dialed there."""
        before = self.dials()
        for number in range(20):
            member = mallory(100 + number, url="https://127.0.0.1:80").dial(self.mesh, self.b)
            member.transport.abortConnection()
            self.mesh.advance(0.1)
        self.advance(60)
        self.assertEqual(self.dials(), before)


class LookupTests(DialsCase):
    """Names whose name server does not answer."""

    def setUp(self) -> None:
        super().setUp()
        self.join(lambda n: f"https://n{n}.silent:1").vouch(3000)
        self.advance(20)

    def test_bootstrap(self) -> None:
        """A restarted bootstrap node is found as soon as without him."""
        self.a.vanish()
        self.until(lambda: "a" not in self.b.linked_with, within=30)
        self.advance(30)
        self.a.start(url=f"https://mesh.test:{PORT}")
        self.assertLess(self.until(lambda: "b" in self.a.linked_with, within=300), 20)
        self.assertEqual((self.b.bootstrap_names.most, self.b.names.most), (0, 0))

    def test_others(self) -> None:
        """A node with a name that others vouch for is dialed as soon as without him, though he was
        there before."""
        c = self.mesh.add("c", start=False, url=f"https://c.test:{PORT}", dial_allow=())
        self.mesh.network.names["c.test"] = [c.host]
        c.start()
        self.assertLess(self.until(lambda: "c" in self.b.linked_with, within=300), LONGEST)

    def test_vouched_by_both(self) -> None:
        """Nor does it help him to vouch for that node, too, before others do."""
        c = self.mesh.add("c", start=False, url=f"https://c.test:{PORT}", dial_allow=())
        self.mesh.network.names["c.test"] = [c.host]
        self.mesh.network.cut(self.a.host, self.b.host)
        self.until(lambda: "a" not in self.b.linked_with, within=30)
        c.start()
        self.mesh.advance(1)
        (each,) = self.liars
        each.real[c.node.record.id] = c.node._links._presented.signed
        each.vouch(100)
        self.advance(1)
        self.mesh.network.heal()
        self.until(lambda: "a" in self.b.linked_with, within=60)
        self.assertLess(self.until(lambda: "c" in self.b.linked_with, within=300), LONGEST)
