"""How many streams may be opened through a node, at once and a second.

Of each node so many, and of each source, since one member may have many identities and each link of
it may be a new one. And so many to each node, of which no source may have more than are left: a
target takes only so many of one carrier (relay.streams), which must not fill its port
(tls.admission), and one member must not use that up.

No clock: `now` is in seconds.
"""

from __future__ import annotations

from tunmesh.rate_limit import SharedBucket, TokenBucket

BURST, RATE = 256, 16.0  # openings of one node: at once, and a second
SOURCE_BURST, SOURCE_RATE = 1024, 128.0  # of one source
ARRIVALS_BURST, ARRIVALS_RATE = 128, 16.0  # to one node
MOST_SOURCES = 1024  # whose openings are counted; the one that has opened nothing for longest goes


class Openings:
    """Of the streams that one node carries."""

    def __init__(self) -> None:
        self._of_node: dict[str, TokenBucket] = {}  # while it is linked
        self._of_source: dict[str, TokenBucket] = {}
        self._to_node: dict[str, SharedBucket] = {}  # while it is linked

    def try_take(self, opener: str, source: str, target: str, now: float) -> bool:
        """Whether a node, which comes from this source, may open one more to that node."""
        of_node = self._of_node.setdefault(opener, TokenBucket(BURST, RATE, now))
        of_source = self._of_source.pop(source, None)
        of_source = of_source or TokenBucket(SOURCE_BURST, SOURCE_RATE, now)
        self._of_source[source] = of_source
        if len(self._of_source) > MOST_SOURCES:
            del self._of_source[next(iter(self._of_source))]
        to_node = self._to_node.setdefault(target, SharedBucket(ARRIVALS_BURST, ARRIVALS_RATE, now))
        if of_node.wait(now) or of_source.wait(now) or not to_node.try_take(now, source):
            return False
        of_node.take(now)
        of_source.take(now)
        return True

    def parted(self, node_id: str) -> None:
        """This node is no longer linked."""
        self._of_node.pop(node_id, None)
        self._to_node.pop(node_id, None)
