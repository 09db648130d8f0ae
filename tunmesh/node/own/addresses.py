"""The addresses that this node chooses itself (membership.acquisition), from the facts to the tun.

    peers, roster ── facts ──> Acquisition ──> Me: a further revision, which all peers are told
                                   │
                                   └─ held ──> Assigner: on the tun; then the table and the watch

An address is put on the tun when it is held, and taken off when another one is there instead or no
other one is left: applications that listen on it keep it for as long as possible. The node fails
when the device cannot be changed: it would send from addresses that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tunmesh.addresses import Address, Interface
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.membership.acquisition import (
    Acquisition,
    Change,
    Facts,
    Standing,
    State,
    Step,
    standing,
)
from tunmesh.membership.candidates import Candidates
from tunmesh.node.dials import Dials
from tunmesh.node.parts import Parts
from tunmesh.status.node import AutomaticAddress
from tunmesh.wire.records import NodeRecord

GATHER = 0.02  # seconds for which facts are gathered before they are looked at
WHAT = "the node's addresses are not looked after"
POLL = 0.1  # seconds between two looks at what nobody reports


class OwnAddresses:
    """Those of one node; there are none unless `Settings.automatic` says so.

    `update` is to be called whenever something may have changed. `changed()` is called when this
    node has claimed something else, `moved()` when it has other addresses, `failed(why)` when the
    tun cannot be given them.
    """

    def __init__(
        self,
        parts: Parts,
        dials: Dials,
        changed: Callable[[], None],
        moved: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        settings = parts.settings
        self._parts = parts
        self._dials = dials
        self._changed = changed
        self._moved = moved
        self._failed = failed
        self._story = _Story(parts.journal)
        self._machines = [
            Acquisition(
                Candidates(
                    network, prefix, parts.me.record.name, settings.reserved, settings.floating
                ),
                parts.now,
            )
            for network, prefix in settings.automatic
        ]
        self._static = parts.me.record.static_addresses
        self._on_device: list[Interface] = []
        self._used = self._static  # by the table
        self._is_busy = False  # the device is being changed
        self._moves = 0

    def update(self) -> None:
        """Look at the facts soon. It may be called while commands are carried out."""
        if self._machines:
            self._parts.timers.call_within("addresses", GATHER, self._update)

    def use_static(self, addresses: tuple[Interface, ...]) -> None:
        """The operator has assigned these addresses now, and the tun has them."""
        chosen = [each for each in self._used if each not in self._static]
        self._static = addresses
        self._claim()
        self._use(chosen)
        self._parts.host.watch.expect((*self._static, *self._on_device))
        self._changed()

    def _update(self) -> None:
        with bugs.logged(WHAT):
            self._look()

    def _claim(self) -> None:
        chosen = (machine.interface for machine in self._machines)
        wanted = [*self._static, *(each for each in chosen if each is not None)]
        self._parts.me.use_addresses(tuple(sorted(wanted, key=lambda each: each.version)))

    def _look(self) -> None:
        standings = [self._standing(machine) for machine in self._machines]
        facts = self._facts(is_contested=any(each.objectors for each in standings))
        steps: list[Step] = []
        for machine, found in zip(self._machines, standings, strict=True):
            steps += machine.update(facts, found)
        self._claim()
        for step in steps:
            self._moves += step.change is Change.LOST
            self._story.step(step, self._machine_of(step))
        self._change_device()
        if steps:
            self._changed()
        self._wait(facts)

    def _wait(self, facts: Facts) -> None:
        waits = [machine.wait(facts) for machine in self._machines]
        is_open = any(each.state is not State.HELD for each in self._machines)
        if is_open and facts.is_linked and not (facts.knows_all and facts.is_whole):
            waits.append(POLL)
        found = [wait for wait in waits if wait is not None]
        if found:
            # Sums of floats are not exact: a millisecond too early would be another round.
            self._parts.timers.call_within("addresses", min(found) + 0.001, self._update)

    # --- the facts ---

    def _facts(self, is_contested: bool) -> Facts:
        parts = self._parts
        roster, dials = parts.roster, self._dials
        is_first = dials.is_first or bool(dials.leads_back)
        now, knows_all = parts.now, roster.hearsay.is_complete
        is_choosing = any(machine.is_choosing(now, knows_all) for machine in self._machines)
        taken, heard = self._taken() if is_contested or is_choosing else ({}, set())
        return Facts(
            now=now,
            is_linked=len(parts.peers) > 0 or is_first,
            knows_all=knows_all,
            is_whole=all(map(roster.is_linked, roster.hearsay)),
            taken=taken,
            heard=heard,
            kept=roster.claims.kept(parts.me.record.name),
        )

    def _taken(self) -> tuple[dict[Address, str], set[Address]]:
        """What all others have, and which of that was only heard of. A node of this node's name
        that it is not linked with is most likely this node, before it was restarted."""
        roster, me = self._parts.roster, self._parts.me.record
        linked = _holders(roster.linked())
        unlinked = _holders(each for each in roster.hearsay.unlinked() if each.name != me.name)
        return unlinked | linked, unlinked.keys() - linked.keys()

    def _standing(self, machine: Acquisition) -> Standing:
        if machine.interface is None:
            return Standing()
        parts = self._parts
        return standing(
            parts.me.record,
            machine.interface.ip,
            tuple(parts.peers),
            parts.roster.hearsay.unlinked(),
            machine.since,
        )

    def _machine_of(self, step: Step) -> Acquisition:
        return next(each for each in self._machines if each.candidates.version == step.version)

    # --- the device ---

    def _change_device(self) -> None:
        """One change at a time; the next one follows from how things are then."""
        if self._is_busy:
            return
        chosen = [(machine.interface, machine.state) for machine in self._machines]
        held = [each for each, state in chosen if each is not None and state is State.HELD]
        claiming = {m.candidates.version for m in self._machines if m.state is State.CLAIMING}
        self._use([each for each in self._on_device if each in held])
        assigner = self._parts.host.assigner
        if assigner is None:
            self._on_device = held
            self._use(held)
            return
        for interface in held:
            if interface not in self._on_device:
                self._follow(assigner.put(interface), [*self._on_device, interface])
                return
        for interface in self._on_device:
            if interface not in held and interface.version not in claiming:
                rest = [each for each in self._on_device if each != interface]
                self._follow(assigner.take_off(interface), rest)
                return

    def _follow(self, change: Deferred[None], then: list[Interface]) -> None:
        self._is_busy = True
        change.addCallbacks(lambda _: self._device_changed(then), self._device_failed)

    def _device_changed(self, on_device: list[Interface]) -> None:
        self._is_busy = False
        self._on_device = on_device
        with bugs.logged(WHAT):
            self._parts.host.watch.expect((*self._static, *on_device))
            self._change_device()
            self._changed()

    def _device_failed(self, failure: Failure) -> None:
        why = failure.getErrorMessage()
        self._story.failed(why)
        self._failed(why)

    def _use(self, addresses: list[Interface]) -> None:
        """Send from these addresses, and take what is sent to them."""
        own = (*self._static, *addresses)
        if own != self._used:
            self._used = own
            self._parts.table.readdress(own)
            self._moved()

    # --- for the status ---

    @property
    def statuses(self) -> tuple[AutomaticAddress, ...]:
        """How far it has come with each of them."""
        return tuple(
            AutomaticAddress(
                version=machine.candidates.version,
                state=machine.state,
                address=str(machine.interface) if machine.interface is not None else "",
                number=machine.number,
                since=machine.since,
                network=str(machine.candidates.network),
                hosts=machine.candidates.hosts,
                taken=machine.taken,
                is_on_device=machine.interface in self._on_device,
                passed_over=tuple((str(each), name) for each, name in machine.passed_over),
            )
            for machine in self._machines
        )

    @property
    def moves(self) -> int:
        """How often this node had to give up an address that it had held."""
        return self._moves


def _holders(records: Iterable[NodeRecord]) -> dict[Address, str]:
    return {address: record.name for record in records for address in record.claimed}


class _Story:
    """What is logged about them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def step(self, step: Step, machine: Acquisition) -> None:
        """A machine took this step."""
        address = str(step.interface)
        holder = step.holder or "another node"
        match step.change:
            case Change.CLAIMED:
                text = "claiming {address}, candidate {number} in {network}"
                self._journal.debug(
                    text,
                    event="address_claimed",
                    address=address,
                    number=step.number,
                    network=str(machine.candidates.network),
                )
            case Change.HELD:
                text = "the address of this node is {address}"
                self._journal.info(text, event="address_held", address=address, number=step.number)
            case Change.GIVEN_UP:
                text = "{holder} has {address}, so this node claims another one"
                self._journal.debug(text, event="address_taken", address=address, holder=holder)
            case Change.LOST:
                self._journal.warn(
                    ("address moved", address),
                    "this node gives up {address}: the mesh routes it to {holder}",
                    event="address_moved",
                    address=address,
                    holder=holder,
                )
            case Change.FULL:
                candidates = machine.candidates
                self._journal.warn(
                    ("network full", step.version),
                    "there is no address for this node: all {hosts} of {network} are taken",
                    event="network_full",
                    network=str(candidates.network),
                    hosts=candidates.hosts,
                )

    def failed(self, why: str) -> None:
        """The tun could not be given an address, or freed of one."""
        self._journal.error("{why}", event="address_failed", why=why)
