"""What else on this machine overlaps the mesh's networks, before the start and while it runs.

The kernel evaluates its policy rules in order of priority; each names a table. In a table the
longest prefix wins, then the lowest metric. The mesh's routes are in the main table. So these
conflict with a mesh network N: they take packets from it, or would lose packets to it.

    a route in the main table to N or to a part of it     it is as specific, or more so
    a route that overlaps N in a table that a rule        whatever its length: that table is asked
      before the main table's names                       first (Tailscale's 52, wg-quick's 51820)
    such a rule that refuses packets
    before the start: an address whose subnet overlaps    hosts on that link would not be reached
      N, however large it is

No conflict is a wider route in the main table: the default route, the halves of one that other VPNs
use, 10.0.0.0/8 via some gateway. The mesh's routes are more specific, as intended. Nor is a route
to N itself that refuses packets and has a worse metric: that is a guard (docs/operating.md), which
takes effect only while there is no tun.

Rules are judged for packets that this machine sends, without a mark, from its mesh address or from
no particular one. Rules for certain users or ports are ignored; `tunmesh explain` asks the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from tunmesh.addresses import (
    LARGEST_BLOCK,
    Address,
    Interface,
    Network,
    link_local_of,
    overlap,
)
from tunmesh.netlink import kernel
from tunmesh.netlink.kernel import Route, Rule, State

_REFUSING = (kernel.BLACKHOLE, kernel.UNREACHABLE, kernel.PROHIBIT)
# What the kernel adds to its table `local` with an address, without effect on other hosts.
_BESIDE_ADDRESSES = (kernel.BROADCAST, kernel.ANYCAST, kernel.MULTICAST)
_METRIC_ADDED = {4: 0, 6: 1024}  # the metric of IPv6 routes that are added without one


@dataclass(frozen=True)
class Overlay:
    """One address family of the mesh: the network, and our addresses with their local prefixes.
    They may change; at first there may be none. The network is routed to the device all the same,
    from the start."""

    network: Network
    addresses: tuple[Interface, ...] = ()  # packets are sent from the first
    broadcast: bool = False  # whether broadcasts are carried
    allowed: tuple[Network, ...] = ()  # networking.allow_overlap: what lies in these may overlap
    prefix: int | None = None  # of the automatic address; None: the addresses are static
    reserved: tuple[Address, ...] = ()  # addresses of the network that no node may have
    multicast: bool = False  # is carried; with IPv6 the device then has link-local addresses
    # The network is outside the mesh, and reached through gateways (networking/accept_routes). It
    # is only routed to the device; the address is the source of what is sent there.
    is_behind: bool = False

    @property
    def link_locals(self) -> tuple[Interface, ...]:
        """The link-local addresses that the device has, one for each of the others."""
        if not self.multicast or self.network.version == 4:
            return ()
        return tuple(map(link_local_of, self.addresses))

    @property
    def key(self) -> str:
        """The key of the config that names the network."""
        if self.is_behind:
            return "networking/accept_routes"
        return f"networking/ipv{self.network.version}/network_cidr"


@dataclass(frozen=True)
class Claim:
    """A network that overlaps the mesh's, and what it belongs to."""

    network: Network
    interface: str
    leads_nowhere: bool = False
    rule: Rule | None = None  # that has it come before the main table

    def refusal(self, device: str, overlay: Overlay) -> str:
        """The message why `device` cannot be set up, and what would help."""
        network = overlay.network
        advice = f"or say networking/allow_overlap: [{self.network}]"
        choose = "accept a smaller network" if overlay.is_behind else "choose another network"
        if self.rule is not None:
            return (
                f"{network}: the rule {str(self.rule)!r} comes before the main table and sends "
                f"{self.network} {self._whither()}, so {device} would miss packets; change that "
                f"rule or its table, {choose}, {advice}"
            )
        if self.leads_nowhere:
            return (
                f"{network} overlaps the route to {self.network} that leads nowhere "
                f"(blackhole or the like), so {device} would miss packets; remove that route, "
                f"{choose}, {advice}"
            )
        return (
            f"{network} overlaps {self.network}, which {self.interface} uses, so {device} would "
            f"take its traffic or miss packets; {choose} that nothing on this machine uses, "
            f"{advice}"
        )

    def complaint(self, device: str) -> str:
        """The message for a conflict while `device` is in use."""
        by = f" by the rule {str(self.rule)!r}" if self.rule is not None else ""
        return f"{self.network} is sent {self._whither()}{by}, not to {device}"

    def _whither(self) -> str:
        return "nowhere" if self.leads_nowhere else f"to {self.interface}"


def clash(device: str, overlay: Overlay, state: State) -> Claim | None:
    """What in this namespace prevents the set-up of the mesh; None if nothing. The state of
    `device` itself is ignored: it belongs to a node that is running already."""
    return next(_clashes(device, overlay, state), None)


def taken(device: str, overlay: Overlay, state: State) -> list[Claim]:
    """What takes packets away from `device`, which has its addresses and routes. A claim within
    another one, such as an address in its subnet, is left out."""
    claims = list(dict.fromkeys(_before_ours(device, overlay, state, is_running=True)))
    return [one for one in claims if not any(_is_part(one, other) for other in claims)]


