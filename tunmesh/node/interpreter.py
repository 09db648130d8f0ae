"""Carries out what the roster wants: its commands become effects on links, routes and dials.

The roster decides, this acts. What is left to decide here is when news is sent: it is gathered
first, the longer the more links there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tunmesh.link.link import Link
from tunmesh.membership import commands, name_conflicts
from tunmesh.membership.news import News
from tunmesh.node.dials import Dials
from tunmesh.node.parts import Parts
from tunmesh.node.relays import Relays
from tunmesh.node.stories.links import LinkStory
from tunmesh.observe.debug_summary import DebugSummary
from tunmesh.wire.records import NodeRecord

GATHER = 0.2  # seconds for which news is gathered before it is sent
# The least pause from one sending to the next, in seconds for each link: a message costs about 0.1
# ms at either end, and news must not take most of the time when a large mesh starts as a whole.
GATHER_PER_LINK = 0.02
# The same when all the news is that a node is linked which others vouch for already.
GATHER_VOUCHES_PER_LINK = 0.1


class Interpreter:
    """`shown()` is what this node presents of itself; `changed()` is called when what makes the
    node ready may have changed."""

    def __init__(
        self,
        parts: Parts,
        dials: Dials,
        relays: Relays,
        story: LinkStory,
        summary: DebugSummary,
        shown: Callable[[], bytes],
        changed: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._roster, self._peers = parts.roster, parts.peers
        self._dials = dials
        self._relays = relays
        self._story = story
        self._summary = summary
        self._shown = shown
        self._changed = changed
        self._news_sent = -math.inf
        self._is_stopped = False

    def stop(self) -> None:
        """Carry out nothing more."""
        self._is_stopped = True

    def run(self, wanted: Sequence[commands.Command[Link]]) -> None:
        """Carry these out, and see to it that news is sent."""
        if self._is_stopped:
            return
        for command in wanted:
            self._do(command)
        news = self._roster.news
        if news is not News.NONE:
            per_link = GATHER_PER_LINK if news is News.URGENT else GATHER_VOUCHES_PER_LINK
            pause = self._news_sent + per_link * len(self._peers) - self._parts.now
            self._parts.timers.call_within("news", max(GATHER, pause), self._send_news)

    def _send_news(self) -> None:
        self._news_sent = self._parts.now
        self.run(self._roster.gossip())

    def _do(self, command: commands.Command[Link]) -> None:
        match command:
            case commands.Join(link):
                self._join(link)
            case commands.Part(link, reason):
                self._part(link, reason)
            case commands.Revise(link):
                self._revise(link)
            case commands.Present(link):
                link.conversation.present(self._shown())
            case commands.Switch(link):
                self._switch(link)
            case commands.Route(address, link):
                self._peers.route(address, link)
            case commands.Unroute(address):
                self._peers.unroute(address)
            case commands.Tell(link, gossip):
                self._summary.gossip_sent()
                link.conversation.tell(gossip)
            case commands.Ask(link, ids):
                self._summary.asked(len(ids))
                link.conversation.ask(ids)
            case commands.Introduce(link, ids):
                link.conversation.introduce(self._peers.linked(node_id).signed for node_id in ids)
            case commands.Refuse(link, refusal):
                if refusal.addresses:
                    self._story.refuse(link, refusal)
                link.conversation.refuse(refusal)
            case commands.Retire(link):
                self._story.retired(link, self._parts.now - link.since)
                link.retire()
            case commands.Close(link, reason):
                self._story.closed(link, reason)
                link.close(reason)
            case commands.Probe(link):
                link.probe(partial(self._probed, link))
            case commands.Dial(record, patient):
                self._dials.dial(record, patient)
                self._relays.wanted(record)
            case commands.Forget(node_id):
                self._dials.discovered.forget(node_id)
                self._relays.forgotten(node_id)

    def _join(self, link: Link) -> None:
        record = link.node
        self._dials.linked(link)
        self._peers.join(link, self._roster.claims.was_first(record.id))
        if self._peers.is_getting_crowded(link):
            count, most = self._peers.count_with(link), self._peers.max_per_source
            self._story.crowded_source(link, count, most)
        self._story.linked(link, self._conflicts_of(record), self._relay_of(link))
        self._changed()

    def _switch(self, link: Link) -> None:
        before = self._peers.of(link).link
        self._peers.switch(link)
        if link.via:
            self._dials.seek_direct(link.node)
        if link.via != before.via:
            self._story.way_changed(link, self._relay_of(link))
        self._parts.multicast.link_used(self._peers.of(link), link)
        self._dials.revised(self._peers.of(link))

    def _relay_of(self, link: Link) -> str:
        """The name of the node that carries this link; empty if it is direct."""
        record = self._roster.record_of(link.via) if link.via else None
        return record.name if record is not None else link.via

    def _conflicts_of(self, record: NodeRecord) -> Iterator[name_conflicts.Conflict]:
        return name_conflicts.conflicts_of(record, self._parts.me.record, self._peers.by_right())

    def _revise(self, link: Link) -> None:
        record = link.node
        self._peers.revise(link, self._roster.claims.was_first(record.id))
        self._dials.revised(self._peers.of(link))
        self._story.revised(link, self._conflicts_of(record))
        self._changed()

    def _part(self, link: Link, reason: str) -> None:
        self._parts.transports.parted(link)
        self._parts.multicast.parted(self._peers.of(link))
        self._peers.part(link)
        self._dials.parted(link, reason)
        self._relays.parted(link)
        has_namesake = any(each.name == link.node.name for each in self._roster.linked())
        self._story.unlinked(link, reason, has_namesake)
        self._changed()

    def _probed(self, link: Link, alive: bool) -> None:
        self._story.probed(link, alive)
        self.run(self._roster.probed(link, alive))
