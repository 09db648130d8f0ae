"""One target under libFuzzer: python -m fuzz.child TARGET [libFuzzer's options and
directories].

It exits with libFuzzer's exit code and prints libFuzzer's output; the parent reads both.
"""

from __future__ import annotations

import sys

import atheris

from fuzz.targets import check_of


def main() -> None:
    target, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["tunmesh", "yaml"]):
        check = check_of(target)
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
