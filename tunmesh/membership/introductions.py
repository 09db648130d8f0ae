"""Looks at the records by which others introduce nodes: whether each is what that node signed.

A record that is not tells on who brought it. He had to verify it himself, so he made it up: his
link ends, and the nodes that he vouched for are asked for elsewhere. One that its own node signed
and that cannot be read is the fault of that node alone: it is left out, and the introducer stays.
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
    """Those that one node gets. `false`: how many of them were."""

    def __init__(self, roster: Roster[Link], journal: Journal) -> None:
        self.false = 0
        self._roster = roster
        self._journal = journal

    def read(self, link: Link, introduced: Iterable[SignedRecord]) -> list[NodeRecord]:
        """Whom the node at the other end introduces, of those that are not known. Raises PeerError
        when it is lying."""
        records: list[NodeRecord] = []
        for signed in introduced:
            node_id = id_of(signed.public_key)
            if not self._roster.hearsay.awaits(link.node.id, node_id):
                continue  # somebody else was faster, or nobody vouches for it any more
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
        """A node is linked. It has to say the same of itself to everybody, as long as it lives.
        `by`: where it comes from."""
        before = self._roster.record_of(record.id)
        if before is not None and replace(before, settled=record.settled) != record:
            self._journal.warn(
                ("contradiction", record.id),
                "{peer} has signed two different records of itself: by its link it is {now}, and "
                "before it was {before}",
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
    addresses = ", ".join(str(address.ip) for address in record.addresses)
    return f"{record.name} ({addresses}) at {record.url}"
