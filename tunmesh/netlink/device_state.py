"""Whether the tun still has the state that the node set up, and what conflicts with it: complaints
for log, status, readiness and doctor.

Other programs remove addresses, routes or the link itself: networkd and NetworkManager, which clean
up what they do not know; `ip link set down`, which removes all IPv6 addresses; a person. The node
has given up NET_ADMIN and cannot restore them, so each complaint contains the command that does.
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


class Watch(Protocol):
    """What a node needs to know of its device. netlink.device_watch implements it."""

    def start(self, changed: Callable[[], None]) -> None:
        """Check now and keep watching; `changed` is called whenever `complaints` changes."""

    def stop(self) -> None:
        """Stop watching."""

    def expect(self, addresses: Sequence[Interface]) -> None:
        """From now on the device should have these addresses, and no others of the mesh."""

    @property
    def complaints(self) -> Sequence[str]:
        """What is wrong with the device now."""

    def way(self, destination: Address, source: Address) -> Way | None:
        """The kernel's route for a packet; None if the kernel cannot be asked."""


class Unwatched:
    """For a device that cannot be watched."""

    complaints: Sequence[str] = ()

    def start(self, changed: Callable[[], None]) -> None:
        pass

    def stop(self) -> None:
        pass

    def expect(self, addresses: Sequence[Interface]) -> None:
        pass

    def way(self, destination: Address, source: Address) -> Way | None:
        return None


def complaints(device: str, overlays: Sequence[Overlay], state: State) -> tuple[str, ...]:
    """All complaints, the worst first; none if packets to the mesh reach the device."""
    link = next((link for link in state.links.values() if link.name == device), None)
    if link is None:
        return (f"there is no interface {device}: it was renamed, or moved to another namespace",)
    return (
        *([] if link.is_up else [f"{device} is down (to mend it: ip link set {device} up)"]),
        *(text for overlay in overlays for text in _missing(link, overlay, state)),
        *(
            claim.complaint(device)
            for overlay in overlays
            for claim in overlaps.taken(device, overlay, state)
        ),
    )


def _missing(link: Link, overlay: Overlay, state: State) -> Iterator[str]:
    """The kernel makes the route to an address's own network when the address is added, and, for
    IPv4, when the link comes up again; a command for it would then fail with "File exists"."""
    device, index = link.name, link.index
    address, network = overlay.address, overlay.network
    option = "-6 " if network.version == 6 else ""
    has_address = address is None or any(
        one.index == index and one.address == address.ip for one in state.addresses
    )
    comes_back = (
        address is not None and address.network == network and not (has_address and link.is_up)
    )
    if not has_address:
        nodad = " nodad" if option else ""
        command = f"ip {option}address add {address} dev {device}{nodad}"
        yield f"the address {address} is gone from {device} (to mend it: {command})"
    if not comes_back and not _is_routed(network, index, state):
        command = f"ip {option}route add {network} dev {device}"
        source = "" if option or address is None else f" src {address.ip}"
        yield f"the route to {network} is gone from {device} (to mend it: {command}{source})"


def _is_routed(network: Network, index: int, state: State) -> bool:
    return any(
        route.network == network
        and route.interface == index
        and route.table == kernel.TABLE_MAIN
        and route.kind == kernel.UNICAST
        for route in state.routes
    )
