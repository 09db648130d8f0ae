"""A tun device in memory, packets for it, and a device watch that tests control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, ip_address

from twisted.internet.defer import Deferred

from tunmesh.addresses import Address, Interface
from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.errors import OperatorError
from tunmesh.netlink.device_state import Findings, Unwatched, Way


class MemoryTun:
    """A tun device without a kernel. `inject` is what the machine sends, `written` what it got,
    `answers` what it sends as soon as it got something."""

    def __init__(self, name: str = "tun1") -> None:
        self.name = name
        self.rx_packets = self.rx_bytes = self.tx_packets = self.tx_bytes = 0
        self.written: list[bytes] = []
        self.answers: list[bytes] = []
        # Why a frame is not taken: the same for all, or a function of the frame.
        self.refuses: DropReason | Callable[[bytes | memoryview], DropReason | None] | None = None
        self.is_open = True
        self._receive: Callable[[list[bytes]], None] | None = None
        self._lost: Callable[[str], None] | None = None

    def start(self, receive: Callable[[list[bytes]], None], lost: Callable[[str], None]) -> None:
        self._receive, self._lost = receive, lost

    def write(self, frames: Iterable[bytes | memoryview]) -> list[Drop]:
        drops: list[Drop] = []
        for frame in frames:
            reason = self.refuses(frame) if callable(self.refuses) else self.refuses
            if reason is not None:
                drops.append((reason, frame))
                continue
            self.written.append(bytes(frame))
            self.rx_packets += 1
            self.rx_bytes += len(frame) - 10
        return drops

    def poll(self) -> None:
        if self.answers:
            frames, self.answers = self.answers, []
            self.inject(*frames)

    def inject(self, *frames: bytes) -> None:
        self.tx_packets += len(frames)
        self.tx_bytes += sum(map(len, frames)) - 10 * len(frames)
        if self._receive is not None:
            self._receive(list(frames))

    def delete(self) -> None:
        """The interface is deleted under the node."""
        self.stop()
        if self._lost is not None:
            self._lost(f"{self.name} is gone: somebody deleted the interface")

    def stop(self) -> None:
        self.is_open = False
        self._receive = None


def frame(source: str, destination: str, payload: bytes = b"") -> bytes:
    """A UDP-less IP packet (protocol 253, for experiments) behind an empty virtio header."""
    sender, receiver = ip_address(source), ip_address(destination)
    if isinstance(sender, IPv4Address):
        size = (20 + len(payload)).to_bytes(2, "big")
        header = b"\x45\0" + size + b"\0\0\0\0\x40\xfd\0\0"
    else:
        header = b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + b"\xfd\x40"
    return bytes(10) + header + sender.packed + receiver.packed + payload


class MemoryAssigner:
    """What a MemoryTun was given: its addresses, in the order in which they were put there, its MTU
    and its txqueuelen."""

    def __init__(self) -> None:
        self.assigned: list[Interface] = []
        self.mtu = self.queue = 0  # 0: never set
        self.restored = 0  # how often everything was put back
        self.fails = ""  # why nothing can be done
        self.is_slow = False  # it answers only to `answer`
        self._waiting: list[tuple[Deferred[None], Callable[[], None]]] = []

    def put(self, interface: Interface) -> Deferred[None]:
        return self._do(lambda: self._put(interface))

    def _put(self, interface: Interface) -> None:
        if interface not in self.assigned:
            self.assigned.append(interface)

    def take_off(self, interface: Interface) -> Deferred[None]:
        return self._do(lambda: self.assigned.remove(interface))

    def set_link(self, mtu: int, queue: int) -> Deferred[None]:
        def change() -> None:
            self.mtu, self.queue = mtu, queue

        return self._do(change)

    def restore(self) -> Deferred[None]:
        def count() -> None:
            self.restored += 1

        return self._do(count)

    def answer(self) -> None:
        """Do what waits."""
        waiting, self._waiting = self._waiting, []
        for done, change in waiting:
            if self.fails:
                done.errback(OperatorError(self.fails))
                continue
            change()
            done.callback(None)

    def _do(self, change: Callable[[], None]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._waiting.append((done, change))
        if not self.is_slow:
            self.answer()
        return done


class MemoryWatch(Unwatched):
    """A watch of a MemoryTun: it complains of what it is told to, and the kernel sends packets
    where it is told."""

    def __init__(self) -> None:
        self.found = Findings()
        self.interface: str | None = None  # that packets go to; None: it cannot be asked
        self.expected: Sequence[Interface] | None = None  # the addresses it was told to expect
        self.expected_mtu = 0  # 0: it was told of none
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def stop(self) -> None:
        self._changed = lambda: None

    def expect(self, addresses: Sequence[Interface]) -> None:
        self.expected = tuple(addresses)

    def way(self, destination: Address, source: Address, is_forwarded: bool = False) -> Way | None:
        return None if self.interface is None else Way(self.interface, 52)

    def expect_mtu(self, mtu: int) -> None:
        self.expected_mtu = mtu

    def complain(self, *missing: str, differing: Sequence[str] = ()) -> None:
        """Set the complaints about the device."""
        self.found = Findings(missing, differing=tuple(differing))
        self._changed()
