"""The contenders, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.contender import Contender
from bench.contenders import minimal, nebula, openvpn, relay, tinc, tunmesh, veth, wireguard

ALL: tuple[Contender, ...] = (
    veth.CONTENDER,
    relay.CONTENDER,
    minimal.CONTENDER,
    tunmesh.contender("tunmesh"),
    tunmesh.contender("tunmesh-tcp", transport="tcp"),
    tunmesh.contender("tunmesh-udp", transport="udp"),
    *openvpn.CONTENDERS,
    tinc.contender(),
    wireguard.contender(),
    nebula.contender(),
)
NAMES = tuple(contender.name for contender in ALL)
QUICK = ("veth", "relay", "tunmesh")
BY_PATH: Mapping[str, Callable[[str, str], Contender]] = {
    "openvpn": openvpn.contender,
    "tinc": tinc.contender,
    "wireguard-go": wireguard.contender,
    "nebula": nebula.contender,
}
"""Those that accept another binary; called with the name for the table and the path."""
