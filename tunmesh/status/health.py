"""Whether a node is live and ready, and what others say about its URL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of health, and why it is met or not, in words."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """The conditions of being live and of being ready. It costs far less than a Status, so probes
    and supervisors ask for it."""

    live: tuple[Check, ...]
    ready: tuple[Check, ...]

    @property
    def is_live(self) -> bool:
        return all(check.ok for check in self.live)

    @property
    def is_ready(self) -> bool:
        return all(check.ok for check in self.ready)


@dataclass(frozen=True, slots=True)
class UrlReports:
    """What peers that tried the URL of this node found, each source (tunmesh.addresses) counted
    once. `note`: what is to be said about it, if none of them reached this node."""

    tried: int = 0
    reached: int = 0
    note: str = ""
