"""Names that belong to others and that no release promises to keep: where they are used, and what
happens with a release that lacks one."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.real.test_mesh import MEGABYTE, MeshCase
from tests.test_house import modules
from tunmesh.host import iterations
from tunmesh.tls import bulk

# A release that lacks a name, see there.
ROOT = Path(__file__).parent.parent.parent
LACKING = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "lacking")}
# Documented in spite of how they begin.
DOCUMENTED = {"os._exit", "reason._value_"}  # the second is of an enum
# Without these nothing breaks: where Request._log is gone, HEAD requests make lines in the log.
HARMLESS = {"api.http": {"_log"}}
CFFI = ("_ffi", "_lib")  # what is asked of these is private to pyOpenSSL, however it is called


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def stored(tree: ast.AST) -> Iterator[str]:
    """The names that code makes: functions, classes, variables, attributes, slots."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=ast.Tuple(elts=slots)):
                yield from (str(slot.value) for slot in slots if isinstance(slot, ast.Constant))


def foreign(tree: ast.Module) -> Iterator[str]:
    """The private names of others that a module reads, writes, calls or imports."""
    own = set(stored(tree)) - set(CFFI)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="_ffi" | "_lib"), attr=name):
                yield name
            case ast.Attribute(value=value, attr=name) if is_private(name):
                if name not in own and f"{ast.unparse(value)}.{name}" not in DOCUMENTED:
                    yield name
            case ast.ImportFrom(module=module, names=names) if module != "__future__":
                parts = [*(module or "").split("."), *(alias.name for alias in names)]
                yield from filter(is_private, parts)
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if is_private(name):
                yield name
            case ast.keyword(arg=str(name)) if is_private(name):
                yield name


def package() -> Iterator[tuple[str, ModuleType]]:
    for name in modules():
        module = "tunmesh" if name == "__init__" else f"tunmesh.{name}"
        yield name, importlib.import_module(module)


@cache
def names_of(base: type) -> frozenset[str]:
    """The private names that somebody else's class has, those of its instances included."""
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(base)))
    except (OSError, TypeError):  # it is compiled
        return frozenset(filter(is_private, vars(base)))
    return frozenset(filter(is_private, {*vars(base), *stored(source)}))


def overridden(module: ModuleType) -> Iterator[str]:
    """The private names of others that its classes have, too: on purpose or by accident."""
    for kind in vars(module).values():
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            continue
        own = set(stored(ast.parse(textwrap.dedent(inspect.getsource(kind)))))
        for base in kind.__mro__[1:]:
            if base.__module__.split(".")[0] in ("twisted", "OpenSSL", "prometheus_client"):
                yield from own & names_of(base)


LISTED = {(each.what, name) for each in bulk.NEEDED for name in each.names}


class PrivateNames(SynchronousTestCase):
    """What is used, compared with what is checked for."""

    def test_list(self) -> None:
        """The transport of links uses the private names that it checks for, and no others."""
        found = set(foreign(modules()["tls.bulk"])) | set(overridden(bulk))
        listed = {
            name for what, name in LISTED if is_private(name) or what.rpartition(".")[2] in CFFI
        }
        self.assertEqual(found, listed)

    def test_reactor(self) -> None:
        """So do the iterations of the reactor."""
        found = set(foreign(modules()["host.iterations"]))
        self.assertEqual(found, set(filter(is_private, iterations.NEEDED)))

    def test_nowhere_else(self) -> None:
        """No other module needs any, nor has one by accident in a class derived from others'."""
        for name, module in package():
            if name not in ("tls.bulk", "host.iterations"):
                self.assertEqual(set(foreign(modules()[name])), set(), name)
                self.assertEqual(set(overridden(module)), HARMLESS.get(name, set()), name)

    def test_search(self) -> None:
        """The search finds each way of using one."""
        for code in (
            "request._gone",
            "request._gone = 1",
            "self._gone()",
            "super()._gone()",
            "_lib.gone(1)",
            "from twisted.web import _gone",
            "from twisted._gone import public",
            "getattr(request, '_gone', None)",
            "Protocol(_gone=True)",
        ):
            self.assertIn("gone", " ".join(foreign(ast.parse(code))), code)
        for code in (
            "class A:\n def _mine(self): self._mine()",
            "self._mine = 1; other._mine",
            "import os; os._exit(1)",
            "a.__class__",
        ):
            self.assertEqual(list(foreign(ast.parse(code))), [], code)


class Fallback(SynchronousTestCase):
    """A release that lacks one of the names."""

    def test_each_name(self) -> None:
        """Whichever it is, the stock transport is chosen, and the reason names it."""
        for what, name in sorted(LISTED):
            table = [
                replace(each, names=tuple("gone" if n == name else n for n in each.names))
                if each.what == what
                else each
                for each in bulk.NEEDED
            ]
            kind, why = bulk.choose(table)
            self.assertIs(kind, TLSMemoryBIOProtocol, name)
            self.assertTrue(why.endswith(f"has no {what}.gone"), why)

    def test_way_there(self) -> None:
        """So it is when a name is gone that leads to others."""
        self.patch(SSL, "_lib", None)
        self.assertIs(bulk.choose(bulk.NEEDED)[0], TLSMemoryBIOProtocol)
        needed = {each.what: each for each in bulk.NEEDED}["OpenSSL.SSL"]
        table = [replace(needed, names=(*needed.names, "_gone"))]
        self.assertIn("OpenSSL.SSL._gone", bulk.choose(table)[1])

    def test_tls(self) -> None:
        """On the stock transport TLS and links pass the same tests."""
        tests = ("test_credentials", "test_transport", "test_listener")
        self.passes(*(f"tests.tls.{name}" for name in tests), "tests.auth.test_splice")
        self.passes("tests.link.test_link")

    def test_meshes(self) -> None:
        """So do whole meshes."""
        tests = ("test_node", "test_healing", "test_packets", "test_rotation.CertificateTests")
        self.passes(*(f"tests.node.{name}" for name in tests))

    def passes(self, *tests: str) -> None:
        code = "import sys; from tunmesh.tls.bulk import why_stock; sys.exit(not why_stock)"
        trial = ["-m", "twisted.trial", "--temp-directory", str(Path(self.mktemp()).absolute())]
        for command in (["-c", code], [*trial, *tests]):
            done = subprocess.run(
                [sys.executable, *command], env=LACKING, cwd=ROOT, capture_output=True
            )
            self.assertEqual(done.returncode, 0, done.stdout.decode() + done.stderr.decode())


class RealFallback(MeshCase):
    """Real nodes with such a release."""

    async def test_links(self) -> None:
        """One that has all and one that lacks a name link, and carry packets of all sizes; the one
        that lacks it says so in its log."""
        first = self.ground.start(1)
        await first.logged("ready")
        second = self.ground.run(2, "--config", str(self.ground.config(2)), environ=LACKING)
        event = await second.logged("stock_transport")
        self.assertIn("no OpenSSL.SSL._lib.SSL_clear_mode", event["why"])
        await second.logged("linked", peer="node1")
        for sender, receiver in ((1, 2), (2, 1)):
            self.assertTrue(await self.ping(sender, receiver))
            await self.upload(sender, receiver, os.urandom(4 * MEGABYTE), socket.AF_INET)
        self.assertEqual(first.all_logged("stock_transport"), [])
