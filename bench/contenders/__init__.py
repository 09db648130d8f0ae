"""Who takes part, in the order of the table."""

from __future__ import annotations

from bench.contender import Contender
from bench.contenders import nebula, openvpn, relay, tinc, tunmesh, veth, wireguard

ALL: tuple[Contender, ...] = (
    veth.CONTENDER,
    relay.CONTENDER,
    tunmesh.contender("tunmesh"),
    *openvpn.CONTENDERS,
    tinc.CONTENDER,
    wireguard.CONTENDER,
    nebula.CONTENDER,
)
NAMES = tuple(contender.name for contender in ALL)
QUICK = ("veth", "relay", "tunmesh")
