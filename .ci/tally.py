"""Turns trial's closing lines into "N passed, N failed, N skipped".

    PASSED (skips=2, successes=35)
    FAILED (failures=1, errors=2, successes=3)

The arguments are the log of the tests, and that of the same tests without any optional program.
Each test is counted once, as it went the first time; one that failed only the second time has
failed. Exits with 1 when a closing line is missing, when anything failed, or when nothing passed.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)


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


def main(path: str, bare_path: str) -> int:
    first, bare = (
        counts_of(Path(name).read_text(encoding="utf-8", errors="replace"))
        for name in (path, bare_path)
    )
    if first is None or bare is None:
        sys.stderr.write("trial did not come to its end\n")
        return 1
    sys.stdout.write(f"without optional programs: {bare}\n")
    failed = max(first.failed, bare.failed)
    passed = min(first.passed, first.passed + first.failed - failed)
    sys.stdout.write(f"{Counts(passed, failed, first.skipped)}\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
