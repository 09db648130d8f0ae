"""What a start takes from the machine: it checks for conflicts with existing networks, and takes
the ports, the tun device and another uid.

The node does all of that (`take`, and `privileges.drop` at the end). The doctor tries each step and
undoes it at once (`STEPS`). So it finds whatever keeps a node from starting, in the same words.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tunmesh.addresses import Address, Interface, Network
from tunmesh.config.values import Automatic
from tunmesh.dataplane import tun
from tunmesh.errors import InUseError, OperatorError
from tunmesh.host import holders, privileges, seccomp, tcp_ports, udp_ports
from tunmesh.host.helper_process import run_in_child
from tunmesh.netlink import setup
from tunmesh.netlink.overlaps import Overlay

if TYPE_CHECKING:
    from tunmesh.assigner.allowance import Device
    from tunmesh.config.keys.networking import Ipv4, Ipv6, Networking
    from tunmesh.config.loading import Config


T = TypeVar("T")
PATIENCE, LOOK = 10.0, 0.05  # seconds for a node that was killed to end, and from look to look


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node needs from its machine."""

    device: str
    mtu: int
    queue: int  # the device's txqueuelen; 0: the kernel's
    has_helper: bool  # a process that changes the device while the node runs
    overlays: tuple[Overlay, ...]
    floating: tuple[Network, ...]  # what programs may claim for the node
    guard: bool
    listen_address: Address | None
    listen_port: int
    uses_udp: bool
    monitoring: tuple[Address, int] | None  # an address for monitoring only
    uid: int
    gid: int
    behind: tuple[Overlay, ...] = ()  # networks outside the mesh that the device leads to as well
    advertised: tuple[Network, ...] = ()  # networks that this machine is to forward to

    @property
    def routed(self) -> tuple[Overlay, ...]:
        """All that is routed to the device."""
        return self.overlays + self.behind

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that the device gets, as a person reads them."""
        return tuple(
            ", ".join(map(str, overlay.addresses)) or f"an automatic address in {overlay.network}"
            for overlay in self.overlays
        )

    @property
    def kept(self) -> Device:
        """How the helper process is to keep the device."""
        from tunmesh.assigner.allowance import Device, Family  # most nodes have no helper

        families = (
            Family(
                each.network,
                each.prefix or 0,
                each.broadcast,
                each.reserved,
                each.addresses,
                each.multicast,
                tuple(own for own in self.floating if own.version == each.network.version),
            )
            for each in self.overlays
        )
        behind = tuple(overlay.network for overlay in self.behind)
        return Device(tuple(families), self.mtu, self.queue, behind, bool(self.advertised))

    @classmethod
    def of(cls, config: Config) -> Plan:
        networking, monitoring = config.networking, config.monitoring.listen
        return cls(
            device=networking.tun_device_id,
            mtu=networking.mtu,
            queue=networking.txqueuelen or 0,
            has_helper=networking.has_helper,
            overlays=tuple(_overlay(family, networking) for family in networking.families),
            floating=networking.floating,
            guard=networking.guard,
            listen_address=config.control_api.listen_address,
            listen_port=config.control_api.listen_port,
            uses_udp=networking.transport != "tcp",
            monitoring=(monitoring.address, monitoring.port) if monitoring is not None else None,
            uid=config.process.uid,
            gid=config.process.gid,
            behind=behind_of(networking),
            advertised=networking.advertise,
        )


def _overlay(family: Ipv4 | Ipv6, networking: Networking) -> Overlay:
    network, own = family.network_cidr, family.node_address_cidr
    return Overlay(
        network,
        addresses=() if isinstance(own, Automatic) else own,
        broadcast=network.version == 4 and networking.has_broadcast,
        allowed=networking.allow_overlap,
        prefix=own.prefix if isinstance(own, Automatic) else None,
        reserved=tuple(e for e in networking.dns_addresses if e.version == network.version),
        multicast=family.enable_multicast,
    )


def behind_of(networking: Networking) -> tuple[Overlay, ...]:
    """The networks outside the mesh that are routed to the device. If the node's addresses may
    change, the kernel chooses the source of what is sent there: of a route that names it, it would
    remove the route with the address."""
    own: dict[int, tuple[Interface, ...]] = {}
    if not networking.has_helper:
        for each in networking.static_addresses:
            own[each.version] = (*own.get(each.version, ()), each)
    return tuple(
        Overlay(
            route.network,
            own.get(route.network.version, ()),
            allowed=networking.allow_overlap,
            is_behind=True,
        )
        for route in networking.accept_routes
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What a start has taken from the machine."""

    tun: int  # the descriptor of the device, which is up, with its addresses and routes
    tcp: tcp_ports.Bound
    udp: udp_ports.Bound | None  # None: no packets travel over UDP


