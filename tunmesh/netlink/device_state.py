"""Whether the tun is as the node has set it up, and what is in its way: sentences.

Addresses, routes and the link itself are taken away by others: networkd and NetworkManager, which
tidy up what they do not know, `ip link set down`, which takes all IPv6 addresses with it, or
somebody's hand. The node cannot put them back, as it has given up NET_ADMIN, so each sentence has
the command that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunmesh.netlink import kernel, overlaps
from tunmesh.netlink.kernel import Address, Link, Network, State
from tunmesh.netlink.overlaps import Overlay


@dataclass(frozen=True, slots=True)
class Way:
    """Where the kernel sends a packet: the interface and the table that says so, or why nowhere."""

    interface: str
    table: int = 0
    why: str = ""


class Watch(Protocol):
    """What a node needs to know of its device; netlink.device_watch has the real one."""

    def start(self, changed: Callable[[], None]) -> None:
        """Look, and go on; `changed` is called whenever `complaints` has changed."""

    def stop(self) -> None:
        """No more of it."""

    @property
    def complaints(self) -> Sequence[str]:
        """What is wrong with the device now, in sentences."""

    def way(self, destination: Address, source: Address) -> Way | None:
        """Where the kernel would send a packet; None if it cannot be asked."""


class Unwatched:
    """A device of which nothing is known."""

    complaints: Sequence[str] = ()

    def start(self, changed: Callable[[], None]) -> None:
        pass

    def stop(self) -> None:
        pass

    def way(self, destination: Address, source: Address) -> Way | None:
        return None


def complaints(device: str, overlays: Sequence[Overlay], state: State) -> tuple[str, ...]:
    """Everything that is wrong, the worst first; nothing when packets to the mesh go there."""
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
    has_address = any(one.index == index and one.address == address.ip for one in state.addresses)
    comes_back = address.network == network and not (has_address and link.is_up)
    if not has_address:
        nodad = " nodad" if option else ""
        command = f"ip {option}address add {address} dev {device}{nodad}"
        yield f"the address {address} is gone from {device} (to mend it: {command})"
    if not comes_back and not _is_routed(network, index, state):
        command = f"ip {option}route add {network} dev {device}"
        source = "" if option else f" src {address.ip}"
        yield f"the route to {network} is gone from {device} (to mend it: {command}{source})"


def _is_routed(network: Network, index: int, state: State) -> bool:
    return any(
        route.network == network
        and route.interface == index
        and route.table == kernel.TABLE_MAIN
        and route.kind == kernel.UNICAST
        for route in state.routes
    )
