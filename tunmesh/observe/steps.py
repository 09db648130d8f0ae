"""A step of the way of a packet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    ok: bool  # False: the packet gets no further
    text: str
