"""What is logged about dialing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunmesh.addresses import Target, plain_host
from tunmesh.dialing import dial_budget
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.errors import PeerError
from tunmesh.logs.journal import Journal
from tunmesh.membership.me import Me
from tunmesh.wire.records import NodeRecord

HEARSAY = "hearsay"


class DialStory:
    """Attempts to link with nodes (dialing.connections.DialObserver)."""

    def __init__(self, journal: Journal, me: Me) -> None:
        self._journal = journal
        self._me = me

    def dialing(self, dialer: PeerFactory, address: str) -> None:
        host, port = dialer.target
        at = "" if address == host else " at {address}"
        again = ", attempt {attempt}" if dialer.retries else ""
        self._journal.debug(
            f"dialing {{host}}:{{port}}{at}{again}",
            event="dialing",
            host=host,
            port=port,
            address=address,
            attempt=dialer.retries + 1,
        )

    def unreachable(self, target: Target, why: str) -> None:
        if target == self._me.record.host_port:
            return  # behind NAT a node need not reach itself by the address that others use
        host, port = target
        self._journal.warn(
            ("unreachable", target),
            "cannot reach {host}:{port}: {why}",
            by=HEARSAY,
            event="unreachable",
            host=host,
            port=port,
            why=why,
        )

    def dialed_in_vain(self, target: str, error: PeerError) -> None:
        """A connection that this node dialed did not become a link."""
        self._handshake_failed(target, target, error)

    def stranger_failed(self, host: str, error: PeerError) -> None:
        """Nor did one that it accepted."""
        # One kind for all of them, or whoever has many addresses could cause as many lines.
        self._handshake_failed("a stranger", f"a stranger at {plain_host(host)}", error)

    def _handshake_failed(self, kind: str, who: str, error: PeerError) -> None:
        self._journal.warn(
            ("handshake", kind, error.reason),
            "no link with {who}: {why}",
            by=HEARSAY,
            event="handshake_failed",
            who=who,
            reason=error.reason,
            why=str(error),
        )

    def leads_back(self, urls: Sequence[str]) -> None:
        """All bootstrap URLs lead to this node."""
        self._journal.warn(
            "leads back",
            "leads only to this node: {urls}; bootstrap_node_urls must name other nodes, or be "
            "empty for the first node of a mesh",
            event="leads_back",
            urls=", ".join(urls),
        )

    def misled(self, wanted: NodeRecord, there: str) -> None:
        """Another node than the wanted one answers at its URL: `there` is its name."""
        text = f"{wanted.url}, which {wanted.name} advertises, leads to {there}"
        log_url_conflict(self._journal, text, wanted.url, (wanted.name, there), HEARSAY)

    def budget_spent(self, source: str) -> None:
        """Nodes from this source vouch for too many that cannot be reached."""
        self._journal.warn(
            ("dials spent", source),
            "nodes that are heard of from {source} are dialed more slowly from now on: {count} "
            "dials led to no member",
            by=source,
            event="dials_spent",
            source=source,
            count=dial_budget.BURST,
        )


def log_url_conflict(
    journal: Journal, text: str, url: str, nodes: Iterable[str], source: str
) -> None:
    journal.warn(
        ("url", url),
        "{conflict}",
        by=source,
        event="url_conflict",
        conflict=text,
        url=url,
        nodes=list(nodes),
    )
