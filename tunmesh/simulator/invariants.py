"""The invariants that hold at the end of every scenario. Each check returns what is violated."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.simulator.scenario import FLOOD, Scenario
from tunmesh.simulator.steps import Exchange, ReadSlowly
from tunmesh.simulator.world import TRAFFIC_INTERVAL, World
from tunmesh.status.node import Status
from tunmesh.testing.mesh import Member

BOOTSTRAP = 0.4  # dials a second of a group of which nobody else answers, at three addresses
# Messages a second that each end of a link sends in any case, pings and pongs, and a host sends in
# packets, by the number of nodes; and their kilobytes.
KEEPALIVES, PACKETS, KILOBYTES = 0.4, 1.5 / TRAFFIC_INTERVAL, 0.04
EXCHANGED = 500  # datagrams a second at most, of packets of which many take a dozen
EXAM = 2000  # packets at most, in the final trial of all ways
# Calls that may wait for their time: each end of a link has its keepalive, each node a few timers.
# One that dials another one in vain waits for its next attempt, or for the end of this one.
# With UDP, each end of a link has its path, and each node looks at all of them.
CALLS_PER_LINK_END, CALLS_PER_NODE, CALLS_PER_DIALED = 1, 6, 2
CALLS_FOR_UDP = 1
CALLS_FOR_GROUPS = 3  # the next question to the kernel, the end of its answers, what is gathered
CALLS_FOR_RELAYS = 2  # whom to dial, and what is carried


class Wholeness:
    """Whether the mesh is complete, as long as nothing starts, ends, is cut or heals."""

    def __init__(self, world: World) -> None:
        members = list(world.running())
        self._liars = set[str]().union(*(liar.ids for liar in world.liars))
        self._linked = {
            one: {other.node.record.id for other in members if world.joined(one, other)}
            for one in members
        }
        by_id = {member.node.record.id: member for member in members}
        self._known = {
            one: len(
                set().union(linked, *(self._linked[by_id[each]] for each in linked))
                - {one.node.record.id}
            )
            for one, linked in self._linked.items()
        }
        self.links = sum(map(len, self._linked.values())) // 2
        self._in_doubt = members

    def problem(self) -> str:
        """The first one; empty if all is well. Whoever is found wrong is asked first next time."""
        for at, member in enumerate(self._in_doubt):
            problem = self._problem_of(member, member.node.status())
            if problem:
                self._in_doubt.insert(0, self._in_doubt.pop(at))
                return f"{member.name} {problem}"
        return ""

    def _problem_of(self, member: Member, status: Status) -> str:
        expected = self._linked[member]
        linked = {peer.record.id for peer in status.peers} - self._liars
        if linked != expected:
            lacks, stale = len(expected - linked), len(linked - expected)
            return f"has {len(linked)} links, {lacks} missing and {stale} that should not be"
        if self._liars:
            return ""  # they may make it believe in nodes, and dial
        if status.nodes_known != self._known[member]:
            return f"knows of {status.nodes_known} nodes, not of {self._known[member]}"
        counts = {state: count for state, count in status.links.items() if count}
        if counts != ({"up": len(expected)} if expected else {}):
            return f"has connections beside its links: {counts}"
        return ""


def changes(world: World) -> int:
    """How many times a node was linked or unlinked so far."""
    return sum(len(m.logged("linked")) + len(m.logged("unlinked")) for m in world.members)


def lost_packets(world: World) -> tuple[int, list[str]]:
    """Send a packet from everybody to everybody, or by a sample of all ways: how many, and the ways
    of those that did not arrive. Whoever claims the address of another one is left out."""
    honest = [m for m in world.honest() if not world.chooses or world.can_talk(m)]
    ways = [(one, other) for one in honest for other in honest if world.joined(one, other)]
    if len(ways) > EXAM:
        ways = world.random.sample(ways, EXAM)
    numbers = [world.post.send(one, other) for one, other in ways]
    world.advance(1.0)
    return len(ways), [
        f"from {one.name} to {other.name}"
        for number, (one, other) in zip(numbers, ways, strict=True)
        if world.post.waits(number)
    ]


def leftovers(world: World) -> Iterator[str]:
    """Nothing is left of what is over."""
    relayed = sum(peer.relay != "" for m in world.running() for peer in m.node.status().peers)
    carried = sum(m.node.status().carried.streams for m in world.running())
    if relayed != 2 * carried:
        yield f"there are {relayed} ends of relayed links, and {carried} that are carried"
    ends, expected = len(world.network.wires), 2 * Wholeness(world).links - relayed
    if ends != expected:
        yield f"there are {ends} ends of connections, not {expected}"
    nodes = len(list(world.running()))
    apart = nodes * (nodes - 1) - expected
    calls = len(world.clock.getDelayedCalls())
    most = ends * CALLS_PER_LINK_END + nodes * CALLS_PER_NODE + apart * CALLS_PER_DIALED
    if world.has_multicast:
        most += nodes * CALLS_FOR_GROUPS
    if world.has_relays:
        most += relayed * CALLS_PER_LINK_END + nodes * CALLS_FOR_RELAYS
    if world.has_udp:
        most += (ends + nodes) * CALLS_FOR_UDP
    if calls > most:
        yield f"{calls} calls wait for their time, more than {most}"
    queued = sum(p.queued_bytes for m in world.running() for p in m.node.status().peers)
    if queued:
        yield f"{queued} bytes wait in queues"


def duplicates(world: World) -> Iterator[str]:
    """Whoever claims the address of somebody else is told so, and is not ready; the other one is;
    and both sides say so."""
    for intruder, victim in world.intruders.items():
        if intruder.node.status().is_ready:
            yield f"{intruder.name} is ready without its address"
        if not victim.node.status().is_ready:
            yield f"{victim.name} is not ready, though the address is its own"
        if not intruder.logged("address_refused"):
            yield f"{intruder.name} does not say that it was refused its address"
        if not victim.logged("address_conflict"):
            yield f"{victim.name} does not say that it refuses its address"


def wrong_networks(world: World) -> Iterator[str]:
    """A node with other networks is not ready, and says why; all others are ready, and name it."""
    for wrong in world.misconfigured:
        if wrong.node.health().is_ready:
            yield f"{wrong.name} is ready with other networks than all others"
        if not wrong.logged("networks_differ"):
            yield f"{wrong.name} does not say that its networks are other ones"
        for member in world.honest():
            if not member.node.health().is_ready:
                yield f"{member.name} is not ready, though it is {wrong.name} that is wrong"
            if wrong.name not in "; ".join(member.status.warnings):
                yield f"{member.name} does not say that {wrong.name} is wrong"


def costs(world: World, scenario: Scenario) -> Iterator[tuple[str, float, float, float]]:
    """What the hosts did: the word for it, how much of it on average, at most, and the limit."""
    others = max(1, len(list(world.running())) - 1)
    growth = max(1.0, others / scenario.nodes)
    floods = [step for step in scenario.steps if isinstance(step, ReadSlowly)]
    flood_packets = sum(step.seconds / FLOOD for step in floods)
    flood_bytes = sum(step.seconds * step.rate for step in floods)
    exchanges = sum(step.seconds for step in scenario.steps if isinstance(step, Exchange))
    seconds = world.clock.seconds()
    always = seconds * (KEEPALIVES * others + PACKETS / (others + 1))
    network, limits = world.network, scenario.limits
    for what, counts, limit, unit in (
        ("dials", network.dials_by, limits.dials * others + (BOOTSTRAP + limits.lost) * seconds, 1),
        ("messages", network.writes_by, limits.writes * others + always + flood_packets, 1),
        (
            "kilobytes",
            network.bytes_by,
            limits.kilobytes * others * growth + always * KILOBYTES + flood_bytes / 1000,
            1000,
        ),
        (
            "datagrams",
            world.datagrams.sent_by,
            limits.datagrams * others + always + exchanges * EXCHANGED / (others + 1),
            1,
        ),
    ):
        if not counts:
            continue
        each = [counts[host] / unit for host in counts]
        yield what, sum(each) / len(each), max(each), limit
