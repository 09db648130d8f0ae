"""Checks the records by which peers introduce nodes: each must be signed by the node itself.

If one is not, the introducer is to blame. It had to verify the record as well, so it made it up:
its link is ended, and others are asked about the nodes that it vouched for. A record that is signed
by its node and cannot be parsed is that node's fault alone: it is ignored, and the introducer
stays.

To verify a record and to act on it takes some 0.3 ms, and one message has up to 128 of them, one
read several messages. So only TURN of them are verified in one iteration of the reactor, and
packets are carried between them. Of the answers to one question only one waits, and no more than
MAX_HELD bytes in all: beyond that they are verified at once, and are so large then that one read
has few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from tunmesh.auth import signing
from tunmesh.auth.node_key import id_of
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.membership.roster import Roster
from tunmesh.timers import Timer
from tunmesh.wire.records import NodeRecord, SignedRecord

TURN = 16  # records in one iteration of the reactor
MAX_HELD = 1 << 20  # bytes of records that wait


class Introductions:
    """Those that one node receives. `introduced(link, record)` is called for each record that is
    right; `false` counts the others."""

    def __init__(
        self,
        roster: Roster[Link],
        journal: Journal,
        clock: IReactorTime,
        introduced: Callable[[Link, NodeRecord], None],
    ) -> None:
        self.false = 0
        self._roster = roster
        self._journal = journal
        self._introduced = introduced
        self._waiting: dict[str, tuple[Link, SignedRecord]] = {}  # by the id of the node
        self._held = 0  # bytes of them
        self._timer = Timer(clock)

    def received(self, link: Link, introduced: Iterable[SignedRecord]) -> None:
        """The other end of this link introduces nodes. If one of the records is false, the link is
        ended."""
        for signed in introduced:
            node_id = id_of(signed.public_key)
            if node_id not in self._waiting and self._is_awaited(link, node_id):
                self._waiting[node_id] = link, signed
                self._held += len(signed.record)
        if not self._timer.is_running:
            self._read()
        while self._held > MAX_HELD:
            self._read_next()

    def _read(self) -> None:
        """Those whose turn it is."""
        if len(self._waiting) > TURN:
            self._timer.start(0, self._read)
        for _ in range(min(TURN, len(self._waiting))):
            self._read_next()

    def _read_next(self) -> None:
        node_id = next(iter(self._waiting))
        link, signed = self._waiting.pop(node_id)
        self._held -= len(signed.record)
        if link.state.is_open and self._is_awaited(link, node_id):
            with bugs.logged("a node is not dialed"):
                self._verify(link, node_id, signed)

    def _is_awaited(self, link: Link, node_id: str) -> bool:
        """Else another peer was faster, or nobody vouches for it any more."""
        return self._roster.hearsay.awaits(link.node.id, node_id)

    def _verify(self, link: Link, node_id: str, signed: SignedRecord) -> None:
        try:
            record = signing.verify(signed)
        except PeerError as error:
            self._note_false(link, node_id, error)
            if error.reason != FailureReason.MALFORMED:
                why = f"it introduced a node falsely: {error}"
                link.fail(PeerError(FailureReason.FALSE_INTRODUCTION, why))
            else:
                self._roster.hearsay.malformed(node_id)
        else:
            self._introduced(link, record)

    def compare(self, record: NodeRecord, by: str) -> None:
        """A node is linked: its record must be the one that it was introduced with, or another
        revision of that. `by`: the source that it connects from."""
        before = self._roster.record_of(record.id)
        if before is None:
            return
        older, newer = sorted((before, record), key=lambda each: each.revision)
        if not older.may_become(newer) and replace(before, settled=record.settled) != record:
            self._journal.warn(
                ("contradiction", record.id),
                "{peer} has signed two records of itself that contradict each other: by its link "
                "it is {now}, and before it was {before}",
                by=by,
                event="contradiction",
                peer=record.name,
                node=record.id,
                now=_in_short(record),
                before=_in_short(before),
            )

    def _note_false(self, link: Link, node_id: str, error: PeerError) -> None:
        self.false += 1
        self._journal.warn(
            ("false introduction", link.node.id),
            "{peer} introduced the node {node} by a false record: {why}",
            by=link.source,
            event="false_introduction",
            peer=link.node.name,
            node=node_id,
            why=str(error),
        )


def _in_short(record: NodeRecord) -> str:
    return f"{record.name} ({', '.join(map(str, record.own))}) at {record.url}"
