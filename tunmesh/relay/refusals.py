"""Which neighbours are not asked for a stream to which nodes, because they have just refused one.

A neighbour that carries for nobody is remembered once, any other refusal for the node that the
stream was to lead to. So one that refuses again and again pushes out nothing that others have said
of other nodes. When there is no room the oldest refusal is forgotten: that costs one request.

No clock: `now` is in seconds.
"""

from __future__ import annotations

from tunmesh.wire.streams import Refused

MAX_NODES = 4096  # to which some neighbour leads no stream for now
MAX_CARRIERS = 32  # of which that is known for one node


class Refusals:
    """Of one node."""

    def __init__(self) -> None:
        self._declined: dict[str, float] = {}  # by carrier: until when, while it is linked
        # By the node, and by carrier. The oldest are first.
        self._pairs: dict[str, dict[str, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._pairs.values()))

    def note(self, carrier: str, node_id: str, why: Refused, now: float) -> None:
        """This neighbour has refused a stream to that node."""
        if why is Refused.DECLINED:
            self._declined[carrier] = now + why.pause
            return
        known = self._pairs.pop(node_id, {})
        pairs = {each: until for each, until in known.items() if until > now and each != carrier}
        pairs[carrier] = now + why.pause
        if len(pairs) > MAX_CARRIERS:
            del pairs[next(iter(pairs))]
        self._pairs[node_id] = pairs
        if len(self._pairs) > MAX_NODES:
            del self._pairs[next(iter(self._pairs))]

    def may_ask(self, carrier: str, node_id: str, now: float) -> bool:
        """Whether this neighbour may be asked for a stream to that node."""
        until = self._pairs.get(node_id, {}).get(carrier, now)
        return max(until, self._declined.get(carrier, now)) <= now

    def forget(self, node_id: str) -> None:
        """This node is linked, or not wanted any more."""
        self._pairs.pop(node_id, None)

    def parted(self, carrier: str) -> None:
        """This neighbour is no longer linked: when it is again, it may carry."""
        self._declined.pop(carrier, None)
