"""The corpus: one file per input.

    corpus/TARGET/real-…           made by fuzz.seeds from real messages
    corpus/TARGET/regression-…     a former failure, never removed
    corpus/TARGET/(12 digits)      found by fuzzing: reaches code that no other input does

`shrink` minimizes the corpus: it keeps an input only if it takes a line-to-line step in tunmesh
that no smaller input takes. That is coarser than a fuzzer's coverage, and suits files in a
repository.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import tunmesh
from fuzz.targets import check_of

ROOT = Path(__file__).parent.parent
CORPUS = Path(__file__).parent / "corpus"
FOUND = ROOT / ".fuzz" / "found"  # not in the repository
LARGEST = 4096  # largest file that is accepted

_PACKAGE = str(Path(tunmesh.__file__).parent)
Step = tuple[str, int, int]  # file, line, and the line before it


def files(target: str) -> list[Path]:
    """The inputs of a target in the repository."""
    return sorted((CORPUS / target).iterdir())


def replay(target: str, path: Path) -> None:
    """Raises what the check raises."""
    check_of(target)(path.read_bytes())


def shrink(target: str) -> tuple[int, int]:
    """Add the findings that are worth it; how many were found and how many the corpus now has."""
    check = check_of(target)
    kept = [path for path in files(target) if "-" in path.name]
    others = [*(path for path in files(target) if path not in kept), *(FOUND / target).glob("*")]
    inputs = {path.read_bytes() for path in others if path.stat().st_size <= LARGEST}
    reached: set[Step] = set()
    for path in kept:
        reached |= steps_of(check, path.read_bytes())
    chosen = []
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        steps = steps_of(check, data)
        if not steps <= reached:
            reached |= steps
            chosen.append(data)
    for path in set(files(target)) - set(kept):
        path.unlink()
    for data in chosen:
        (CORPUS / target / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(kept) + len(inputs), len(kept) + len(chosen)


def steps_of(check: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Every pair of consecutively executed lines of tunmesh within a function.

    Measured in a second run, as the first one may fill caches, and the result must not depend on
    earlier inputs.
    """
    check(data)
    steps: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE):
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            steps.add((name, frame.f_lineno, last))
            last = frame.f_lineno
            return line

        return line

    with _traced_by(enter):
        check(data)
    return steps


@contextmanager
def _traced_by(trace: Callable[[FrameType, str, object], Any]) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
