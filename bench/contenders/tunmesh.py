"""tunmesh itself, from this checkout or from another one, so that before and after can be compared
in one run."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.contender import Contender
from bench.lab import Pair
from tunmesh.localmesh.plan import NodePlan, Owner, write_files

NOBODY = 65534
PLANS = (NodePlan(1), NodePlan(2))


def contender(name: str, checkout: Path | None = None) -> Contender:
    """tunmesh as installed in the checkout's .venv; in that of this process by default."""
    programs = checkout / ".venv" / "bin" if checkout else Path(sys.executable).parent

    def start(pair: Pair) -> None:
        for host, plan in zip(pair.hosts, PLANS, strict=True):
            config = str(pair.directory / "mesh" / plan.config_file)
            twistd = (str(programs / "twistd"), "--nodaemon", "--pidfile=")
            host.start_daemon(*twistd, "tunmesh", "--config", config)

    about = f"tunmesh of {checkout}" if checkout else "tunmesh of this checkout, default config"
    return Contender(name=name, about=about, prepare=prepare, start=start)


def prepare(pair: Pair) -> None:
    (pair.directory / "mesh").mkdir()
    write_files(pair.directory / "mesh", PLANS, Owner(NOBODY, NOBODY))
