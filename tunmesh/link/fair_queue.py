"""The packets that wait to be sent on one link, because they come faster than its transport or this
processor can send them. While nothing has to wait, packets bypass this queue.

**Fair.** Packets of one flow (addresses and ports) wait in a queue of their own, and the flow
queues take turns by bytes: deficit round robin. A flow that had nothing waiting goes first, once.
So a ping, a name lookup or a new connection overtakes the megabyte that a bulk transfer keeps
waiting, which delays only itself. There are FLOW_QUEUES of them, and a checksum assigns flows to
them. A few flows hardly ever share one. A port scan, in which each packet is a flow, can neither
make other flows wait for ever nor make the search for the longest flow queue slow.

All fragments between two addresses are one flow: only the first of a datagram has ports. A datagram
whose fragments took turns with those of others would be lost, because a kernel gives up one of
which 64 others have come in between (`ipfrag_max_dist`).

**Bounded** in bytes: when the limit is reached, the longest flow queue loses its oldest packets,
from which its sender learns most, and soonest. Bounded in time: a packet that has waited longer
than `max_age` is dropped when its turn comes, because the transport protocols inside the tunnel
have sent it again by then. So a slow peer costs `max_bytes` of memory and delays nobody else.

Sources: M. Shreedhar, G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", 1995;
RFC 8290 (FQ-CoDel) for the lists of new and old flows, and for dropping from the longest;
ip_frag_too_far in net/ipv4/ip_fragment.c.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from zlib import crc32

from tunmesh.packets.ip_headers import FRAGMENT

FLOW_QUEUES = 1024
MAX_BYTES = 2 << 20
# Bytes of one flow's turn: the size of the largest packet, so that each turn sends one.
QUANTUM = 65_546
OVERHEAD = 150  # bytes of memory that a packet takes in Python beside its contents
_BYTES = attrgetter("bytes")


class _FlowQueue:
    """The packets of one flow, each with the time when it began to wait."""

    __slots__ = ("bytes", "credit", "key", "packets")

    def __init__(self, key: int) -> None:
        self.key = key
        self.packets: deque[tuple[float, bytes]] = deque()
        self.bytes = 0
        self.credit = QUANTUM  # bytes that may still be sent in this turn


class PacketQueue:
    """Fair between flows. `now` and `max_age` are in seconds of any one clock. Packets must have
    been routed: their addresses are read without further checks."""

    def __init__(self, max_age: float, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = self._count = 0
        self.max_age = max_age
        self._max_bytes = max_bytes
        self._flows: dict[int, _FlowQueue] = {}
        self._new: deque[_FlowQueue] = deque()
        self._old: deque[_FlowQueue] = deque()

    def __len__(self) -> int:
        return sum(len(flow.packets) for flow in self._flows.values())

    def __bool__(self) -> bool:
        return self.bytes > 0

    @property
    def held(self) -> int:
        """Bytes of memory that the queue takes."""
        return self.bytes + OVERHEAD * self._count

    def push(self, now: float, frames: Iterable[bytes], limit: int | None = None) -> int:
        """Add packets; how many, of these or of older ones, were dropped to make room. `limit`: how
        many bytes may wait now, if that is less than `max_bytes`."""
        limit = self._max_bytes if limit is None else min(limit, self._max_bytes)
        flows = self._flows
        for frame in frames:
            # Addresses and ports; of a fragment, addresses. Where other protocols have something
            # else instead of ports, that does as well.
            if frame[10] < 0x50:
                is_whole = not (frame[16] & 0x3F or frame[17])
                key = crc32(frame[22:34] if is_whole else frame[22:30]) % FLOW_QUEUES
            else:
                key = crc32(frame[18:50] if frame[16] == FRAGMENT else frame[18:54]) % FLOW_QUEUES
            flow = flows.get(key)
            if flow is None:
                flow = flows[key] = _FlowQueue(key)
                self._new.append(flow)
            flow.packets.append((now, frame))
            flow.bytes += len(frame)
            self.bytes += len(frame)
            self._count += 1
        return self._shed(limit) if self.bytes > limit else 0

    def pop(self, now: float, budget: int) -> tuple[list[bytes], int]:
        """The next packets, at least one and until `budget` bytes are reached; and how many packets
        before them had expired."""
        frames: list[bytes] = []
        expired = 0
        oldest = now - self.max_age
        while budget > 0 and (flows := self._new or self._old):
            flow = flows[0]
            if flow.credit <= 0 or not flow.packets:
                self._end_turn(flows)
                continue
            since, frame = self._take(flow)
            if since < oldest:
                expired += 1
            else:
                frames.append(frame)
                flow.credit -= len(frame)
                budget -= len(frame)
        return frames, expired

    def clear(self) -> int:
        """Drop everything; how many packets there were."""
        count = len(self)
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self.bytes = self._count = 0
        return count

    def _end_turn(self, flows: deque[_FlowQueue]) -> None:
        """The first flow goes behind the others. It is removed when its turn comes and it is empty,
        not before: a flow that always has just one packet waiting would be new each time."""
        flow = flows.popleft()
        if flow.packets or flows is self._new:
            flow.credit = min(flow.credit, 0) + QUANTUM
            self._old.append(flow)
        else:
            del self._flows[flow.key]

    def _shed(self, limit: int) -> int:
        """Make room: the longest flow queue loses its oldest packets, up to half of its bytes, then
        the next longest. Halves, so that the search for the longest costs little per packet."""
        dropped = 0
        while self.bytes > limit:
            flow = max(self._flows.values(), key=_BYTES)
            half = flow.bytes // 2
            while self.bytes > limit and flow.bytes > half:
                self._take(flow)
                dropped += 1
        return dropped

    def _take(self, flow: _FlowQueue) -> tuple[float, bytes]:
        since, frame = flow.packets.popleft()
        flow.bytes -= len(frame)
        self.bytes -= len(frame)
        self._count -= 1
        return since, frame
