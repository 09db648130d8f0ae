"""Who may dial now: so many at a time, the others wait for their turn.

A mesh that starts as a whole would otherwise have every node dial all others in the same moment:
more handshakes than the machines can do before they time out, and so to be done again. And a member
that vouches for thousands of nodes that do not exist would cost a socket for each.

Whoever has not failed yet goes first, so that such nodes, once tried, are in nobody's way. Among
equals chance decides: everybody hears of the others in the same order, and would call on them in
that order, all on the same one.
"""

from __future__ import annotations

from collections.abc import Callable

Begin = Callable[[], None]


class Turns:
    """At most `most` turns at a time. `draw()`: a random number from 0 to 1. `broke(error)` is told
    of an exception that a `begin` raised: that turn is over, and the others get theirs."""

    def __init__(
        self, most: int, draw: Callable[[], float], broke: Callable[[Exception], None]
    ) -> None:
        self._free = most
        self._draw = draw
        self._broke = broke
        self._fresh: list[Begin] = []
        self._failed: list[Begin] = []
        self._is_giving = False

    def ask(self, begin: Begin, has_failed: bool) -> None:
        """`begin` is called when its turn has come, perhaps at once. Whoever was called must say
        `end` later."""
        (self._failed if has_failed else self._fresh).append(begin)
        self._give()

    def withdraw(self, begin: Begin) -> None:
        """Do not call it, in case it still waits."""
        for waiting in (self._fresh, self._failed):
            if begin in waiting:
                waiting.remove(begin)

    def end(self) -> None:
        """A turn is over."""
        self._free += 1
        self._give()

    def _give(self) -> None:
        """A turn may be over before `begin` returns: then the loop goes on, and not deeper."""
        if self._is_giving:
            return
        self._is_giving = True
        while self._free and (waiting := self._fresh or self._failed):
            self._free -= 1
            # From -1, the last, to the one before it: a draw of exactly 1 is in the list as well.
            begin = waiting.pop(int(self._draw() * len(waiting)) - 1)
            try:
                begin()
            except Exception as error:  # in the call stack of somebody else who is not to suffer
                self._free += 1
                self._broke(error)
        self._is_giving = False
