"""Whether the tun still has the state that the node set up, and what conflicts with it: complaints
for log, status, readiness and doctor.

Other programs remove addresses, routes or the link itself: networkd and NetworkManager, which clean
up what they do not know; `ip link set down`, which removes all IPv6 addresses; a person. The node
has given up NET_ADMIN: its helper process restores them, if there is one (node.own.device). Each
complaint contains the command that does so, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunmesh.addresses import Address, Interface, Network
from tunmesh.netlink import kernel, overlaps
from tunmesh.netlink.kernel import Link, State
from tunmesh.netlink.overlaps import Overlay


@dataclass(frozen=True, slots=True)
class Way:
    """The kernel's route for a packet: interface and table, or why there is none."""

    interface: str
    table: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the device, in sentences, the worst first."""

    missing: tuple[str, ...] = ()  # was set up, and is gone: packets are lost
    taken: tuple[str, ...] = ()  # takes the device's packets, and is not this node's to remove
    differing: tuple[str, ...] = ()  # is not as it was set up, and packets are carried all the same

    @property
    def all(self) -> tuple[str, ...]:
        return self.missing + self.taken + self.differing

    @property
    def broken(self) -> tuple[str, ...]:
        """What keeps packets from the device, or from this machine."""
        return self.missing + self.taken

    @property
    def restorable(self) -> tuple[str, ...]:
        """What is mended by setting up the device as it was."""
        return self.missing + self.differing


class Watch(Protocol):
    """What a node needs to know of its device. netlink.device_watch implements it."""

    def start(self, changed: Callable[[], None]) -> None:
        """Check now and keep watching; `changed` is called whenever `found` changes."""

    def stop(self) -> None:
        """Stop watching."""

    def expect(self, addresses: Sequence[Interface]) -> None:
        """From now on the device should have these addresses, and no others of the mesh."""

    def expect_mtu(self, mtu: int) -> None:
        """From now on the device should have this MTU."""

    @property
    def found(self) -> Findings:
        """What is wrong with the device now."""

    def way(self, destination: Address, source: Address, is_forwarded: bool = False) -> Way | None:
        """The kernel's route for a packet of this machine, or for one that comes out of the tun and
        is to be forwarded; None if the kernel cannot be asked."""


class Unwatched:
    """For a device that cannot be watched."""

    found = Findings()

    def start(self, changed: Callable[[], None]) -> None:
        pass

    def stop(self) -> None:
        pass

    def expect(self, addresses: Sequence[Interface]) -> None:
        pass

    def expect_mtu(self, mtu: int) -> None:
        pass

    def way(self, destination: Address, source: Address, is_forwarded: bool = False) -> Way | None:
        return None


def compare(device: str, overlays: Sequence[Overlay], mtu: int, state: State) -> Findings:
    """Compare the state of the namespace with what the node has set up. `mtu` 0: any is right."""
    link = next((link for link in state.links.values() if link.name == device), None)
    if link is None:
        text = f"there is no interface {device}: it was renamed, or moved to another namespace"
        return Findings(taken=(text,))
    return Findings(
        (
            *([] if link.is_up else [f"{device} is down (to mend it: ip link set {device} up)"]),
            *(text for overlay in overlays for text in _missing(link, overlay, state)),
        ),
        tuple(
            claim.complaint(device)
            for overlay in overlays
            for claim in overlaps.taken(device, overlay, state)
        ),
        tuple(_wrong_mtu(link, mtu)),
    )


def _wrong_mtu(link: Link, mtu: int) -> Iterator[str]:
    if mtu and link.mtu and link.mtu != mtu:
        command = f"ip link set {link.name} mtu {mtu}"
        yield f"the MTU of {link.name} is {link.mtu}, not {mtu} (to mend it: {command})"


def _missing(link: Link, overlay: Overlay, state: State) -> Iterator[str]:
    """The kernel makes the route to an address's own network when the address is added, and, for
    IPv4, when the link comes up again; a command for it would then fail with "File exists"."""
    device, index, network = link.name, link.index, overlay.network
    option = "-6 " if network.version == 6 else ""
    there = {one.address for one in state.addresses if one.index == index}
    comes_back = False
    for address in () if overlay.is_behind else (*overlay.addresses, *overlay.link_locals):
        is_there = address.ip in there
        comes_back |= address.network == network and not (is_there and link.is_up)
        if not is_there:
            nodad = " nodad" if option else ""
            command = f"ip {option}address add {address} dev {device}{nodad}"
            yield f"the address {address} is gone from {device} (to mend it: {command})"
    if not comes_back and not _is_routed(network, index, state):
        command = f"ip {option}route add {network} dev {device}"
        source = "" if option or not overlay.addresses else f" src {overlay.addresses[0].ip}"
        yield f"the route to {network} is gone from {device} (to mend it: {command}{source})"


def _is_routed(network: Network, index: int, state: State) -> bool:
    return any(
        route.network == network
        and route.interface == index
        and route.table == kernel.TABLE_MAIN
        and route.kind == kernel.UNICAST
        for route in state.routes
    )
