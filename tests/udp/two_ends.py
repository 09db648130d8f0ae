"""Two nodes with a path each, and the network between them: what it loses, delays and changes.

Each end goes by its Path and its Choice as udp.carrier does, and sends data all the time, over UDP
when that is chosen, else over TCP, which always works here. Real are the machines; the rest counts.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

from tunmesh.addresses import Target
from tunmesh.tls.underlay import Outside
from tunmesh.udp.choice import Choice, Facts
from tunmesh.udp.path import Command, Lost, Path, Send, Use
from tunmesh.udp.probing.mtu import BASE
from tunmesh.wire.udp_pings import PING_SIZE, Ping, Pong

PONG_SIZE = 56  # sealed


@dataclass(frozen=True)
class Datagram:
    """On its way. `control`: None for data."""

    source: Target
    to: Target
    size: int
    counter: int
    control: Ping | Pong | None


class End:
    """One node. `used`: the (address, size) that it sent data with, at each change."""

    def __init__(self, world: World, name: str, place: Target) -> None:
        self.world, self.name, self.place = world, name, place
        self.path = Path(name.encode(), Outside(), lambda to: self.device_takes, world.now)
        self.choice = Choice("udp")
        self.device_takes: int | None = 1472
        self.is_sending = True
        self.sent = 0
        self.received: set[int] = set()
        self.highest = 0
        self.pings = 0
        self.answered: set[tuple[Target, int]] = set()  # (address, size) of pings that arrived
        self.changes: list[tuple[float, Use | Lost]] = []
        self.switches: list[tuple[float, bool]] = []  # to UDP, from UDP
        self.answered_at = 0.0
        self.used_since = 0.0  # or since when it sends data

    @property
    def unanswered_for(self) -> float:
        """Seconds that it has sent data over UDP since the last ping that was answered."""
        since = [self.answered_at, self.used_since]
        return self.world.now - max(since) if self.is_udp and self.is_sending else 0.0

    @property
    def is_udp(self) -> bool:
        return self.choice.is_udp

    def offered(self, *places: Target) -> None:
        self.carry_out(self.path.offered(self.world.now, places))

    def carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                size = max(command.size, PONG_SIZE)
                self.pings += isinstance(command.control, Ping)
                self.send(command.to, size, command.control)
            else:
                self.changes.append((self.world.now, command))
        self.decide()

    def decide(self) -> None:
        was_udp = self.is_udp
        is_udp = self.choice.decide(self.world.now, Facts(self.path.why_not))
        if is_udp != was_udp:
            self.switches.append((self.world.now, is_udp))
            self.used_since = self.world.now
            self.carry_out(self.path.used(self.world.now, is_udp))

    def send(self, to: Target, size: int, control: Ping | Pong | None) -> None:
        self.sent += 1
        self.world.carry(self, Datagram(self.place, to, size, self.sent, control))

    def send_data(self) -> None:
        if self.is_sending and self.is_udp and self.path.address:
            self.world.check_use(self)
            if self.device_takes is not None and self.path.size > self.device_takes:
                self.carry_out(self.path.too_big(self.world.now))
            else:
                self.send(self.path.address, self.path.size, None)
                self.carry_out(self.path.data_sent(self.world.now))
        elif self.is_sending:
            self.world.arrived[self.name].append(self.world.now)  # over TCP

    def arrived(self, datagram: Datagram) -> None:
        if datagram.counter in self.received:
            return
        self.received.add(datagram.counter)
        now, control = self.world.now, datagram.control
        if datagram.counter > self.highest:
            self.highest = datagram.counter
            self.carry_out(self.path.came_from(now, datagram.source))
        if isinstance(control, Ping) and datagram.size >= PING_SIZE:
            self.world.other(self).answered.add((datagram.to, datagram.size))
            counted = len(self.received), self.highest
            self.carry_out(self.path.ping_came(now, control, datagram.source, *counted))
        elif isinstance(control, Pong):
            self.answered_at = now
            self.carry_out(self.path.pong_came(now, control))
        else:
            self.world.arrived[self.world.other(self).name].append(now)


Fate = Callable[[End, Datagram], "Sequence[float]"]  # the delays with which it arrives; none: lost


@dataclass
class World:
    """The clock, the network, both ends. `lost` says which datagrams are lost, `public` how a NAT
    shows an end's address to others."""

    delay: float = 0.02  # one way
    now: float = 1000.0
    seed: int = 1
    data_every: float = 0.01  # seconds
    public: dict[Target, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.lost: Callable[[End, Datagram], bool] = lambda sender, datagram: False
        self.jitter = 0.0
        self.copies = 0.0  # how likely a datagram comes twice
        self.arrived: dict[str, list[float]] = {"a": [], "b": []}  # data sent by that end
        self.a = End(self, "a", ("192.0.2.1", 5000))
        self.b = End(self, "b", ("198.51.100.2", 5000))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.faults: list[str] = []

    @property
    def ends(self) -> tuple[End, End]:
        return self.a, self.b

    def other(self, end: End) -> End:
        return self.b if end is self.a else self.a

    def start(self) -> None:
        """Both are linked, and offer UDP."""
        self.a.offered(self.b.place)
        self.b.offered(self.a.place)

    def check_use(self, end: End) -> None:
        use = end.path.address, end.path.size
        sizes = [size for address, size in end.answered if address == use[0]]
        if not sizes or use[1] not in (*sizes, BASE):
            self.faults.append(f"{end.name} uses {use}, of which only {sizes} were answered")

    def carry(self, sender: End, datagram: Datagram) -> None:
        if self.lost(sender, datagram):
            return
        source = self.public.get(datagram.source, datagram.source)
        receiver = self.other(sender)
        if datagram.to != self.public.get(receiver.place, receiver.place):
            return
        seen = Datagram(source, datagram.to, datagram.size, datagram.counter, datagram.control)
        for _ in range(1 + (self.random.random() < self.copies)):
            delay = self.delay + self.random.random() * self.jitter
            self.at(self.now + delay, lambda: receiver.arrived(seen))

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        data = self.now
        while True:
            ticks = min(each.path.wake_at for each in self.ends)
            event = self._events[0][0] if self._events else end
            when = min(ticks, event, data, end)
            self.now = max(self.now, when)
            if when >= end:
                return
            if when == event and self._events:
                heapq.heappop(self._events)[2]()
            elif when == data:
                data += self.data_every
                for each in self.ends:
                    each.send_data()
                    each.decide()
            else:
                for each in self.ends:
                    if each.path.wake_at <= self.now:
                        each.carry_out(each.path.tick(self.now))

    def hole(self, sender: End, since: float) -> float:
        """The longest time in which nothing arrived that this end sent, from then until now."""
        times = [since, *(at for at in self.arrived[sender.name] if at >= since), self.now]
        return max(b - a for a, b in pairwise(times))
