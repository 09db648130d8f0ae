"""Which addresses are dialed at the request of other nodes.

A member can say that its URL, or that of a node it vouches for, is anywhere. What listens at
loopback and link-local addresses is meant for this machine or this cable alone: debuggers,
databases without a password, the metadata service of a cloud. No honest node of another machine
advertises such a URL, since nobody could reach it there; so none is dialed. Nor are addresses that
stand for no single host: unspecified (which Linux takes for this host), multicast, broadcast. A
mesh on one machine is recognised by the node's own URL: a node that advertises a loopback or
link-local address dials others of the same kind.

With `clustering.dial_allow` only addresses that are listed there are dialed, of whatever kind. The
networks of the mesh are never dialed (tls.underlay).

The rule applies to addresses, not to names: to what a name resolved to. Bootstrap URLs are the
operator's own, and exempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

from tunmesh.addresses import Address, Network, literal_address, plain_host, unscoped_host
from tunmesh.tls.underlay import Outside

_BROADCAST = IPv4Address("255.255.255.255")
_LOCAL = ("loopback", "link-local")  # dialed if this node advertises one of the kind


class Dialable:
    """The rule of one node. `allow`: its `dial_allow`, None for the default; `own_host()`: the host
    of the URL that it advertises."""

    def __init__(
        self, outside: Outside, allow: Sequence[Network] | None, own_host: Callable[[], str]
    ) -> None:
        self._outside = outside
        self._allow = None if allow is None else tuple(allow)
        self._own_host = own_host

    def why_not(self, host: str) -> str:
        """Why this address is not dialed; empty if it is."""
        why = self._outside.why_not(host)
        if why:
            return why
        if self._allow is not None:
            address = _address(host)
            if address is None or any(address in network for network in self._allow):
                return ""
            return f"clustering/dial_allow does not have {address}"
        kind = _kind_of(host)
        if not kind or (kind in _LOCAL and kind == _own_kind(self._own_host())):
            return ""
        return f"{plain_host(host)} is {kind}, and clustering/dial_allow does not have it"


def _own_kind(host: str) -> str:
    """RFC 6761, section 6.3, for the name."""
    is_local = f".{host.rstrip('.')}".endswith(".localhost")
    return "loopback" if is_local else _kind_of(host)


def _kind_of(host: str) -> str:
    """The kind of special address that this is; empty if it is an ordinary one, or a name."""
    address = _address(host)
    if address is None:
        return ""
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or (address.version == 4 and address.packed[0] == 0):
        return "unspecified"
    return "broadcast" if address == _BROADCAST else ""


def _address(host: str) -> Address | None:
    address = literal_address(unscoped_host(host))
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
