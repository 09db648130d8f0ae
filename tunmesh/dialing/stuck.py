"""Handshakes that are stuck, because the path loses large segments without a word.

The first flight of a listener is larger than one segment. If the path loses what is large, the one
that dialed sees a connection that came up at once and then gives nothing, or only the end of the
flight, which the kernel keeps because what comes before it is missing. The other way round its own
segments are sent again and again. Neither needs to wait for the handshake's timeout: the connection
is given up, and the next one has smaller segments (dialing.segments).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from tunmesh.addresses import Target
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.interfaces import State
from tunmesh.link.link import Link
from tunmesh.timers import Timer
from tunmesh.tls.binding import TcpMeasures
from tunmesh.tls.listener import HANDSHAKE_TIMEOUT

# Seconds from the connection to the first look at it, and from one to the next. Retransmissions
# come after 0.2, 0.6 and 1.4 s: a path that only loses some segments has delivered them by then.
FIRST_LOOK, LOOK = 1.2, 0.4
PATIENCE = HANDSHAKE_TIMEOUT - 2 * LOOK
RETRIES = 2  # of the same segment, without progress

_WHY = (
    "the connection came up, and then large segments did not arrive: a path that takes only "
    "smaller packets, and does not say so"
)


def is_stuck(measures: TcpMeasures) -> bool:
    """Whether this connection has waited in vain for a large segment to arrive."""
    ours = measures.unacknowledged > 0 and measures.retries >= RETRIES
    return ours or measures.out_of_order > 0


class HandshakeWatch:
    """Of the connections that this end has dialed, until they are links. `stuck(target, measures,
    is_certain)` is called before one is ended, or when it has come to nothing in all its time."""

    def __init__(
        self, clock: IReactorTime, stuck: Callable[[Target, TcpMeasures, bool], None]
    ) -> None:
        self._clock = clock
        self._stuck = stuck
        self._began: dict[Link, tuple[float, Target]] = {}
        self._timer = Timer(clock)

    def begin(self, link: Link, target: Target) -> None:
        """This link has been dialed there."""
        self._began[link] = self._clock.seconds(), target
        if not self._timer.is_running:
            self._timer.start(LOOK, self._look)

    def end(self, link: Link) -> None:
        """It has come up, or ended."""
        self._began.pop(link, None)
        if not self._began:
            self._timer.stop()

    def _look(self) -> None:
        self._timer.start(LOOK, self._look)
        now = self._clock.seconds()
        for link, (began, target) in tuple(self._began.items()):
            if now < began + FIRST_LOOK or link.state is not State.HANDSHAKE:
                continue
            measures = link.authentication.channel.measures(link.transport)
            if is_stuck(measures):
                self._stuck(target, measures, True)
                link.fail(PeerError(FailureReason.STUCK, _WHY))
            elif now >= began + PATIENCE:
                del self._began[link]  # it is about to end
                self._stuck(target, measures, False)
