"""Tries the URLs of linked nodes, as dialing.url_checks says, and tells each what came of it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from twisted.internet import error as failures

from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.dialing.url_checks import UrlChecks
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.link import Link
from tunmesh.node.parts import Parts
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.tried import Outcome, Tried

# Nodes whose turn it may be in one call of `update`: to rank the checkers of a node takes as long
# as it has links.
MAX_TURNS = 16
DEADLINE = 60.0  # seconds for a dial, which may wait for its slot, or for the budget of its source


class UrlChecker:
    """`make_dialer(record, gave_up)` makes a dialer that tries the URL of a node once."""

    def __init__(
        self, parts: Parts, make_dialer: Callable[[NodeRecord, Callable[[], None]], PeerFactory]
    ) -> None:
        self._parts = parts
        self._make_dialer = make_dialer
        self._checks = UrlChecks(parts.me.id, parts.host.draw)
        self._dialer: PeerFactory | None = None  # of the one attempt under way
        self._record: NodeRecord  # of the node that it is for
        self._since = 0.0
        self._is_elsewhere = False  # another node answered

    # --- facts ---

    def linked(self, record: NodeRecord, source: str) -> None:
        """This node is linked, from this source, or has another record or another source."""
        self._checks.linked(record.id, record.url, source, self._parts.now)

    def parted(self, node_id: str) -> None:
        self._checks.parted(node_id)

    def link_up(self, link: Link, dialer: PeerFactory | None, is_reached: bool) -> None:
        """A link came up, by this dialer; `is_reached`: it was dialed at the URL of its node."""
        record = link.node
        if is_reached:
            self._checks.reached(record.id, record.url, self._parts.now)
        if dialer is None or dialer is not self._dialer:
            return
        if record.id == self._record.id:
            dialer.stop()
            self._ended(Outcome.REACHED)
        else:
            self._is_elsewhere = True  # another address of the name may still lead there

    def is_trying(self, dialer: PeerFactory | None) -> bool:
        """Whether this dialer is for a check, of which the log and the metrics say nothing."""
        return dialer is not None and dialer is self._dialer

    # --- now and then ---

    def update(self) -> None:
        """Begin the next attempt if one is due."""
        now = self._parts.now
        if self._dialer is not None and now - self._since > DEADLINE:
            self._dialer.abandon()
            self._ended(None)
        for _ in range(MAX_TURNS):
            turn = self._checks.due(now, self._peers_of)
            if turn is None:
                return
            link = self._parts.peers.linked(turn.node_id).link
            if turn.is_known:
                link.conversation.tell_tried(Tried.of(link.node.url, Outcome.REACHED))
            else:
                self._try(link.node)

    def abandon(self) -> None:
        """Try nothing more."""
        if self._dialer is not None:
            self._dialer.abandon()

    def _peers_of(self, node_id: str) -> Iterator[tuple[str, str]]:
        for peer in self._parts.roster.hearsay.vouchers(node_id):
            for source in self._parts.peers.sources((peer,)):
                yield peer, source

    def _try(self, record: NodeRecord) -> None:
        self._record, self._since, self._is_elsewhere = record, self._parts.now, False
        self._dialer = self._make_dialer(record, self._gave_up)
        self._dialer.start()

    def _gave_up(self) -> None:
        if self._dialer is not None:
            elsewhere = Outcome.ANOTHER_NODE if self._is_elsewhere else None
            self._ended(elsewhere or outcome_of(self._dialer.error))

    def _ended(self, outcome: Outcome | None) -> None:
        """The attempt is over. None: it was not made."""
        record, self._dialer = self._record, None
        has_reached = outcome is Outcome.REACHED
        is_current = self._checks.ended(record.id, record.url, has_reached, self._parts.now)
        if is_current and outcome is not None:
            link = self._parts.peers.linked(record.id).link
            link.conversation.tell_tried(Tried.of(record.url, outcome))


_BY_ERRNO = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.EHOSTUNREACH: Outcome.NO_ROUTE,
    errno.ENETUNREACH: Outcome.NO_ROUTE,
    errno.ETIMEDOUT: Outcome.NO_ANSWER,
}


def outcome_of(error: BaseException | None) -> Outcome:
    """What an attempt that failed for this reason says of the URL."""
    match error:
        case PeerError(reason=FailureReason.NOT_DIALED | FailureReason.THROUGH_MESH):
            return Outcome.NOT_DIALED
        case PeerError(reason=FailureReason.CERTIFICATE):
            return Outcome.CERTIFICATE
        case PeerError():
            return Outcome.NO_NODE
        case failures.DNSLookupError():
            return Outcome.NO_ADDRESS
        case failures.TimeoutError():
            return Outcome.NO_ANSWER
        case failures.ConnectionRefusedError() | failures.ConnectError(osError=None):
            return Outcome.REFUSED  # None: an ICMP error, see dialing.attempt
        case failures.ConnectError(osError=int(number)):
            return _BY_ERRNO.get(number, Outcome.FAILED)
        case _:
            return Outcome.FAILED
