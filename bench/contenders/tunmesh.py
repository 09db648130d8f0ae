"""tunmesh itself, from this checkout or from another one, to compare before and after in one
run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench.contender import Contender
from bench.lab import Ground
from tunmesh.localmesh.plan import NodePlan, Owner, write_files

NOBODY = 65534
HERE = Path(__file__).parent


def contender(name: str, checkout: Path | None = None, transport: str = "") -> Contender:
    """tunmesh as installed in the checkout's .venv; by default in that of this process.
    `transport`: the config's `networking.transport`, if not the default one."""
    programs = checkout / ".venv" / "bin" if checkout else Path(sys.executable).parent

    def start(ground: Ground) -> None:
        for host, plan in zip(ground.hosts, plans(ground), strict=True):
            config = str(ground.directory / "mesh" / plan.config_file)
            twistd = (str(programs / "twistd"), "--nodaemon", "--pidfile=")
            host.start_daemon(*twistd, "tunmesh", "--config", config)

    return Contender(
        name=name,
        about=f"transport: {transport}" if transport else "default config",
        start=start,
        prepare=_preparation(transport),
        version=("git", "-C", str(checkout or HERE), "describe", "--always", "--dirty"),
        is_mesh=True,
    )


def plans(ground: Ground) -> list[NodePlan]:
    """A plan with as many nodes as there are hosts."""
    return [NodePlan(number) for number in range(1, len(ground.hosts) + 1)]


def prepare(ground: Ground) -> None:
    """Write the files of nodes with the default config."""
    (ground.directory / "mesh").mkdir()
    write_files(ground.directory / "mesh", plans(ground), Owner(NOBODY, NOBODY))


def _preparation(transport: str) -> Callable[[Ground], None]:
    def write(ground: Ground) -> None:
        prepare(ground)
        for plan in plans(ground):
            path = ground.directory / "mesh" / plan.config_file
            config: Any = yaml.safe_load(path.read_text())
            config["tun_mesh"]["networking"]["transport"] = transport
            path.write_text(yaml.safe_dump(config))

    return write if transport else prepare
