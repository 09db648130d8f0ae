"""The URL that this node advertises: where it comes from, and whether it leads here."""

from __future__ import annotations

from collections.abc import Callable

from tunmesh.dialing.own_url import OwnUrl
from tunmesh.dialing.reachability import Reachability
from tunmesh.link.link import Link
from tunmesh.logs.journal import Journal
from tunmesh.membership.me import Me
from tunmesh.node.peers import Peers
from tunmesh.status.health import UrlReports
from tunmesh.wire.tried import Tried


class AdvertisedUrl:
    """`own` is how the node finds it out, None if the config has it; `find_address()` guesses the
    address of this machine (netlink.own_address)."""

    def __init__(
        self,
        me: Me,
        own: OwnUrl | None,
        find_address: Callable[[], str] | None,
        peers: Peers,
        journal: Journal,
        seconds: Callable[[], float],
    ) -> None:
        self._me = me
        self._own = own
        self._find_address = find_address
        self._peers = peers
        self._journal = journal
        self._seconds = seconds
        self._reports = Reachability(me.record.url)
        self._logged = ""  # the URL that the log has
        self._is_unreached = self._has_warned = False

    # --- where it is ---

    def dialed_from(self, local: str) -> None:
        """A connection was dialed from this address of the machine, and its handshake is about to
        say what the URL is."""
        if self._own is not None and not len(self._peers):
            self._own.dialed_from(local)
            self._use(self._own)

    def led_back(self) -> None:
        """A connection that was dialed leads to this node itself."""
        if self._own is not None and not len(self._peers):
            self._own.led_back()
            self._use(self._own)

    def _use(self, own: OwnUrl) -> None:
        url = own.url
        if url != self._me.record.url:
            self._me.use_url(url)
            self._reports.advertised(url)
        if url != self._logged:
            self._logged = url
            how = "a guess" if own.is_guessed else "from where other nodes are dialed"
            self._journal.info(
                "others are told to dial {url} ({how})", event="url_found", url=url, how=how
            )

    # --- whether it leads here ---

    def heard(self, link: Link, tried: Tried) -> None:
        """The peer at the other end has tried it."""
        peer = link.node
        self._reports.heard(peer.id, peer.name, link.source, tried, self._seconds())
        self._tell()

    def parted(self, node_id: str) -> None:
        """This node is no longer linked."""
        self._reports.parted(node_id, self._seconds())

    def update(self) -> None:
        """To be called every few seconds."""
        if self._own is not None:
            if len(self._peers):
                links = sorted((peer.link for peer in self._peers), key=lambda link: link.since)
                self._own.linked_by(
                    [(str(link.transport.getHost().host), link.dialed) for link in links]
                )
            elif self._find_address and self._own.is_guessed:
                self._own.guessed(self._find_address())
            self._use(self._own)
        self._tell()

    def _tell(self) -> None:
        reports = self.reports()
        url = self._me.record.url
        if reports.note and not self._is_unreached:
            self._is_unreached = True
            self._has_warned = self._journal.warn(
                "url unreached", "{note}", event="url_unreached", note=reports.note, url=url
            )
        elif self._is_unreached and reports.reached:
            self._is_unreached = False
            if self._has_warned:
                text = "others reach this node's URL {url} now"
                self._journal.info(text, event="url_reached", url=url)

    # --- for the status ---

    def reports(self) -> UrlReports:
        """What the peers say of it."""
        return self._reports.reports(self._seconds())

    def tried_by(self, node_id: str) -> str:
        """What this peer found when it tried, as a word; empty if it has not."""
        outcome = self._reports.outcome_of(node_id)
        return outcome.name.lower() if outcome is not None else ""
