"""This node as a member of its mesh: the one record of itself, which all its parts read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tunmesh.addresses import Interface, Network
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.records import NodeRecord


class Me:
    """Starts on probation (membership.seniority). What its peers have to be told of is a further
    revision of its record; whoever has changed it need not tell anybody."""

    def __init__(self, record: NodeRecord) -> None:
        self._record = record
        self._is_new = True
        self._revised: Callable[[], None] = lambda: None

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def record(self) -> NodeRecord:
        """As this node would introduce itself now."""
        return self._record

    @property
    def is_new(self) -> bool:
        """Whether it is on probation: not in the mesh for long enough to know who was first."""
        return self._is_new

    def when_revised(self, call: Callable[[], None]) -> None:
        """Call this at every further revision."""
        self._revised = call

    def seniority_changed(self, is_new: bool, is_settled: bool) -> None:
        """Its seniority has changed, which is no revision: it is said in handshakes only."""
        self._is_new = is_new
        self._record = replace(self._record, settled=is_settled)

    # --- revisions ---

    def use_addresses(self, addresses: tuple[Interface, ...]) -> None:
        """It claims these addresses from now on, and no others."""
        if addresses != self._record.addresses:
            self._revise(addresses=addresses, settled=False)

    def use_floating(self, claims: tuple[FloatingClaim, ...]) -> None:
        """It claims these floating addresses from now on, and no others."""
        self._revise(floating=claims)

    def use_url(self, url: str) -> None:
        """It can be dialed there."""
        self._revise(url=url)

    def use_groups(self, groups: tuple[str, ...]) -> None:
        """It answers to these names, too."""
        self._revise(groups=groups)

    def use_mtu(self, mtu: int) -> None:
        """Its tun has this MTU."""
        self._revise(mtu=mtu)

    def use_routes(self, routes: tuple[Network, ...]) -> None:
        """It leads to these networks outside the mesh."""
        self._revise(routes=routes)

    def _revise(self, **changes: Any) -> None:
        revised = replace(self._record, **changes)
        if revised != self._record:
            self._record = replace(revised, revision=revised.revision + 1)
            self._revised()
