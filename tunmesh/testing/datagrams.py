"""UDP in memory: datagrams between the hosts of a Network, and what may happen to them.

    datagrams = Datagrams(network, random.Random(seed))
    datagrams.loss = 0.01                       # of the datagrams, each by itself
    datagrams.block("192.0.2.1", "192.0.2.2")   # none gets from the one to the other
    datagrams.rebind("192.0.2.1")               # its NAT gives it another port

Unlike a connection, which delays, a cut loses what is under way.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter

from tunmesh.testing.network import Network
from tunmesh.udp.port import Place, Reader, Sent
from tunmesh.udp.readers import Readers

HEADERS = 28  # of IPv4 and UDP
_FIRST_MAPPED = 40_000


class Datagrams:
    """The paths of datagrams. All randomness is drawn from `source`."""

    def __init__(self, network: Network, source: random.Random) -> None:
        self.network = network
        self.loss = 0.0  # the share that is lost,
        self.duplicated = 0.0  # that comes twice,
        self.late = 0.0  # that comes up to `lateness` seconds later, behind others
        self.lateness = 0.02
        self.mtu = 1500  # of the devices
        self.path_mtu = 1500  # of the paths: larger ones vanish
        self.counts: Counter[str] = Counter()  # what became of them
        self.sent_by: Counter[str] = Counter()  # how many each host has sent
        self._random = source
        self._ports: dict[Place, MemoryPort] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._mapped: dict[str, int] = {}  # the port that a host's NAT gave it

    def port(self, host: str, number: int, random_bytes: Callable[[int], bytes]) -> MemoryPort:
        """A port of a host."""
        return MemoryPort(self, (host, number), random_bytes)

    def block(self, one: str = "", other: str = "") -> None:
        """Nothing gets from `one` to `other`; "": from anywhere, or to anywhere."""
        self._blocked.add((one, other))

    def unblock(self) -> None:
        """End all blocks."""
        self._blocked.clear()

    def rebind(self, host: str) -> None:
        """The NAT in front of a host forgets it: what comes from it has another port than before,
        and what is sent to the one before is lost."""
        self._mapped[host] = self._mapped.get(host, _FIRST_MAPPED) + 1

    def attach(self, port: MemoryPort) -> None:
        self._ports[port.place] = port

    def detach(self, port: MemoryPort) -> None:
        if self._ports.get(port.place) is port:
            del self._ports[port.place]

    def readdress(self, before: str, host: str) -> None:
        """A host has another address from now on; its ports stay open."""
        for (old, number), port in list(self._ports.items()):
            if old == before:
                self.detach(port)
                port.place = (host, number)
                self.attach(port)

    def crash(self, host: str) -> None:
        """The process on this host is gone."""
        for port in [port for (at, _), port in self._ports.items() if at == host]:
            port.stop()

    def carry(self, datagrams: Iterator[bytes], sender: Place, to: Place) -> None:
        """Datagrams leave a host, in one go: those that arrive at one time arrive in one go."""
        host, number = sender
        source = host, self._mapped.get(host, number)
        under_way: list[tuple[float, bytes]] = []
        for datagram in datagrams:
            self.counts["sent"] += 1
            self.sent_by[host] += 1
            if self._loses(datagram, host, to[0]):
                self.counts["lost"] += 1
                continue
            under_way.append((self._delay(), datagram))
            if self._random.random() < self.duplicated:
                self.counts["duplicated"] += 1
                under_way.append((self._delay(), datagram))
        latency = self.network.latency_between(host, to[0])
        under_way.sort(key=itemgetter(0))
        for delay, several in groupby(under_way, itemgetter(0)):
            together = [datagram for _, datagram in several]
            self.network.clock.callLater(latency + delay, self._arrive, together, source, to)

    def lets_through(self, one: str, other: str) -> bool:
        """Whether datagrams from the one to the other are not blocked."""
        return self._blocked.isdisjoint(((one, other), ("", other), (one, ""), ("", "")))

    def _loses(self, datagram: bytes, one: str, other: str) -> bool:
        return (
            self._random.random() < self.loss
            or len(datagram) + HEADERS > self.path_mtu
            or not self.lets_through(one, other)
        )

    def _delay(self) -> float:
        if self._random.random() >= self.late:
            return 0.0
        self.counts["late"] += 1
        return self._random.uniform(0.0, self.lateness)

    def _arrive(self, datagrams: list[bytes], source: Place, to: Place) -> None:
        host, number = to
        mapped = self._mapped.get(host)
        at_host = (port for (at, _), port in self._ports.items() if at == host)
        port = self._ports.get(to) if mapped is None else next(at_host, None)
        cut = self.network.is_cut(source[0], host) or host in self.network.gone
        if port is None or cut or mapped not in (None, number):
            self.counts["lost"] += len(datagrams)
        else:
            self.counts["arrived"] += len(datagrams)
            port.receive(datagrams, source)


class MemoryPort:
    """A port of a host; udp.port has the interface."""

    def __init__(
        self, datagrams: Datagrams, place: Place, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.place = place
        self._datagrams = datagrams
        self._readers = Readers(random_bytes)
        self.open, self.close = self._readers.open, self._readers.close
        self._waiting: deque[Callable[[], None]] = deque()
        self._first: deque[tuple[bytes, Place]] = deque()  # control datagrams that wait
        self._room: int | None = None  # bytes that the device takes now; None: any number
        self._has_turn = False
        self._is_open = True

    @property
    def strangers(self) -> int:
        return self._readers.strangers

    def start(self) -> None:
        self._datagrams.attach(self)

    def stop(self) -> None:
        self._is_open = False
        self._datagrams.detach(self)
        self._waiting.clear()
        self._first.clear()

    def send(self, data: bytes | memoryview, size: int, to: Place, *, ahead: bool = False) -> Sent:
        if not self._is_open:
            return Sent.UNREACHABLE
        if self._waiting and not (ahead or self._has_turn):
            return Sent.BLOCKED
        if min(size, len(data)) + HEADERS > self._datagrams.mtu:
            return Sent.TOO_BIG
        if self._room is not None and self._room <= 0:
            if not ahead:
                return Sent.BLOCKED
            self._first.append((bytes(data), to))
            return Sent.DONE
        self._send(data, size, to)
        return Sent.DONE

    def _send(self, data: bytes | memoryview, size: int, to: Place) -> None:
        if self._room is not None:
            self._room -= len(data)
        cut = (bytes(data[at : at + size]) for at in range(0, len(data), size))
        self._datagrams.carry(cut, self.place, to)

    def call_when_writable(self, call: Callable[[], None]) -> None:
        if self._is_open:
            self._waiting.append(call)
            if self._room is None:
                self._datagrams.network.clock.callLater(0, self._call_those_who_wait)

    def largest(self, to: Place) -> int | None:
        return self._datagrams.mtu - HEADERS

    # --- for tests ---

    def allow(self, room: int | None) -> None:
        """The device takes so many bytes from now on, and then nothing more; None: all."""
        self._room = room
        while self._first and (self._room is None or self._room > 0):
            data, to = self._first.popleft()
            self._send(data, len(data), to)
        self._call_those_who_wait()

    def receive(self, datagrams: list[bytes], source: Place) -> None:
        """Datagrams arrive. Those that are equally long are joined, as by the kernel."""
        served: dict[Reader, None] = {}
        for size, data in _joined(datagrams):
            self._readers.sort(data, len(data), size, source, served)
        self._readers.end_turn(served)

    def _call_those_who_wait(self) -> None:
        for _ in range(len(self._waiting)):
            if self._room is not None and self._room <= 0:
                break
            self._has_turn = True
            with suppress(IndexError):  # it was stopped by one of them
                self._waiting.popleft()()
            self._has_turn = False


def _joined(datagrams: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each stretch of equally long datagrams as one, with their length; the last of a stretch may
    be shorter."""
    stretch: list[bytes] = []
    for datagram in datagrams:
        if stretch and not len(datagram) <= len(stretch[0]) == len(stretch[-1]):
            yield len(stretch[0]), b"".join(stretch)
            stretch = []
        stretch.append(datagram)
    if stretch:
        yield len(stretch[0]), b"".join(stretch)