def take(plan: Plan, waits: Callable[[str], None]) -> Taken:
    """Take all of it. `waits(what)` is told what a node that was killed is still to give up. Raises
    OperatorError."""

    def free(step: str, attempt: Callable[[], T]) -> T:
        return when_free(attempt, lambda: holders_of(step, plan), waits)

    setup.check(plan.device, plan.routed)
    address, port = plan.listen_address, plan.listen_port
    tcp = free("port", lambda: tcp_ports.bind(address, port))
    udp = free("port", lambda: udp_ports.bind(address, port)) if plan.uses_udp else None
    if plan.guard:
        setup.put_guard([overlay.network for overlay in plan.routed])
    fd = free("tun", lambda: tun.open_tun(plan.device))
    setup.configure(plan.device, plan.routed, plan.mtu, plan.queue, bool(plan.advertised))
    return Taken(fd, tcp, udp)


def when_free(
    attempt: Callable[[], T],
    holding: Callable[[], Iterable[holders.Holder]],
    waits: Callable[[str], None],
    seconds: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `attempt` takes. If that is in use by none but processes that are ending, as when a node
    is started right after another one was killed, it is waited for, which `waits` is told once.
    Raises OperatorError, at once if a process is seen to have it that goes on."""
    deadline, is_told = seconds() + PATIENCE, False
    while True:
        try:
            return attempt()
        except InUseError as error:
            if seconds() >= deadline or not all(map(_may_be_ending, holding())):
                raise
            if not is_told:
                waits(error.what)
                is_told = True
        sleep(LOOK)  # the reactor does not run yet, and the kernel tells nobody that a port is free


def _may_be_ending(holder: holders.Holder) -> bool:
    """A process that ends has closed its files, so that it is not found, before the kernel gives up
    what they were. Nor is one of another container found."""
    return holder.pid is None or holder.is_ending


def start_helper(plan: Plan, device: str) -> tuple[socket.socket, str]:
    """The helper process for this device (assigner.start). Raises OperatorError."""
    from tunmesh.assigner.start import start  # most nodes do not need it

    return start(plan.uid, plan.gid, socket.if_nametoindex(device), plan.kept)


# --- the same, tried ---


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a start needs. `attempt(plan)` returns a text that says it can be had, an
    empty one if it is not needed, or raises OperatorError. In any case the machine is as before."""

    name: str
    attempt: Callable[[Plan], str]


def _networks(plan: Plan) -> str:
    setup.check(plan.device, plan.routed)
    networks = ", ".join(str(overlay.network) for overlay in plan.routed)
    return f"nothing on this machine keeps it from {networks}"


def _ports(plan: Plan) -> str:
    address, port = plan.listen_address, plan.listen_port
    tcp = tcp_ports.bind(address, port)
    with contextlib.closing(tcp.socket):
        if not plan.uses_udp:
            return f"{tcp.where} can be listened on"
        udp = udp_ports.bind(address, port)
        with contextlib.closing(udp.socket):
            return f"{tcp.where} can be listened on, and {udp.where}"


def _monitoring(plan: Plan) -> str:
    if plan.monitoring is None:
        return ""
    bound = tcp_ports.bind(*plan.monitoring, tcp_ports.MONITORING)
    with contextlib.closing(bound.socket):
        return f"{bound.where} can be listened on"


def _tun(plan: Plan) -> str:
    fd = tun.open_tun(plan.device)
    try:
        tun.set_mtu(plan.device, plan.mtu)
    finally:
        os.close(fd)
    return f"{plan.device} can be made, with an MTU of {plan.mtu}"


def _privileges(plan: Plan) -> str:
    def become() -> bytes:
        try:
            privileges.drop(plan.uid, plan.gid)
        except OperatorError as error:
            return str(error).encode()
        seccomp.refuse()
        return b"done"

    said = run_in_child(become).decode()
    if said != "done":
        raise OperatorError(said or "the process that gave up root ended without a result")
    return f"a process here can become uid {plan.uid}, gid {plan.gid} and keep no privilege"


def _helper(plan: Plan) -> str:
    if not plan.has_helper:
        return ""
    helper, _ = start_helper(plan, "lo")  # nothing is asked of it
    with contextlib.closing(helper):
        return "a helper process can keep NET_ADMIN, for the device, and nothing else"


STEPS = (
    Step("networks", _networks),
    Step("port", _ports),
    Step("monitoring", _monitoring),
    Step("tun", _tun),
    Step("privileges", _privileges),
    Step("helper", _helper),
)


def holders_of(step: str, plan: Plan) -> list[holders.Holder]:
    """The processes that hold what this step takes."""
    if step == "monitoring" and plan.monitoring is not None:
        return holders.of_port(plan.monitoring[1])
    if step == "port":
        return [*holders.of_port(plan.listen_port), *holders.of_port(plan.listen_port, "UDP")]
    holder = holders.of_tun(plan.device) if step == "tun" else None
    return [] if holder is None else [holder]
