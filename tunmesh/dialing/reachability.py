"""What the peers say about the URL of this node: whether it leads here.

A node cannot find that out itself: behind NAT, or beside a wrong route, its own URL may work for it
and for nobody else, or the other way round. So a few peers try it (dialing.url_checks) and tell.

Peers from one source (tunmesh.addresses) have one vote together, and one honest success outweighs
any number of failures: a member can have many identities, and say of the URL what it likes. What it
can bring about with that is a note in the status, or the lack of one; nothing else depends on it.

A URL that nobody reaches is no fault behind NAT: the node dials the others. So it stays ready.

No clock: `now` is in seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tunmesh.status.health import UrlReports
from tunmesh.units import some
from tunmesh.wire.tried import Outcome, Tried, digest_of

PATIENCE = 15.0  # seconds for which another peer may still succeed, after the first failure
MOST_NAMES = 3  # in one sentence


@dataclass(frozen=True, slots=True)
class _Report:
    name: str
    source: str
    outcome: Outcome


class Reachability:
    """Of one node, by its linked peers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reports: dict[str, _Report] = {}
        self._failing_since: float | None = None  # all that tried have failed

    def advertised(self, url: str) -> None:
        """The node advertises this URL from now on."""
        if url != self._url:
            self._url = url
            self._reports.clear()
            self._failing_since = None

    def heard(self, node_id: str, name: str, source: str, tried: Tried, now: float) -> None:
        """A linked peer tells what it found. Reports about a former URL are ignored."""
        if tried.digest == digest_of(self._url):
            self._reports[node_id] = _Report(name, source, tried.outcome)
            self._judge(now)

    def parted(self, node_id: str, now: float) -> None:
        """This peer is no longer linked."""
        if self._reports.pop(node_id, None) is not None:
            self._judge(now)

    def outcome_of(self, node_id: str) -> Outcome | None:
        """What this peer found, if it has tried."""
        report = self._reports.get(node_id)
        return report.outcome if report is not None else None

    def reports(self, now: float) -> UrlReports:
        """What they say together."""
        sources = {report.source for report in self._reports.values()}
        reached = {r.source for r in self._reports.values() if r.outcome is Outcome.REACHED}
        since = self._failing_since
        is_failing = since is not None and now - since >= PATIENCE
        return UrlReports(len(sources), len(reached), self._note() if is_failing else "")

    def _judge(self, now: float) -> None:
        failed = [report.outcome is not Outcome.REACHED for report in self._reports.values()]
        if not failed or not all(failed):
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now

    def _note(self) -> str:
        reports = self._reports.values()
        causes = Counter(report.outcome.text for report in reports).most_common()
        tried = some(sorted(report.name for report in reports), MOST_NAMES)
        return (
            f"no node reaches this node's URL {self._url}: {', '.join(text for text, _ in causes)} "
            f"(tried by {tried}). Others cannot dial this node; it works as long as it can dial "
            "them. Expected behind NAT, otherwise see clustering/control_api_advertise_url"
        )
