"""Turns trial's closing lines into "N passed, N failed, N skipped".

    PASSED (skips=2, successes=35)
    FAILED (failures=1, errors=2, successes=3)

    tally.py --skipped LOG      the names of the tests that were skipped
    tally.py LOG [LOG]          the line; the second log is that of those which the first skipped

Exits with 1 when a closing line is missing, when anything failed, when nothing passed, or when the
second log is of another number of tests than the first skipped.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)
SKIPPED = re.compile(r"^\[SKIPPED\]$(.*?)^(?:=|-){70,}$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"^tests\.[\w.]+$", re.MULTILINE)


class Counts(NamedTuple):
    """How many tests ended how."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def counts_of(log: str) -> Counts | None:
    """What trial counted; None if it did not come to its end."""
    found = SUMMARY.findall(log)
    if not found:
        return None
    counts = dict(item.split("=") for item in found[-1].split(", ") if item)

    def total(*names: str) -> int:
        return sum(int(counts.get(name, 0)) for name in names)

    return Counts(
        passed=total("successes", "expectedFailures"),
        failed=total("failures", "errors", "unexpectedSuccesses"),
        skipped=total("skips"),
    )


def skipped_in(log: str) -> list[str]:
    """The names of the tests that were skipped."""
    return [name for block in SKIPPED.findall(log) for name in NAME.findall(block)]


def read(name: str) -> str:
    return Path(name).read_text(encoding="utf-8", errors="replace")


def main(bare_path: str, path: str | None = None) -> int:
    bare = counts_of(read(bare_path))
    again = counts_of(read(path)) if path else Counts(0, 0, 0)
    if bare is None or again is None:
        sys.stderr.write("trial did not come to its end\n")
        return 1
    sys.stdout.write(f"without optional programs: {bare}\n")
    whole = Counts(bare.passed + again.passed, bare.failed + again.failed, again.skipped)
    is_whole = not path or sum(again) == bare.skipped
    if not is_whole:
        sys.stderr.write(f"of {bare.skipped} tests that were skipped {sum(again)} were run again\n")
    sys.stdout.write(f"{whole}\n")
    return 0 if whole.passed and not whole.failed and is_whole else 1


if __name__ == "__main__":
    if sys.argv[1] == "--skipped":
        sys.stdout.write(" ".join(skipped_in(read(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main(*sys.argv[1:]))
