"""The underlay of a local mesh: a bridge, and for each node a namespace with a veth pair to it.

          hub namespace
     +------ bridge ------+
     |          |         |          10.99.0.0/24
    eth0       eth0      eth0
    node1      node2     node3       a namespace each, loopback up

This is what a container host looks like to its containers, made with netlink alone: no `ip`, no
Docker, nothing to install. It all lives in unnamed namespaces (see `host.namespaces`), so it is
gone when the process that made it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace

BRIDGE = "bridge0"
CABLE = "eth0"
PREFIX_LENGTH = 24


class Underlay:
    """A bridge in a hub namespace and one namespace per address, all holding on to each other."""

    def __init__(self, hub: Namespace, namespaces: Sequence[Namespace]) -> None:
        self.namespaces = namespaces
        self.hub = hub

    @classmethod
    def create(cls, addresses: Sequence[str]) -> Underlay:
        """Namespaces in the order of `addresses` (IPv4, one /24), each able to reach all others.

        Raises OperatorError where the kernel has no bridge or veth devices or forbids them.
        """
        made = cls(Namespace.create(), [Namespace.create() for _ in addresses])
        try:
            made._connect(addresses)
        except NetlinkError as error:
            made.close()
            raise OperatorError(
                f"cannot make a bridge with veth cables ({error.args[-1]}): "
                "the kernel needs its modules bridge and veth"
            ) from None
        return made

    def close(self) -> None:
        """Close every namespace; the kernel removes those without processes."""
        for namespace in (*self.namespaces, self.hub):
            namespace.close()

    def _connect(self, addresses: Sequence[str]) -> None:
        with self.hub, IPRoute() as netlink:
            bridge = _add(netlink, BRIDGE, kind="bridge")
            for number, namespace in enumerate(self.namespaces, start=1):
                peer = {"ifname": CABLE, "net_ns_fd": namespace.fd}
                port = _add(netlink, f"port{number}", kind="veth", peer=peer)
                netlink.link("set", index=port, master=bridge)
        for namespace, address in zip(self.namespaces, addresses, strict=True):
            _bring_up(namespace, address)


def _add(netlink: IPRoute, name: str, **what: object) -> int:
    """Create a device and bring it up; its index."""
    netlink.link("add", ifname=name, **what)
    index: int = netlink.link_lookup(ifname=name)[0]
    netlink.link("set", index=index, state="up")
    return index


def _bring_up(namespace: Namespace, address: str) -> None:
    with namespace, IPRoute() as netlink:
        for name in ("lo", CABLE):
            netlink.link("set", index=netlink.link_lookup(ifname=name)[0], state="up")
        cable = netlink.link_lookup(ifname=CABLE)[0]
        netlink.addr("add", index=cable, address=address, prefixlen=PREFIX_LENGTH)
