"""Turns trial's closing line into "N passed, N failed, N skipped".

    PASSED (skips=2, successes=35)
    FAILED (failures=1, errors=2, successes=3)

Exits with 1 when the line is missing, when anything failed, or when nothing passed.
"""

import re
import sys
from pathlib import Path

SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)


def main(path: str) -> int:
    found = SUMMARY.findall(Path(path).read_text(encoding="utf-8", errors="replace"))
    if not found:
        sys.stderr.write("trial did not come to its end\n")
        return 1
    counts = dict(item.split("=") for item in found[-1].split(", ") if item)
    passed, failed, skipped = (
        sum(int(counts.get(name, 0)) for name in names)
        for names in (
            ("successes", "expectedFailures"),
            ("failures", "errors", "unexpectedSuccesses"),
            ("skips",),
        )
    )
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
