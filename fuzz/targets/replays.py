"""The window that recognises replayed datagrams, against a set of all counters.

for each step: kind ‖ distance (two bytes) ‖ count

0   the counter at that distance behind the highest came
1   one at that distance before the highest
2   so many in a row, from there on, came at once
"""

from __future__ import annotations

from tunmesh.udp.window import SIZE, Window

_STEP = 4


def check(data: bytes) -> None:
    window, received = Window(), {0}
    for at in range(0, len(data) - _STEP + 1, _STEP):
        kind, distance, count = data[at] % 3, int.from_bytes(data[at + 1 : at + 3]), data[at + 3]
        highest = window.highest
        if kind == 2:
            first = highest + 1 + distance
            window.mark_run(first, 1 + count)
            received |= set(range(first, first + 1 + count))
            continue
        counter = highest - distance if kind == 0 else highest + 1 + distance
        is_fresh = counter > highest - SIZE and counter > 0 and counter not in received
        assert window.is_fresh(counter) == is_fresh, (counter, highest)
        if is_fresh:
            window.mark(counter)
            received.add(counter)
        assert window.highest == max(highest, counter if is_fresh else 0)
    for counter in range(max(1, window.highest - 2 * SIZE), window.highest + 2):
        is_fresh = counter > window.highest - SIZE and counter not in received
        assert window.is_fresh(counter) == is_fresh, (counter, window.highest)
