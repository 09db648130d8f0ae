"""What a node carries for others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CarriedStreams:
    """Links between other nodes that run through this one, as streams (relay.switchboard)."""

    streams: int = 0  # now
    opened: int = 0  # so far
    refused: int = 0
    bytes: int = 0
    links: tuple[tuple[str, str], ...] = ()  # now: whose, as pairs of node ids
