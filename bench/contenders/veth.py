"""No VPN at all: the cable itself. What this machine's kernel can do between two namespaces."""

from __future__ import annotations

from bench.contender import Contender
from bench.lab import LEFT, RIGHT

CONTENDER = Contender(
    name="veth",
    about="no VPN: the veth pair itself",
    start=lambda pair: None,
    left=LEFT,
    right=RIGHT,
)
