"""How long a node has been in the mesh: on probation at first, then settled (an incumbent).

When two nodes claim one address, the one that was there first keeps it. Every node that was there
as well knows which that was, but one that has just come does not: it may be linked with the
intruder before it is linked with the incumbent. The two themselves know, by then: the incumbent had
its address to itself for a while; the intruder was refused by everybody. So each node says in its
handshakes whether it is settled, and nodes on probation believe that (membership.claims); all
others go by what they saw themselves.

    on probation ── in the mesh for SETTLING seconds ──> not new ── no objection ──> settled
         ^                                                  │                           │
         └──── no link, though there are nodes to bootstrap from: what it knew may be void ────┘

An objection is: some peer routes an address of this node to another one, or the node does not agree
with most of the mesh (membership.agreement). Objections do not unsettle a settled node, or any
member could unsettle any other one; only if most of the mesh routes its address to another node is
it no longer settled. Then it was away, and the other one got the address (membership.reservations),
so newcomers should take the side of the majority. For the same reason one objection is not enough
to keep a node from settling again that was settled before: it takes most of the mesh.

A node that claims an address begins to settle anew, without being on probation: it knows the mesh,
and the mesh does not know it by that address.

Only the node's own clock counts, and only for how long something lasts.
"""

from __future__ import annotations

from math import inf

from tunmesh.addresses import Interface
from tunmesh.membership.agreement import Agreement

# Seconds. Enough to be linked with everybody and refused by every node that has reason to, which
# takes a probe. No longer than needed, as members are believed during that time.
SETTLING = 15.0


class Seniority:
    """That of one node, which starts on probation."""

    def __init__(self) -> None:
        self.is_new = True
        self.is_settled = False
        self._was_settled = False  # also while it is on probation again
        self._since: float | None = None  # when it came into the mesh
        self._claimed = -inf  # when it claimed an address last
        self._addresses: tuple[Interface, ...] | None = None

    def update(
        self,
        now: float,
        is_in_mesh: bool,
        found: Agreement,
        addresses: tuple[Interface, ...] = (),
    ) -> bool:
        """Returns whether anything has changed. `is_in_mesh`: it is linked, or is the first node of
        its mesh; `found`: how far the mesh agrees with it; `addresses`: that it claims."""
        before = self.is_new, self.is_settled
        if addresses != self._addresses:
            if self._addresses is not None:
                self._claimed, self.is_settled, self._was_settled = now, False, False
            self._addresses = addresses
        if not is_in_mesh:
            self._since = None
        elif self._since is None:
            self._since = now
        self.is_new = self._since is None or now - self._since < SETTLING
        if self.is_settled:
            is_opposed = found.is_replaced
        else:
            is_opposed = found.is_outvoted if self._was_settled else found.has_objections
        has_waited = now - self._claimed >= SETTLING
        self.is_settled = not self.is_new and has_waited and not is_opposed
        self._was_settled = (self._was_settled or self.is_settled) and not found.is_replaced
        return before != (self.is_new, self.is_settled)

    def wait(self, now: float) -> float | None:
        """In how many seconds time alone may change that; None: it will not."""
        begin = max(self._since, self._claimed) if self._since is not None else -inf
        if now - begin >= SETTLING:
            return None
        return begin + SETTLING - now + 0.001  # sums of floats are not exact
