"""The architecture: folders are layers, and imports lead down.

`ls tunmesh/` shows the architecture. FLOORS lists the folders, and the few top-level modules, from
the bottom up: each may import from those before it and from itself. A folder has one purpose, which
its `__init__.py` states in one line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial import unittest

import tunmesh

PACKAGE = Path(tunmesh.__file__).parent
PLUGIN = PACKAGE.parent / "twisted" / "plugins" / "tunmesh_plugin.py"
TESTS = Path(__file__).parent

# From the bottom up.
FLOORS = """
    errors addresses units rate_limit timers
    packets wire status
    logs pki host netlink assigner
    auth tls dataplane link
    multicast
    udp relay
    membership dialing
    names
    observe node config
    api service doctor
    testing localmesh simulator deployments
    healthcheck cli
""".split()  # noqa: SIM905

# Modules without a clock, randomness, log or I/O: the formats, and the decision machines.
PURE = """
    errors addresses units rate_limit status packets wire
    logs.events
    auth
    tls.admission tls.pacing tls.underlay
    multicast
    link.fair_queue link.keepalive link.memory_budget link.penalty link.suspicion
    relay.carriers relay.flow relay.lane relay.needs relay.openings relay.refusals
    relay.switchboard
    udp.choice udp.path udp.probing.candidates udp.probing.liveness udp.probing.measures
    udp.probing.mtu udp.probing.pings
    udp.aead udp.parts udp.places udp.port udp.runs udp.scratch udp.session udp.slices udp.window
    membership.agreement membership.claims membership.commands membership.hearsay
    membership.acquisition membership.candidates
    membership.floating.doubts membership.floating.holding
    membership.lost_nodes membership.me membership.name_conflicts membership.namesakes
    membership.news membership.node_links membership.precedence membership.reservations
    membership.roster membership.seniority
    names.directory names.endpoint names.exchange names.labels names.resolution names.responder
    names.settings names.zone
    dialing.dial_budget dialing.dial_limit dialing.dialable dialing.own_url
    dialing.reachability dialing.segments dialing.url_checks
    dataplane.answers dataplane.carrier dataplane.drops dataplane.fragments dataplane.gateways
    dataplane.groups dataplane.inspection dataplane.peer dataplane.prefixes dataplane.table
    netlink.address_news netlink.changes netlink.codec netlink.device_state netlink.kernel
    netlink.messages netlink.overlaps
    assigner.allowance assigner.wire
    observe.expiry observe.explain observe.explain_gateways observe.explain_groups
    observe.health observe.node_totals observe.problems observe.samples observe.status_json
    observe.steps
    api.page.view
""".split()  # noqa: SIM905
IMPURE = """
    twisted zope OpenSSL pyroute2 prometheus_client asyncio concurrent ctypes datetime fcntl io
    logging multiprocessing os pathlib random secrets select selectors shutil signal socket ssl
    subprocess sys tempfile threading time warnings
