"""Tables for a terminal: aligned, and shortened to its width so that names can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import TypeAlias

import click

_Rows: TypeAlias = Sequence[Sequence[str]]


def table(head: Sequence[str], rows: _Rows, left: Container[int]) -> Iterator[str]:
    """Aligned columns, two spaces apart; those with these numbers, from 0, are left-aligned."""
    widths = _widths(head, rows)
    for row in [head, *rows]:
        cells = [
            _pad(text, width, number in left)
            for number, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield "  ".join(cells).rstrip()


def _widths(head: Sequence[str], rows: _Rows) -> list[int]:
    return [max(map(_width, column)) for column in zip_longest(head, *rows, fillvalue="")]


def fit(
    head: list[str],
    rows: list[list[str]],
    columns: int,
    shortest: Mapping[str, int],
    first_to_go: Sequence[str],
) -> None:
    """Make a table fit into so many columns of a terminal, as far as that goes: shorten the texts
    under the titles in `shortest`, to no less than these lengths, and then leave out those of
    `first_to_go`, one after the other. Rows may end early."""
    for title, least in shortest.items():
        place = head.index(title)
        those = [row for row in rows if len(row) > place]
        widest = _widths(head, rows)[place] - max(0, _excess(head, rows, columns))
        texts = apart([row[place] for row in those], max(least, widest))
        for row, text in zip(those, texts, strict=True):
            row[place] = text
    for title in first_to_go:
        if _excess(head, rows, columns) > 0:
            place = head.index(title)
            for row in (head, *rows):
                del row[place : place + 1]


def _excess(head: Sequence[str], rows: _Rows, columns: int) -> int:
    widths = _widths(head, rows)
    return sum(widths) + 2 * (len(widths) - 1) - columns


def _width(text: str) -> int:
    return len(click.unstyle(text))


def _pad(text: str, width: int, is_left: bool) -> str:
    blanks = " " * (width - _width(text))
    return text + blanks if is_left else blanks + text


def cut(text: str, width: int) -> str:
    """Names that programs make differ at their ends: the middle of a longer one is left out."""
    end = width // 2
    return text if len(text) <= width else f"{text[: width - end - 1]}…{text[-end:]}"


def apart(texts: Sequence[str], width: int) -> list[str]:
    """`cut` for several texts that should stay different, such as the names of hosts in one domain.
    If cutting would make two of them equal, the end that the longer ones have in common is left
    out, or else the beginning."""
    different = set(texts)
    longer = [text for text in different if len(text) > width]
    begin = len(_common(longer))
    end = len(_common([text[::-1] for text in longer]))
    ways: tuple[Callable[[str], str], ...] = (
        lambda text: cut(text, width),
        lambda text: cut(text[: len(text) - end], width - 1) + "…",
        lambda text: "…" + cut(text[begin:], width - 1),
    )
    for way in ways:
        shown = {text: way(text) if len(text) > width else text for text in different}
        if len(set(shown.values())) == len(different):
            return [shown[text] for text in texts]
    return [cut(text, width) for text in texts]


def _common(texts: Sequence[str]) -> str:
    """What all of them begin with."""
    least, most = min(texts, default=""), max(texts, default="")
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False))
    return "".join(one for one, _ in alike)