def around(device: str, overlay: Overlay, state: State) -> Claim | None:
    """The most specific wider route of the main table that is not (half of) a default route: the
    mesh's network no longer follows it."""
    network = overlay.network
    wider = [
        route
        for route in state.routes
        if route.table == kernel.TABLE_MAIN
        and route.kind == kernel.UNICAST
        and overlap(network, route.network)
        and LARGEST_BLOCK[network.version] <= route.network.prefixlen < network.prefixlen
        and state.name(route.interface) != device
    ]
    route = max(wider, key=lambda route: route.network.prefixlen, default=None)
    return None if route is None else Claim(route.network, state.name(route.interface))


def _is_part(one: Claim, other: Claim) -> bool:
    inner, outer = one.network, other.network
    is_inside = inner.prefixlen > outer.prefixlen and overlap(inner, outer)
    return is_inside and replace(one, network=outer) == other


def _clashes(device: str, overlay: Overlay, state: State) -> Iterator[Claim]:
    for one in state.addresses:
        name = state.name(one.index)
        if name == device:
            continue
        for claimed in (one.subnet, _alone(one.address)):
            if overlap(overlay.network, claimed) and not _is_allowed(overlay, claimed):
                yield Claim(claimed, name)
    yield from _before_ours(device, overlay, state, is_running=False)


def _before_ours(device: str, overlay: Overlay, state: State, is_running: bool) -> Iterator[Claim]:
    """What the kernel would use before the mesh's own routes in the main table."""
    version = overlay.network.version
    rules = sorted(
        (rule for rule in state.rules if rule.version == version), key=lambda rule: rule.priority
    )
    ours = _metric(device, overlay, state) if is_running else None
    resume = 0  # where a rule that says goto goes on
    for rule in rules or _usual_rules(version):
        if rule.priority < resume or not _concerns(rule, overlay):
            continue
        if rule.action == kernel.GOTO:
            resume = rule.target
        elif rule.action in kernel.REFUSING_ACTIONS:
            claimed = rule.destination or overlay.network
            if not _is_allowed(overlay, claimed):
                yield Claim(claimed, "no interface", leads_nowhere=True, rule=rule)
        elif rule.action == kernel.TO_TABLE:
            decides = (
                rule.table == kernel.TABLE_MAIN and rule.suppressed < overlay.network.prefixlen
            )
            for route in _foreign(device, overlay, state, rule):
                if not decides or _beats_ours(route, overlay, ours):
                    yield _claim_of(route, state, None if decides else rule)
            if decides:
                return


def _foreign(device: str, overlay: Overlay, state: State, rule: Rule) -> Iterator[Route]:
    """The overlapping routes of the rule's table that are used, and are not `device`'s."""
    for route in state.routes:
        if (
            route.table == rule.table
            and overlap(overlay.network, route.network)
            and route.network.prefixlen > rule.suppressed
            and route.kind != kernel.THROW
            and route.kind not in _BESIDE_ADDRESSES
            and state.name(route.interface) != device
            and not _is_allowed(overlay, route.network)
        ):
            yield route


def _claim_of(route: Route, state: State, rule: Rule | None) -> Claim:
    # The table of local addresses is always asked first: nobody has made that rule.
    by = None if rule is not None and rule.table == kernel.TABLE_LOCAL else rule
    return Claim(route.network, state.name(route.interface), route.kind in _REFUSING, by)


def _metric(device: str, overlay: Overlay, state: State) -> int | None:
    """The metric of the mesh's own route; None if there is no such route."""
    return min(
        (
            route.metric
            for route in state.routes
            if route.network == overlay.network
            and route.table == kernel.TABLE_MAIN
            and state.name(route.interface) == device
        ),
        default=None,
    )


def _beats_ours(route: Route, overlay: Overlay, ours: int | None) -> bool:
    """Whether the kernel prefers a route of the main table to ours, whose metric is `ours`. Before
    ours exists: also whether that route leads to something."""
    network = overlay.network
    if route.network.prefixlen != network.prefixlen:
        return route.network.prefixlen > network.prefixlen
    if ours is None:
        return route.kind not in _REFUSING or route.metric <= _METRIC_ADDED[network.version]
    return route.metric <= ours


def _concerns(rule: Rule, overlay: Overlay) -> bool:
    """Whether an unmarked packet from this machine to the mesh may match the rule."""
    if rule.is_partial:
        return False
    own = [address.ip for address in overlay.addresses]
    matches = (
        (
            rule.source is None
            or rule.source.prefixlen == 0
            or any(ip in rule.source for ip in own)
            # An automatic address may become any of the network's.
            or (not own and overlap(overlay.network, rule.source))
        )
        and (rule.destination is None or overlap(overlay.network, rule.destination))
        and rule.mark & rule.mask == 0
        and rule.incoming in ("", "lo")
    )
    return matches != rule.is_inverted


def _usual_rules(version: int) -> Sequence[Rule]:
    """The rules that a kernel without policy routing behaves as if it had."""
    return (
        Rule(version, 0, kernel.TO_TABLE, kernel.TABLE_LOCAL),
        Rule(version, 32766, kernel.TO_TABLE, kernel.TABLE_MAIN),
    )


def _is_allowed(overlay: Overlay, claimed: Network) -> bool:
    return any(
        claimed.version == network.version and claimed.subnet_of(network)  # type: ignore[arg-type]
        for network in overlay.allowed
    )


def _alone(address: Address) -> Network:
    if address.version == 4:
        return IPv4Network(address)
    return IPv6Network(address)
