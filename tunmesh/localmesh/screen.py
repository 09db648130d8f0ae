"""How a local mesh is shown while it runs: one line a step, with the time it happened.

      0.00 s  ✔ 3 network namespaces on one bridge
      0.61 s  … linking  1–2  1–3  2–3
      0.63 s  ✔ every node is linked to every other

A step that takes a while opens with its name and grows by a word whenever something arrives, as
test runners do it: that needs no cursor movement, so a log file reads the same as the screen.
Nothing is wider than 80 columns. Colour is for terminals only (and not with NO_COLOR, see
no-color.org); where the output's encoding is not Unicode, signs are replaced by plain ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from tunmesh.host import stdio
from tunmesh.localmesh.pinger import Pings

WIDTH = 80
LONG_LINE = 240
MOST_PAIRS = 30  # that have a line each, those of 6 nodes
MARGIN = 12  # the column in which texts start, after time and sign

GREEN, RED, DIM, BOLD = "32", "31", "2", "1"
PLAIN_SIGNS = str.maketrans({"✔": "+", "✘": "x", "…": "~", "–": "-", "→": ">"})


@dataclass(frozen=True)
class PairResult:
    """What was measured from one node to another."""

    source: str
    target: str
    ipv4: Pings
    ipv6: Pings
    rate: float
    """Bits per second."""


class View:
    """Writes the progress of a mesh to a stream. `elapsed` returns seconds since the start."""

    def __init__(self, stream: TextIO, elapsed: Callable[[], float], colour: bool) -> None:
        self._stream = stream
        self._elapsed = elapsed
        self._colour = colour
        self._unicode = "utf" in (stream.encoding or "utf-8").lower()
        self._column = 0
        """Where the cursor is in an open line; 0: at the start of a fresh one."""

    def title(self, text: str) -> None:
        self._line(self._paint(BOLD, text))

    def step(self, text: str) -> None:
        """A step begins; words may follow."""
        self._fresh_line()
        self._write(self._lead("…", DIM) + text)
        self._column = MARGIN + len(text)

    def word(self, text: str) -> None:
        """Append a word to the current step."""
        if self._column + 2 + len(text) > WIDTH:
            self._write("\n" + " " * (MARGIN - 2))
            self._column = MARGIN - 2
        self._write("  " + self._paint(DIM, text))
        self._column += 2 + len(text)

    def done(self, text: str) -> None:
        self._fresh_line()
        self._line(self._lead("✔", GREEN) + text)

    def failed(self, text: str) -> None:
        self._fresh_line()
        self._line(self._lead("✘", RED) + self._paint(RED, text))

    def note(self, text: str) -> None:
        """A dimmed remark on the step before."""
        self._fresh_line()
        self._line(" " * MARGIN + self._paint(DIM, text))

    def block(self, lines: Sequence[str]) -> None:
        """Prepared lines, such as a table, between blank lines."""
        self._fresh_line()
        for line in ("", *lines, ""):
            self._line(line)

    def _lead(self, sign: str, colour: str) -> str:
        time = self._paint(DIM, f"{self._elapsed():7.2f} s")
        return f"{time} {self._paint(colour, sign)} "

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text

    def _fresh_line(self) -> None:
        if self._column:
            self._line("")

    def _line(self, text: str) -> None:
        self._write(text + "\n")
        self._column = 0

    def _write(self, text: str) -> None:
        self._stream.write(text if self._unicode else text.translate(PLAIN_SIGNS))
        self._stream.flush()


def wants_colour(stream: TextIO) -> bool:
    """Whether to use colour: on a terminal that supports it, unless NO_COLOR is set."""
    return stream.isatty() and not stdio.is_colourless(os.environ)


def results_table(results: Sequence[PairResult]) -> list[str]:
    """At most 80 columns: loss and median round trip by family, TCP rate. One line a pair or, if
    there are more than `MOST_PAIRS`, one a node: its pings to all others, and its slowest
    transfer."""
    row = "  {:<7} {:<9} {:>4} {:>11} {:>10} {:>11} {:>15}".format
    is_short = len(results) <= MOST_PAIRS
    return [
        row("", "", "", "IPv4   ", "", "IPv6   ", "TCP"),
        row(
            *("from", "to", "lost", "round trip", "lost", "round trip"),
            "1 stream" if is_short else "slowest stream",
        ),
        *(
            row(
                *(result.source, result.target),
                *(percent(result.ipv4.loss), milliseconds(result.ipv4.median)),
                *(percent(result.ipv6.loss), milliseconds(result.ipv6.median)),
                bit_rate(result.rate),
            )
            for result in (results if is_short else _by_source(results))
        ),
    ]


def _by_source(results: Sequence[PairResult]) -> Iterator[PairResult]:
    for source in dict.fromkeys(result.source for result in results):
        own = [result for result in results if result.source == source]
        yield PairResult(
            source,
            f"{len(own)} others",
            _together([result.ipv4 for result in own]),
            _together([result.ipv6 for result in own]),
            min(result.rate for result in own),
        )


def _together(pings: Sequence[Pings]) -> Pings:
    return Pings(sum(p.sent for p in pings), tuple(took for p in pings for took in p.round_trips))


def shortened(line: str) -> str:
    """A long line without its middle: the context is at its start, the reason at its end (as in a
    traceback on one line)."""
    return line if len(line) <= LONG_LINE else f"{line[:60]} … {line[-LONG_LINE + 60 :]}"


def percent(share: float) -> str:
    """0.04 is 4 %."""
    return f"{share:.0%}".replace("%", " %")


def milliseconds(seconds: float | None) -> str:
    """Two decimals below 100 ms, none above; a dash for None."""
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.{2 if seconds < 0.1 else 0}f} ms"


def bit_rate(bits: float) -> str:
    """Bits per second in Mbit/s, or Gbit/s from one up."""
    return f"{bits / 1e9:.2f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.0f} Mbit/s"


def to_terminal(elapsed: Callable[[], float]) -> View:
    """A view on standard output."""
    return View(sys.stdout, elapsed, wants_colour(sys.stdout))
