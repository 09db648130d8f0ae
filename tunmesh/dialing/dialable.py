"""Which addresses are dialed that other nodes named.

A member can say that its URL, or that of a node it vouches for, is wherever it likes. At loopback
and link-local addresses listen what is for this machine or this cable alone: debuggers, databases
without a password, the metadata service of a cloud. Nobody can be reached there from another
machine, so no honest node of another machine advertises such a URL, and none is dialed; nor is what
stands for no single host (unspecified, which Linux takes for this host; multicast; broadcast).
Meshes on one machine are allowed to be at loopback by their own URL: a node that advertises
such an address itself dials others of the same kind.

With `clustering.dial_allow` no address is dialed but those that are listed there, of whatever kind.
The networks of the mesh are never dialed (tls.underlay).

Addresses are judged, not names: what a name resolved to. Bootstrap URLs are the operator's own, and
are not judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from tunmesh.addresses import Network, plain_host
from tunmesh.tls.underlay import Outside

_BROADCAST = IPv4Address("255.255.255.255")
_LOCAL = ("loopback", "link-local")  # as good as any where a node advertises one itself


class Dialable:
    """The rule of one node. `allow`: its `dial_allow`, None for the default; `own_host`: of the URL
    that it advertises."""

    def __init__(self, outside: Outside, allow: Sequence[Network] | None, own_host: str) -> None:
        self._outside = outside
        self._allow = None if allow is None else tuple(allow)
        # RFC 6761, section 6.3, for the name.
        is_local = f".{own_host.rstrip('.')}".endswith(".localhost")
        self._own_kind = "loopback" if is_local else _kind_of(own_host)

    def why_not(self, host: str) -> str:
        """Why this address is not to be dialed; empty if it is."""
        why = self._outside.why_not(host)
        if why:
            return why
        if self._allow is not None:
            address = _address(host)
            if address is None or any(address in network for network in self._allow):
                return ""
            return f"clustering/dial_allow does not have {address}"
        kind = _kind_of(host)
        if not kind or (kind in _LOCAL and kind == self._own_kind):
            return ""
        return f"{plain_host(host)} is {kind}, and clustering/dial_allow does not have it"


def _kind_of(host: str) -> str:
    """What kind of address that is; empty if it is an ordinary one, or none."""
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


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
