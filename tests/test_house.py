"""The house: which module lives on which floor, and who may import whom.

The table is the rule. A module that is not in it does not belong to the house, so that whoever adds
one has to decide where it lives.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.trial import unittest

import tunmesh

PACKAGE = Path(tunmesh.__file__).parent
PLUGIN = PACKAGE.parent / "twisted" / "plugins" / "tunmesh_plugin.py"

# What reads a clock, draws a number, writes a log or talks to anything: not for codecs and machines.
IMPURE = frozenset(
    "twisted zope OpenSSL pyroute2 prometheus_client asyncio concurrent ctypes datetime fcntl io "
    "logging multiprocessing os pathlib random secrets select selectors shutil signal socket ssl "
    "subprocess sys tempfile threading time warnings".split()
)
STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Floor:
    modules: str
    imports: str  # floors; its own too, if its modules may know each other
    forbidden: frozenset[str] = frozenset()  # of what is outside the package
    allowed: frozenset[str] | None = None  # of what is outside the package; None: all the rest


# From the bottom up.
FLOORS = {
    "errors": Floor("errors", "", IMPURE),
    "codecs": Floor("netstring messages packet icmp", "errors", IMPURE),
    "machines": Floor(
        "handshake routing roster packetqueue status health", "errors codecs machines", IMPURE
    ),
    "adapters": Floor(
        "tun link tls bulktls dialer metrics web netadmin privileges log namespaces",
        "errors codecs machines",
    ),
    "interpreter": Floor(
        "node datapath bootstrap", "errors codecs machines adapters interpreter"
    ),
    "config": Floor(
        "config configfile configkeys configprocess configvalues",
        "errors config",
        allowed=STDLIB | {"pydantic", "pydantic_core", "yaml"},
    ),
    "local mesh": Floor(
        "localmesh meshhost meshnode meshplan meshstory meshtraffic meshview janitor pinger "
        "traffic underlay",
        "errors codecs adapters config local-mesh",
    ),
    "roots": Floor(
        "service cli testing",
        "errors codecs machines adapters interpreter config local-mesh",
    ),
}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name, parsed. The package itself is `tunmesh`."""
    return {
        "tunmesh" if path.stem == "__init__" else path.stem: ast.parse(path.read_text())
        for path in sorted(PACKAGE.glob("*.py"))
    }


def floor_of(module: str) -> str:
    """The name of the floor that a module lives on."""
    return next(name for name, floor in FLOORS.items() if module in floor.modules.split())


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names of what is imported anywhere in it; of `from a import b` it is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST) -> set[str]:
    """The modules of the package that are imported."""
    inside = {name.split(".")[1] for name in imported(tree) if name.startswith("tunmesh.")}
    return {name for name in inside if (PACKAGE / f"{name}.py").exists()}


def others(tree: ast.AST) -> set[str]:
    """The packages, other than this one, that are imported."""
    return {name.split(".")[0] for name in imported(tree)} - {"tunmesh", "__future__"}


class House(unittest.SynchronousTestCase):
    """The modules of the package and their imports."""

    def test_everybody_lives_somewhere(self) -> None:
        """Every module is in the table, once, and the table has no others."""
        listed = [module for floor in FLOORS.values() for module in floor.modules.split()]
        self.assertEqual(sorted(listed), sorted(set(modules()) - {"tunmesh"}))

    def test_direction(self) -> None:
        """A module imports only from the floors that its own may look at."""
        for module, tree in modules().items():
            if module == "tunmesh":
                self.assertEqual(ours(tree), set())
                continue
            allowed = FLOORS[floor_of(module)].imports.replace("local-mesh", "local mesh")
            for name in ours(tree):
                self.assertIn(floor_of(name), allowed, f"{module} imports {name}")
