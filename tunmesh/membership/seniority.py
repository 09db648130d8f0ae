"""How a node stands in the mesh: whether it has only just come, and whether it is settled.

When two nodes claim one address, the one that was there first keeps it. Who was first is known to
everybody who was there as well, but not to a node that has only just come: it may be linked with
the intruder before it is linked with the incumbent. The two of them know it, by now. The incumbent
had its address to itself for a while; the intruder has been told by everybody whose it is. So each
node says in its handshakes whether it is settled, and who has only just come believes that
(membership.roster); everybody else goes by what he saw himself.

    new ── in the mesh for SETTLING seconds ──> not new ── nothing against it ──> settled
     ^                                             │                                        │
     └────────── no link, but somebody to bootstrap from: what it knew may be over ─────────┘

What is against it: a peer says that another node has an address of this one, or the node does not
agree with most of the mesh (membership.agreement). Once settled, that changes nothing: else any
member could unsettle any other one. Only when most of the mesh say that another node has its
address is it not settled any more: it had the address while that one was away
(membership.reservations), and newcomers are to take the side of the others. A node that was settled
and comes back takes more than one voice to be kept from it, too: most of the mesh has to be against
it.

Only the node's own clock counts, and only for how long something lasts.
"""

from __future__ import annotations

from tunmesh.membership.agreement import Agreement

# Seconds. Enough to be linked with everybody and refused by whoever has cause to, which takes a
# probe; it is also how long members are believed what only they know, so no longer than that.
SETTLING = 15.0


class Seniority:
    """Of one node, which starts as a new one."""

    def __init__(self) -> None:
        self.is_new = True
        self.is_settled = False
        self._was_settled = False  # even if it is new again
        self._since: float | None = None  # in the mesh

    def update(self, now: float, is_in_mesh: bool, found: Agreement) -> bool:
        """Whether that changes anything. `is_in_mesh`: linked with somebody, or there is nobody
        else; `found`: how far the mesh agrees with it."""
        before = self.is_new, self.is_settled
        if not is_in_mesh:
            self._since = None
        elif self._since is None:
            self._since = now
        self.is_new = self._since is None or now - self._since < SETTLING
        if self.is_settled:
            is_opposed = found.is_replaced
        else:
            is_opposed = found.is_outvoted if self._was_settled else found.has_objections
        self.is_settled = not self.is_new and not is_opposed
        self._was_settled = (self._was_settled or self.is_settled) and not found.is_replaced
        return before != (self.is_new, self.is_settled)

    def wait(self, now: float) -> float | None:
        """In how many seconds time alone may change that; None: it will not."""
        if self._since is None or not self.is_new:
            return None
        return max(0.0, self._since + SETTLING - now) + 0.001  # sums of floats are not exact
