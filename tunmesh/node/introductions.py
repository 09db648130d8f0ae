"""Checks the records by which peers introduce nodes: each must be signed by the node itself.

If one is not, the introducer is to blame. It had to verify the record as well, so it made it up:
its link is ended, and others are asked about the nodes that it vouched for. A record that is signed
by its node and cannot be parsed is that node's fault alone: it is ignored, and the introducer
stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tunmesh.auth import signing
from tunmesh.auth.node_key import id_of
from tunmesh.errors import FailureReason, PeerError
from tunmesh.link.link import Link
from tunmesh.logs.journal import Journal
from tunmesh.membership.roster import Roster
from tunmesh.wire.records import NodeRecord, SignedRecord


class Introductions:
    """Those that one node receives. `false` counts the false ones."""

    def __init__(self, roster: Roster[Link], journal: Journal) -> None:
        self.false = 0
        self._roster = roster
        self._journal = journal

    def read(self, link: Link, introduced: Iterable[SignedRecord]) -> list[NodeRecord]:
        """The records that answer an open question. Raises PeerError if one is false."""
        records: list[NodeRecord] = []
        for signed in introduced:
            node_id = id_of(signed.public_key)
            if not self._roster.hearsay.awaits(link.node.id, node_id):
                continue  # another peer was faster, or nobody vouches for it any more
            try:
                records.append(signing.verify(signed))
            except PeerError as error:
                self._note_false(link, node_id, error)
                if error.reason != FailureReason.MALFORMED:
                    why = f"it introduced a node falsely: {error}"
                    raise PeerError(FailureReason.FALSE_INTRODUCTION, why) from None
                self._roster.hearsay.malformed(node_id)
        return records

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
