"""Large datagrams on real tun devices."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from tests.real.test_mesh import IPV4, IPV6, MeshCase
from tests.support.realnode import reactor

LARGEST = 65_507  # bytes of payload: the most that UDP over IPv4 takes
COUNT = 140
# Datagrams under way at a time: 360 fragments at most, which the queue of a tun (500) has room for.
WINDOW = 8
# No packet is too old, however long the machine keeps it waiting.
PATIENT = {
    "network": {kind: {"packet_expiration": 60.0} for kind in ("local", "mesh")},
    "registrations": {"bootstrap_retry_interval": 0.5},
}
SO_RCVBUFFORCE = 33
ROOM = 8 << 20  # bytes: two of these datagrams would fill a usual socket


class Echo(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


class Asker(DatagramProtocol):
    """Sends datagrams, WINDOW at a time, and takes them back. `all_back` fires when there are no
    more."""

    def __init__(self, datagrams: Iterator[bytes]) -> None:
        self.all_back: Deferred[None] = Deferred()
        self._datagrams = datagrams
        self._under_way: list[bytes] = []

    def ask(self, place: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.connect(*place)
        self._send()

    def _send(self) -> None:
        assert self.transport is not None
        while len(self._under_way) < WINDOW and (datagram := next(self._datagrams, b"")):
            self._under_way.append(datagram)
            self.transport.write(datagram, None)
        if not self._under_way:
            self.all_back.callback(None)

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self._under_way.remove(datagram)  # fails unless it is what was sent
        self._send()


class LargeDatagramTests(MeshCase):
    """Datagrams in many fragments, several at a time."""

    def datagrams(self) -> Iterator[bytes]:
        """A seventh of them as large as possible; the others of any size, with random contents:
        what is in a fragment must not matter."""
        draw = random.Random(140)
        for number in range(COUNT):
            yield draw.randbytes(LARGEST if number % 7 == 0 else draw.randint(1, LARGEST))

    async def echoed(self, family: socket.AddressFamily) -> None:
        """All of them come back."""
        asker = Asker(self.datagrams())
        ports = []
        for number, end in ((1, asker), (2, Echo())):
            with self.ground.namespace(number):
                port = reactor.listenUDP(
                    0, end, interface=self.address(number, family), maxPacketSize=65536
                )
            port.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            self.addCleanup(port.stopListening)
            ports.append(port)
        asker.ask((self.address(2, family), ports[1].getHost().port))
        await asker.all_back

    async def all_arrive(self, transport: str) -> None:
        for number in (1, 2):
            self.ground.change(number, networking__transport=transport, process__timing=PATIENT)
        await self.ground.linked(2)
        for number in (1, 2):
            while transport == "udp" and await self.transport(number) != "udp":
                pass
        for family in (IPV4, IPV6):
            await self.echoed(family)
        for number in (1, 2):
            self.assertEqual((await self.ground.status(number))["dropped_packets"], {})

    async def transport(self, number: int) -> object:
        """What packets of that node go over."""
        (peer,) = (await self.ground.status(number))["peers"]
        return peer["transport"]

    async def test_tcp(self) -> None:
        """Over TCP every one arrives, unchanged."""
        await self.all_arrive("tcp")

    async def test_udp(self) -> None:
        """Over UDP as well."""
        await self.all_arrive("udp")

    async def test_auto(self) -> None:
        """And where the node chooses."""
        await self.all_arrive("auto")
