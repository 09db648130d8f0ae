"""No VPN: the bare cable. The limit of this machine's kernel between two namespaces."""

from __future__ import annotations

from bench.contender import Contender

CONTENDER = Contender(
    name="veth",
    about="no VPN: the veth pair itself",
    start=lambda ground: None,
    right="10.99.0.2",
)
