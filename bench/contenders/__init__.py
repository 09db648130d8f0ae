"""Who takes part, in the order of the table."""

from __future__ import annotations

from bench.contender import Contender
from bench.contenders import relay, tunmesh, veth

NAMES = ("veth", "relay", "tunmesh")
ALL: tuple[Contender, ...] = (veth.CONTENDER, relay.CONTENDER, tunmesh.contender("tunmesh"))
