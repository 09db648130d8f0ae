"""Durations, round trips, shares, sizes and lists as people read them: short, and the same
everywhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import islice, pairwise

_DIGITS = re.compile("([0-9]{1,18})")
DAY = 86400.0  # seconds
MAX_NAMED = 5  # things that are named in one sentence
_SMALL_SEGMENT = 1200  # bytes: what is tried first on a path that loses larger ones


def duration(seconds: float) -> str:
    """A duration such as 12s, 3m5s, 4h10m, 2d3h."""
    left = int(seconds)
    units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    for (name, unit), (finer, small) in pairwise(units):
        if left >= unit:
            rest = left % unit // small
            return f"{left // unit}{name}" + (f"{rest}{finer}" if rest else "")
    return f"{left}s"


def milliseconds(seconds: float) -> str:
    thousandths = seconds * 1000
    return f"{thousandths:.2f}ms" if thousandths < 10 else f"{thousandths:.0f}ms"


def percent(share: float) -> str:
    """A share of 1, with a digit after the point where it is small."""
    return f"{100 * share:.{1 if 0 < share < 0.095 else 0}f}%"


def size(count: float) -> str:
    """Bytes with a decimal unit, in at most five characters and B."""
    for unit in ("", "k", "M", "G", "T"):
        if count < 999.5 or unit == "T":
            break
        count /= 1000
    return f"{count:.1f}{unit}B" if unit and count < 9.95 else f"{count:.0f}{unit}B"


def natural(name: str) -> tuple[str | int, ...]:
    """A key to sort names by, in which web-10 comes after web-9. Texts and numbers alternate, so
    that keys can be compared."""
    parts = _DIGITS.split(name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))


def closest(given: str, names: Iterable[str]) -> str:
    """The name that was probably meant, "" if none is close."""
    from difflib import get_close_matches  # what is misspelt is rare

    return next(iter(get_close_matches(given, list(names), n=1)), "")


def counted(count: int, noun: str) -> str:
    """So many of these: `1 node`, `2 nodes`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def expires(left: float) -> str:
    """What is said of a certificate that is valid for so many seconds yet."""
    return "has expired" if left <= 0 else f"expires in {roughly(left)}"


def roughly(seconds: float) -> str:
    """A duration in the largest unit that there is one of: `4 days`, `1 hour`, `0 minutes`."""
    for noun, unit in (("day", DAY), ("hour", 3600.0)):
        if seconds >= unit:
            return counted(int(seconds / unit), noun)
    return counted(int(seconds / 60), "minute")


def some(names: Collection[str], most: int = MAX_NAMED) -> str:
    """The first `most` of these, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(islice(names, most)) + more


def small_segments(size: int) -> str:
    """What is said of TCP segments of so many bytes, if that is less than paths usually take."""
    return f" in segments of at most {size} bytes" if 0 < size <= _SMALL_SEGMENT else ""
