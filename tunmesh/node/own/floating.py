"""The floating addresses that this node claims (membership.floating), from a program's request to
the tun.

    claim, release ──> Holding ──> Me: a further revision, which all peers are told
         peers ── facts ──^  │
                             └─ held ──> table, Assigner: on the tun

A program asks for them, through the control socket, and nothing is kept: a node that was restarted
claims nothing. If the address is on the device already because that program has put it there, so
much the better. When the device refuses it the claim is given up: another node may do better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_interface

from twisted.python.failure import Failure

from tunmesh.addresses import Address, Interface, is_host
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.membership.acquisition import Standing
from tunmesh.membership.floating.holding import (
    Change,
    Facts,
    Holding,
    State,
    next_number,
    standing_of,
)
from tunmesh.node.parts import Parts
from tunmesh.node.peers import LinkedNode
from tunmesh.rate_limit import TokenBucket
from tunmesh.status.node import FloatingAddress
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_FLOATING, MAX_RECORD

WHAT = "the floating addresses are not looked after"
# Updates of its record that a node makes because of claims, at once and a second. With those that
# it makes because of its own addresses they are fewer than what its peers read (link.penalty).
UPDATES_BURST, UPDATES_RATE = 15, 0.4


class _Claim:
    """A claim, and which peers were asked whether they object to it: by id."""

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        self.asked: set[str] = set()
        self.awaited: set[str] = set()  # those that have not answered yet

    @property
    def is_held(self) -> bool:
        return self.holding.state is State.HELD


class OwnFloating:
    """Those of one node, which may claim what is in `Settings.floating`. `has_joined()`: whether it
    is in its mesh."""

    def __init__(self, parts: Parts, has_joined: Callable[[], bool]) -> None:
        self._parts = parts
        self._is_in_mesh = has_joined
        self._has_joined = False
        self._story = _Story(parts.journal)
        self._claims: dict[Address, _Claim] = {}
        self._on_device: set[Address] = set()
        self._is_busy = False  # the device is being changed
        self._updates = TokenBucket(UPDATES_BURST, UPDATES_RATE, parts.now)
        self._moves = {"held": 0, "lost": 0}

    # --- what programs ask for ---

    def claim(self, address: Address) -> FloatingAddress:
        """This node is to have the address from now on, as soon as no other node has it: how far
        it has come. Raises ValueError if it may not."""
        if address not in self._claims:
            self._begin(address)
        elif address in self._on_device and self._parts.host.assigner is not None:
            # Somebody may have taken it off. If it cannot be put back, the next change will tell.
            self._parts.host.assigner.put(host_interface(address)).addErrback(lambda _: None)
        return self._status(address)

    def _begin(self, address: Address) -> None:
        self._check(address)
        number = next_number(address, self._known())
        self._claims[address] = _Claim(Holding(address, number, self._parts.now))
        if len(replace(self._parts.me.record, floating=self._stated).encode()) > MAX_RECORD:
            del self._claims[address]
            raise ValueError(f"{address}: what this node says of itself would be too long")
        self._say()
        self._story.claimed(address, self._holder(address))
        self.update()

    def release(self, address: Address) -> bool:
        """This node is not to have the address any more. Returns whether it was claimed."""
        if self._claims.pop(address, None) is None:
            return False
        self._story.released(address)
        self._settle()
        return True

    def _check(self, address: Address) -> None:
        settings = self._parts.settings
        if not any(address in network for network in settings.floating):
            allowed = ", ".join(map(str, settings.floating)) or "empty"
            text = f"{address} may not be claimed here: networking/floating is {allowed}"
            raise ValueError(f"{text}; it must be in this node's config")
        network = next(each for each in settings.networks if address in each)
        if not is_host(address, network) or address in settings.reserved:
            raise ValueError(f"{address} is not an address for a node in {network}")
        if self._parts.me.record.owns(address):
            raise ValueError(f"{address} is this node's own address: it does not float")
        if len(self._claims) >= MAX_FLOATING:
            raise ValueError(f"this node claims {MAX_FLOATING} addresses already: release one")

    def _known(self) -> list[NodeRecord]:
        roster = self._parts.roster
        return [*roster.linked(), *roster.hearsay.unlinked()]

    # --- from the facts to what follows ---

    def update(self) -> None:
        """Look at the facts soon. It may be called while commands are carried out."""
        if self._is_in_mesh():
            self._has_joined = True
        if self._claims:
            self._parts.timers.call_within("floating", 0.0, self._update)

    def _update(self) -> None:
        with bugs.logged(WHAT):
            self._look()

    def _look(self) -> None:
        for claim in self._claims.values():
            self._ask_peers(claim)
        waits: list[float] = []
        has_changed = False
        for claim in self._claims.values():
            holding, facts = claim.holding, self._facts(claim)
            change = holding.update(facts)
            if change is not None:
                has_changed = True
                self._moves[change] += 1
                # Its own claim still says that this node holds it.
                self._story.moved(change, holding.address, facts.standing.holder)
            wait = holding.wait(facts)
            if wait is not None:
                waits.append(wait + 0.001)  # sums of floats are not exact
        if has_changed:
            self._settle()
        if waits:
            self._parts.timers.call_within("floating", min(waits), self._update)

    def _facts(self, claim: _Claim) -> Facts:
        parts, address = self._parts, claim.holding.address
        peers = tuple(parts.peers)
        if any(str(address) in (*peer.refuses, *peer.view.claims) for peer in peers):
            unlinked = parts.roster.hearsay.unlinked()
            found = standing_of(parts.me.record, address, peers, unlinked)
        else:
            found = Standing()
        return Facts(
            now=parts.now,
            has_joined=self._has_joined,
            is_next=parts.roster.claims.is_next(address),
            is_answered=not claim.awaited,
            standing=found,
        )

    def _ask_peers(self, claim: _Claim) -> None:
        """Have all peers answer that have not been asked, so that their objections would come."""
        peers = {peer.record.id: peer for peer in self._parts.peers}
        claim.asked &= peers.keys()
        claim.awaited &= peers.keys()
        for node_id in peers.keys() - claim.asked:
            claim.asked.add(node_id)
            self._ask(claim, peers[node_id])

    def _ask(self, claim: _Claim, peer: LinkedNode) -> None:
        """A probe that is under way may have begun before the peer heard of the claim: its answer
        says nothing, and the peer is asked again."""

        def answered(is_alive: bool) -> None:
            if is_alive and not is_ours:
                self._ask(claim, peer)
                return
            claim.awaited.discard(peer.record.id)
            self.update()

        claim.awaited.add(peer.record.id)
        pings = peer.link.keepalive.pings
        peer.link.probe(answered)
        is_ours = peer.link.keepalive.pings > pings

    def _settle(self) -> None:
        """Carry out what the claims are by now."""
        self._say()
        held = {each.holding.address for each in self._claims.values() if each.is_held}
        self._parts.table.hold(address.packed for address in held)
        self._change_device()

    @property
    def _stated(self) -> tuple[FloatingClaim, ...]:
        claims = (claim.holding.claim for claim in self._claims.values())
        return tuple(sorted(claims, key=lambda each: str(each.address)))

    def _say(self) -> None:
        """Tell all peers how the claims are by now; later, if that has been too often."""
        now, stated = self._parts.now, self._stated
        if stated == self._parts.me.record.floating:
            return
        wait = self._updates.wait(now)
        if wait:
            self._parts.timers.call_within("floating claims", wait, self._say)
            return
        self._updates.take(now)
        self._parts.me.use_floating(stated)
        self.update()  # this node may be next by that

    def _holder(self, address: Address) -> str:
        """The name of the node that has it, as far as this node knows; "" if it knows of none."""
        queue = self._parts.roster.claims.queue(address)
        record = self._parts.me.record
        if not queue:
            return ""
        if queue[0] == record.id:
            return record.name if address in record.held else ""
        other = self._parts.roster.record_of(queue[0])
        return other.name if other is not None else ""

    # --- the device ---

    def _change_device(self) -> None:
        """One change at a time; the next one follows from how things are then."""
        assigner = self._parts.host.assigner
        wanted = {each.holding.address for each in self._claims.values() if each.is_held}
        if self._is_busy:
            return
        if assigner is None:
            self._on_device = wanted
            return
        for address in wanted - self._on_device:
            self._is_busy = True
            put = assigner.put(host_interface(address))
            put.addCallbacks(partial(self._put, address), partial(self._refused, address))
            return
        for address in self._on_device - wanted:
            self._is_busy = True
            taken = assigner.take_off(host_interface(address))
            taken.addCallbacks(partial(self._taken, address), partial(self._stuck, address))
            return

    def _put(self, address: Address, _: None) -> None:
        self._on_device.add(address)
        self._device_changed()

    def _refused(self, address: Address, failure: Failure) -> None:
        self._story.failed(address, failure.getErrorMessage())
        self._claims.pop(address, None)
        self._device_changed()

    def _taken(self, address: Address, _: None) -> None:
        self._on_device.discard(address)
        self._device_changed()

    def _stuck(self, address: Address, failure: Failure) -> None:
        self._story.failed(address, failure.getErrorMessage())
        self._taken(address, None)

    def _device_changed(self) -> None:
        self._is_busy = False
        with bugs.logged(WHAT):
            self._settle()

    # --- for the status ---

    @property
    def statuses(self) -> tuple[FloatingAddress, ...]:
        """How each claim stands."""
        return tuple(map(self._status, self._claims))

    def _status(self, address: Address) -> FloatingAddress:
        holding = self._claims[address].holding
        return FloatingAddress(
            address=str(address),
            state=holding.state,
            since=holding.since,
            number=holding.number,
            holder=self._holder(address),
            is_on_device=address in self._on_device,
        )

    @property
    def moves(self) -> dict[str, int]:
        """How often this node came to hold an address (`held`), and gave one up to another node
        (`lost`)."""
        return dict(self._moves)


def host_interface(address: Address) -> Interface:
    """As it is put on the device: it makes no node a neighbour."""
    return ip_interface(address)


class _Story:
    """What is logged about them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def claimed(self, address: Address, holder: str) -> None:
        """A program claims it for this node."""
        text = "{address} is claimed for this node" + (": {holder} has it" if holder else "")
        self._journal.info(text, event="floating_claimed", address=str(address), holder=holder)

    def released(self, address: Address) -> None:
        self._journal.info("{address} is released", event="floating_released", address=str(address))

    def moved(self, change: Change, address: Address, holder: str) -> None:
        """This node came to hold it, or had to give it up."""
        if change is Change.HELD:
            self._journal.info(
                "this node holds {address}", event="floating_held", address=str(address)
            )
            return
        self._journal.warn(
            ("floating lost", address),
            "this node gives up {address}: the mesh routes it to {holder}",
            event="floating_lost",
            address=str(address),
            holder=holder or "another node",
        )

    def failed(self, address: Address, why: str) -> None:
        """The tun could not be given it, or freed of it."""
        self._journal.error(
            "{address}: {why}", event="floating_failed", address=str(address), why=why
        )
