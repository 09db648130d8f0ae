"""In which order a bootstrap group tries the addresses of its URLs.

Whoever looks for any node tries them in the order in which they come, which is random, but its own
last. A group that has a link and looks again is there for nodes that nobody knows of, since they
reach none of those that others know. Most addresses of a name lead to nodes that are linked
already, so chance would find such a one after about as many looks as the name has addresses. The
group tries

1. the addresses that have not answered it, and that no linked node connects from;
2. the others that have not answered;
3. those that have, the one that answered longest ago first.

So what appears at a name, and answers, is reached by the next look, and everything else within as
many looks as there are addresses. That a linked node connects from an address is only a guess:
another one may be there at another port, or behind the same NAT.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from tunmesh.addresses import Target, unscoped_host

MAX_ANSWERED = 1024  # addresses that a group knows to have answered; it forgets the oldest


class AddressOrder:
    """Of one group. `own()`: the target of this node's own URL; `linked()`: the addresses that
    linked nodes connect from."""

    def __init__(self, own: Callable[[], Target], linked: Callable[[], Container[str]]) -> None:
        self._own = own
        self._linked = linked
        self._seeks_others = False
        self._answered: dict[Target, int] = {}  # how many answers there were until then
        self._answers = 0

    def seek_others(self, seeks_others: bool) -> None:
        """Whether to look for nodes that are not linked, from now on; else for any."""
        self._seeks_others = seeks_others

    def sort(self, addresses: Iterable[str], port: int) -> list[str]:
        """The addresses of a name in the order to try them in. Equal ones stay as they came."""
        own = self._own()
        if not self._seeks_others:
            return sorted(addresses, key=lambda address: (unscoped_host(address), port) == own)
        linked = self._linked()

        def rank(address: str) -> tuple[int, bool]:
            target = unscoped_host(address), port
            return self._answered.get(target, 0), target[0] in linked or target == own

        return sorted(addresses, key=rank)

    def answered(self, address: str, port: int) -> None:
        """A connection was established there, whatever comes of it."""
        target = unscoped_host(address), port
        self._answers += 1
        self._answered.pop(target, None)
        self._answered[target] = self._answers
        if len(self._answered) > MAX_ANSWERED:
            del self._answered[next(iter(self._answered))]
