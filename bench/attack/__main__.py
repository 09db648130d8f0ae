"""Attacks on real nodes, and their effects.

    python -m bench.attack [--only pings,silent_names] [--seconds 4] [--rate 300M] [--out DIRECTORY]

Two tables: the cost of floods and memory exhaustion (bench.attack.load), and attacks that aim at
one particular effect (bench.attack.effects).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.attack import effects, load
from bench.attack.attacker import FLOODS
from bench.attack.effects import EFFECTS
from bench.errors import BenchError
from bench.scale import save
from bench.tools import TOOLS, insist_on
from tunmesh.errors import OperatorError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.attack", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="for each flood")
    parser.add_argument("--rate", default="300M", help="of the stream, in bits a second")
    parser.add_argument("--only", help="these attacks; without it, all")
    parser.add_argument("--out", type=Path, help="directory for attack.json and effects.json")
    options = parser.parse_args(arguments)
    known = [*FLOODS, *(name for name in EFFECTS if name not in FLOODS)]
    names = options.only.split(",") if options.only else known
    try:
        if unknown := [name for name in names if name not in known]:
            raise BenchError(f"no attack is called {unknown[0]}; there are {', '.join(known)}")
        insist_on(TOOLS | {"mount": "mount"})
        floods = [name for name in names if name in FLOODS]
        with tempfile.TemporaryDirectory() as directory:
            effects.own_names(Path(directory))
            rows = load.run(floods, options.seconds, options.rate) if floods else []
            figures = effects.run([name for name in names if name in EFFECTS])
    except (BenchError, OperatorError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.out is not None:
        save(rows, options.out / "attack.json")
        save(figures, options.out / "effects.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
