"""The house: which module lives on which floor, and who may import whom.

The table is the rule. A module that is not in it does not belong to the house: whoever adds one has
to decide where it lives.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.trial import unittest

import tunmesh

PACKAGE = Path(tunmesh.__file__).parent
PLUGIN = PACKAGE.parent / "twisted" / "plugins" / "tunmesh_plugin.py"

# What reads a clock, draws a number, writes a log or talks to somebody.
IMPURE = """
    twisted zope OpenSSL pyroute2 prometheus_client asyncio concurrent ctypes datetime fcntl io
    logging multiprocessing os pathlib random secrets select selectors shutil signal socket ssl
    subprocess sys tempfile threading time warnings
"""


@dataclass(frozen=True)
class Floor:
    """Some modules, and the floors that they may import from: their own too, if it is named."""

    modules: str
    imports: str
    pure: bool = False  # imports nothing of IMPURE


# From the bottom up.
FLOORS = {
    "errors": Floor("errors addresses", "", pure=True),
    "figures": Floor("figures", "", pure=True),
    "stdio": Floor("stdio", ""),
    "codecs": Floor(
        "netstring messages packet headers segments flows pcapng icmp events rtnetlink",
        "errors codecs",
        pure=True,
    ),
    "machines": Floor(
        "handshake nodekey signing routing roster commands packetqueue budget status totals health "
        "expiry turns outside history report explain strangers standing keepalive waste memory "
        "agreement namesakes shares fragments inspection memory_budget overlaps dialbudget "
        "dialable devicestate reservations",
        "errors codecs machines",
        pure=True,
    ),
    # What adapters are made of: the part of `tls` that knows private names, certificates in files,
    # what every web site has in common.
    "internals": Floor(
        "access bugs bulktls holders pem sites capture lines admission netlink",
        "errors codecs machines internals",
    ),
    "reading": Floor("reading", "machines internals"),
    "drawing": Floor("page.view", "figures machines", pure=True),
    "adapters": Floor(
        "tun link tls dialer names metrics web admin page unixport netadmin privileges log outlet "
        "namespaces apart aside issuing keyfiles seccomp sdnotify runqueue listening heap "
        "descriptors devicewatch",
        "errors codecs machines internals reading drawing",
    ),
    "certificates": Floor("certificates", "errors internals adapters"),
    "interpreter": Floor(
        "node peers connector datapath bootstrap redial digest introductions learned",
        "errors codecs machines internals adapters interpreter",
    ),
    "configuration": Floor(
        "config config.accounts config.file config.keys config.networking config.process "
        "config.values config.schema config.example config.reference config.words config.changes "
        "config.secrecy config.plain configured socketpath",
        "errors codecs machines configuration",
    ),
    "lint": Floor("config.lint", "errors machines internals certificates configuration adapters"),
    "preflight": Floor("preflight", "errors machines internals adapters configuration"),
    "harness": Floor(
        "localmesh localmesh.run localmesh.story localmesh.measuring localmesh.processes "
        "localmesh.plan localmesh.screen localmesh.machine localmesh.underlay localmesh.transfers "
        "localmesh.pinger localmesh.janitor localmesh.forward",
        "errors codecs adapters configuration harness",
    ),
    "twins": Floor("fakeclock testing", "errors codecs machines adapters interpreter twins"),
    "simulator": Floor(
        "simulator simulator.run simulator.scenarios simulator.invariants simulator.story "
        "simulator.world simulator.net simulator.plain simulator.liar",
        "errors codecs adapters interpreter machines twins simulator",
    ),
    "service": Floor(
        "service reload control monitor",
        "errors stdio codecs machines internals reading adapters interpreter certificates "
        "configuration lint preflight service",
    ),
    "doctor": Floor(
        "doctor reaching",
        "errors codecs machines internals adapters certificates configuration lint "
        "preflight doctor",
    ),
    "healthcheck": Floor("healthcheck", "errors stdio configuration"),
    "cli": Floor(
        "cli cli.base cli.configs cli.harness cli.asking cli.client cli.views cli.waiting "
        "cli.completion cli.guarding cli.looking cli.echo cli.doctoring cli.keys cli.simulation "
        "cli.rotation",
        "errors figures stdio codecs internals adapters certificates configuration lint doctor "
        "healthcheck harness simulator cli",
    ),
}
# Beside the standard library; annotated_types is where pydantic has its bounds from.
CONFIGURATION_USES = {"pydantic", "pydantic_core", "annotated_types", "yaml"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name in it, parsed. The package's own is
    `__init__`, those of the packages inside have these packages' names."""
    return {
        name_of(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)


def floor_of(module: str) -> str:
    """The name of the floor that a module lives on; empty if it does not live here."""
    return next((name for name, floor in FLOORS.items() if module in floor.modules.split()), "")


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """What is executed when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The same without what only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            yield node
            yield from at_run_time(node)


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The full names of what is imported; `from a import b` is a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            yield from (f"{package}.{alias.name}" for alias in node.names)


def inside(tree: ast.AST) -> set[str]:
    """The modules of this package that are imported anywhere in the tree."""
    names = {
        name.removeprefix("tunmesh.")
        for name in imported(ast.walk(tree))
        if name.startswith("tunmesh.")
    }
    # `from a import b` may name a module or what is in one.
    candidates = names | {name.rpartition(".")[0] for name in names}
    return candidates & modules().keys()


def outside(tree: ast.AST) -> set[str]:
    """The other packages that are imported anywhere in the tree."""
    return {name.split(".")[0] for name in imported(ast.walk(tree))} - {"tunmesh", "__future__"}


class House(unittest.SynchronousTestCase):
    """The modules of the package, and what they import."""

    def test_everybody_lives_somewhere(self) -> None:
        """Every module is in the table, once, and nothing else is."""
        listed = [module for floor in FLOORS.values() for module in floor.modules.split()]
        self.assertEqual(sorted(listed), sorted(set(modules()) - {"__init__"}))

    def test_direction(self) -> None:
        """A module imports from the floors that its own may look at, and from no other."""
        for module in set(modules()) - {"__init__"}:
            visible = FLOORS[floor_of(module)].imports.split()
            for name in inside(modules()[module]):
                self.assertIn(floor_of(name), visible, f"{module} imports {name}")

    def test_bottom(self) -> None:
        """The package itself and the plugin import nothing of the package."""
        self.assertEqual(inside(modules()["__init__"]), set())
        self.assertEqual(inside(ast.parse(PLUGIN.read_text())), set())

    def test_pure(self) -> None:
        """Codecs and machines do no I/O, read no clock, draw no numbers and log nothing."""
        for module, tree in modules().items():
            if floor_of(module) and FLOORS[floor_of(module)].pure:
                self.assertEqual(outside(tree) & set(IMPURE.split()), set(), module)

    def test_configuration(self) -> None:
        """The configuration is made with the standard library, pydantic and YAML."""
        for module in FLOORS["configuration"].modules.split():
            strange = outside(modules()[module]) - sys.stdlib_module_names - CONFIGURATION_USES
            self.assertEqual(strange, set(), module)

    def test_no_configuration_in_a_node(self) -> None:
        """Nothing that a node imports when it starts imports the configuration: it takes 10 MB, so
        a child process reads it. Type checkers may, and functions."""
        node = "machines internals reading adapters interpreter service"
        for module in [name for floor in node.split() for name in FLOORS[floor].modules.split()]:
            for name in imported(at_run_time(modules()[module])):
                self.assertFalse(name.startswith("tunmesh.config."), f"{module}: {name}")
                self.assertNotEqual(name, "tunmesh.config", module)

    def test_absolute(self) -> None:
        """Imports are absolute and name what they import, so that they can be read here."""
        for module, tree in modules().items():
            for name in imported(ast.walk(tree)):
                self.assertFalse(name.startswith(".") or name.endswith(".*"), f"{module}: {name}")

    def test_reactor(self) -> None:
        """Importing a module, or the plugin, does not install a reactor."""
        for module, tree in {**modules(), "plugin": ast.parse(PLUGIN.read_text())}.items():
            for name in imported(outside_functions(tree)):
                self.assertNotEqual(name, "twisted.internet.reactor", module)

    def test_docstrings(self) -> None:
        """Every module says what it is about."""
        for module, tree in modules().items():
            self.assertTrue(ast.get_docstring(tree), module)