""".split()  # noqa: SIM905

# A node imports only these values of the configuration: pydantic takes 10 MB, so a child process
# reads the file.
PLAIN_CONFIG = "tunmesh.config.values"
NODE = ("membership", "dialing", "dataplane", "observe", "node", "api", "service")
# Besides the standard library; annotated_types is where pydantic takes its bounds from.
CONFIG_USES = {"pydantic", "pydantic_core", "annotated_types", "yaml"}

MOST_MODULES = 16  # in one folder
MOST_LINES = 350  # of a module
MOST_METHODS = 25  # of a class
MOST_ATTRIBUTES = 20  # that a class assigns on `self`
MOST_ARGUMENTS = 8  # of a constructor, besides `self`


@cache
def modules() -> dict[str, ast.Module]:
    """Every module by its dotted name in the package, parsed. A folder's `__init__` has the
    folder's name."""
    return {
        name_of(path.relative_to(PACKAGE)): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> str:
    """The folder of a module, or the module itself if it is at the top level."""
    return module.partition(".")[0]


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The code that runs when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The same, without imports for type checkers only."""
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
    """The floors of this package that are imported anywhere in the tree."""
    return {
        floor_of(name.removeprefix("tunmesh."))
        for name in imported(ast.walk(tree))
        if name.startswith("tunmesh.")
    } & set(FLOORS)


def outside(tree: ast.AST) -> set[str]:
    """The other packages that are imported anywhere in the tree."""
    return {name.split(".")[0] for name in imported(ast.walk(tree))} - {"tunmesh", "__future__"}


class House(unittest.SynchronousTestCase):
    """The folders of the package, and what they import."""

    def test_floors(self) -> None:
        """Every folder and every top-level module is a floor, and nothing else is."""
        self.assertEqual(sorted(FLOORS), sorted({floor_of(module) for module in modules()}))

    def test_direction(self) -> None:
        """Imports lead down: to lower floors, or to the same one."""
        for module, tree in modules().items():
            height = FLOORS.index(floor_of(module))
            for floor in inside(tree):
                self.assertLessEqual(FLOORS.index(floor), height, f"{module} imports {floor}")

    def test_bottom(self) -> None:
        """The package itself and the plugin import nothing of the package."""
        self.assertEqual(inside(ast.parse((PACKAGE / "__init__.py").read_text())), set())
        self.assertEqual(inside(ast.parse(PLUGIN.read_text())), set())

    def test_folders(self) -> None:
        """A folder states its purpose in one line, has no code in `__init__`, and is not too
        full."""
        for folder in {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}:
            tree = ast.parse((folder / "__init__.py").read_text())
            purpose = ast.get_docstring(tree)
            self.assertTrue(purpose and "\n" not in purpose, folder)
            self.assertEqual(len(tree.body), 1, folder)
            self.assertLessEqual(len(list(folder.glob("*.py"))) - 1, MOST_MODULES, folder)

    def test_sizes(self) -> None:
        """No module, class or constructor has more than a reader can keep in mind."""
        for module, tree in modules().items():
            lines = tree.body[-1].end_lineno or 0
            self.assertLessEqual(lines, MOST_LINES, f"{module}: lines")
            for each in ast.walk(tree):
                if isinstance(each, ast.ClassDef):
                    self.assert_small(f"{module}.{each.name}", each)

    def assert_small(self, name: str, each: ast.ClassDef) -> None:
        methods = {part.name: part for part in each.body if isinstance(part, ast.FunctionDef)}
        self.assertLessEqual(len(methods), MOST_METHODS, f"{name}: methods")
        attributes = {
            node.attr
            for node in ast.walk(each)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        }
        self.assertLessEqual(len(attributes), MOST_ATTRIBUTES, f"{name}: attributes")
        if "__init__" in methods:
            arguments = methods["__init__"].args
            count = len(arguments.args) - 1 + len(arguments.kwonlyargs)
            self.assertLessEqual(count, MOST_ARGUMENTS, f"{name}: arguments")

    def test_tests(self) -> None:
        """Tests are in the same folders as the code that they test; `attacks` and `real` use all of
        it, and `support` is what they share."""
        folders = {path.parent.name for path in TESTS.glob("*/test_*.py")}
        self.assertEqual(folders - set(FLOORS), {"attacks", "real"})

    def test_pure(self) -> None:
        """Formats and decision machines do no I/O, read no clock, use no randomness and log
        nothing."""
        for module, tree in modules().items():
            if module in PURE or floor_of(module) in PURE:
                self.assertEqual(outside(tree) & set(IMPURE), set(), module)

    def test_pure_exists(self) -> None:
        """Each module that is listed as pure exists."""
        self.assertEqual(set(PURE) - set(modules()), set())

    def test_configuration(self) -> None:
        """The configuration uses only the standard library, pydantic and YAML."""
        for module, tree in modules().items():
            if floor_of(module) == "config":
                strange = outside(tree) - sys.stdlib_module_names - CONFIG_USES
                self.assertEqual(strange, set(), module)

    def test_no_configuration_in_a_node(self) -> None:
        """Nothing that a node imports when it starts imports pydantic's part of the configuration.
        Imports for type checkers and inside functions are exempt."""
        for module, tree in modules().items():
            if floor_of(module) in NODE:
                for name in imported(at_run_time(tree)):
                    if name.startswith("tunmesh.config"):
                        self.assertTrue(name.startswith(PLAIN_CONFIG), f"{module}: {name}")

    def test_absolute(self) -> None:
        """Imports are absolute and name what they import, so that they can be checked here."""
        for module, tree in modules().items():
            for name in imported(ast.walk(tree)):
                self.assertFalse(name.startswith(".") or name.endswith(".*"), f"{module}: {name}")

    def test_reactor(self) -> None:
        """Importing a module, or the plugin, does not install a reactor."""
        for module, tree in {**modules(), "plugin": ast.parse(PLUGIN.read_text())}.items():
            for name in imported(outside_functions(tree)):
                self.assertNotEqual(name, "twisted.internet.reactor", module)

    def test_docstrings(self) -> None:
        """Every module has a docstring."""
        for module, tree in modules().items():
            self.assertTrue(ast.get_docstring(tree), module)

    def test_reasons(self) -> None:
        """Why a connection failed is a FailureReason wherever that is decided, not a string."""
        for module, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "PeerError":
                    is_text = isinstance(node.args[0], ast.Constant)
                    self.assertFalse(is_text, f"{module}, line {node.lineno}")
