"""The command line when standard output is closed, full or not read, and when the control socket is
not that of a responding node: one line at most, and never a traceback."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)

import click
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support.control import FakeNode
from tests.support.places import short_directory
from tests.support.realnode import reactor
from tunmesh.cli.client import Client
from tunmesh.cli.main import main

# Runs command lines one after another, each in a child of a process that has imported all of it,
# with the given standard streams; prints the exit codes and stderr.
RUNNER = """
import gc, json, os, sys, tempfile
from tunmesh.cli.main import main

def become(streams, error):
    os.close(0)
    sys.stdin = sys.__stdin__ = None
    os.dup2(error, 2)
    if streams == "closed":
        os.close(1)
        os.close(2)
        sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None
    elif streams == "no output":
        os.close(1)
        sys.stdout = sys.__stdout__ = None
    elif streams == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    else:
        os.dup2(os.open(streams, os.O_WRONLY), 1)

import click
for name in main.list_commands(click.Context(main)):
    main.get_command(click.Context(main), name)
gc.freeze()  # or each child's last collection would copy all of these pages
results = []
streams, *lines = json.loads(sys.argv[1])
for line in lines:
    with tempfile.TemporaryFile() as error:
        child = os.fork()
        if child == 0:
            become(streams, error.fileno())
            main(line, prog_name="tunmesh")  # raises SystemExit, so Python ends as it does
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        error.seek(0)
        results.append((code, error.read().decode()))
print(json.dumps(results))
"""
# Arguments that a command needs, or without which it would take long. A new command that needs
# arguments fails here until it has a line.
ARGUMENTS = {
    "address": ["10.77.0.1"],
    "capture": ["--port", "1"],
    "completion": ["bash"],
    "init": ["/dev/null/tunmesh"],  # it would write files
    "explain": ["10.77.0.1", "10.77.0.2"],
    "mesh": ["--nodes", "1"],
    "ping": ["nobody"],
    "resolve": ["nobody"],
    "simulate": ["--list"],
    "wait": ["--for", "peers=99", "--timeout", "0"],
}
MORE = (
    ["address"],
    ["events", "--last", "1", "-o", "json"],
    ["status", "-o", "wide"],
    ["--version"],
    ["--help"],
)
NOBODY = 65534
_libc = ctypes.CDLL(None)
FOLLOWING = (["events", "--follow"], ["status", "--watch"])


def command_lines() -> Iterator[list[str]]:
    """At least one for each command."""
    context = click.Context(main)
    for name in main.list_commands(context):
        found = main.get_command(context, name)
        if isinstance(found, click.Group):
            arguments = ARGUMENTS.get(name, [])
            yield from ([name, each, *arguments] for each in found.list_commands(context))
        elif name != "certificate":  # it writes files
            yield [name, *ARGUMENTS.get(name, ())]
    yield from MORE


def asking() -> Iterator[list[str]]:
    """The command lines that ask a node; `doctor` prints more, and has its own test."""
    context = click.Context(main)
    for line in (*command_lines(), *FOLLOWING):
        found = main.get_command(context, line[0])
        asks = found and any("--socket" in option.opts for option in found.params)
        if asks and line[0] != "doctor":
            yield line


class StreamTests(unittest.TestCase):
    """Every command, next to a node, with unusual file descriptors 0, 1 and 2."""

    def setUp(self) -> None:
        self.node = FakeNode(self)
        self.node.log.info("linked", event="linked")

    async def run_with(self, streams: str, lines: list[list[str]]) -> list[tuple[int, str]]:
        """Exit code and stderr of each."""
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-c", RUNNER, json.dumps([streams, *lines])],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TUNMESH_SOCKET": str(self.node.path),
                "TUNMESH_CONFIG_PATH": "/nowhere",
            },
            reactor=reactor,
        )
        self.assertEqual((err.decode(), code), ("", 0))
        results = [(code, text) for code, text in json.loads(out)]
        for line, (code, text) in zip(lines, results, strict=True):
            self.assertNotEqual(code, 120, line)
            for sign in ("Traceback", "Exception ignored"):
                self.assertNotIn(sign, text, line)
        return results

    def lines(self) -> list[list[str]]:
        return [line for line in command_lines() if line[0] not in ("capture", "drain")]

    async def test_closed(self) -> None:
        """With standard streams closed, a command works as usual, and its exit code says whether it
        succeeded."""
        usual = await self.run_with(os.devnull, self.lines())
        self.assertEqual(await self.run_with("no output", self.lines()), usual)
        closed = await self.run_with("closed", self.lines())
        self.assertEqual([code for code, _ in closed], [code for code, _ in usual])

    async def test_capture_to_nowhere(self) -> None:
        """A capture with standard output closed would be pointless: it says so."""
        [(code, text)] = await self.run_with("no output", [["capture"]])
        self.assertEqual(code, 1)
        self.assertIn("standard output is closed", text)

    async def test_full(self) -> None:
        """A full disk under the output is one line, and exit code 1."""
        said = await self.run_with("/dev/full", self.lines())
        for line, (code, text) in zip(self.lines(), said, strict=True):
            if line != ["healthcheck"]:  # the exit code is its whole result
                self.assertNotEqual((code, text), (0, ""), line)
            if "No space left" in text:
                self.assertEqual(text, "tunmesh: standard output: No space left on device\n")
                self.assertEqual(code, 1)

    async def test_closed_pipe(self) -> None:
        """A command whose reader is gone, as in `tunmesh events | head`, ends silently."""
        lines = [["status"], ["events"], ["events", "-f"], ["status", "--watch"], ["capture"]]
        lines += [["config", "schema"], ["config", "reference"], ["healthcheck"], ["--help"]]
        said = [text for _, text in await self.run_with("unread", lines)]
        self.assertEqual(said, [""] * len(lines))


class _Fake(Protocol):
    """Accepts a request, and answers with only this before it hangs up."""

    transport: ITransport
    answer = b""
    hangs_up = True

    def connectionMade(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self.factory.connections.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer)
        if self.hangs_up:
            self.transport.loseConnection()


class Silent(_Fake):
    hangs_up = False


class Midway(_Fake):
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"node": '


class Stuck(Midway):
    hangs_up = False


class NoHttp(_Fake):
    answer = b"SSH-2.0-OpenSSH_9.2\r\n"


class OtherProgram(_Fake):
    answer = (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n"
        b'{"message": "nope"}'
    )


class OtherVersion(_Fake):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class NoObject(_Fake):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


class _Fakes(Factory):
    """The fakes that were connected to a socket."""

    def __init__(self, fake: type[_Fake]) -> None:
        self.protocol = fake
        self.connections: list[_Fake] = []


class WrongSocketTests(unittest.TestCase):
    """Every command that asks a node, with another program listening at its socket."""

    def setUp(self) -> None:
        self.path = short_directory(self) / "s"
        self.patch(Client, "timeout", 0.3)

    @asynccontextmanager
    async def listening(self, fake: type[_Fake]) -> AsyncIterator[None]:
        """At the end every connection is closed, also those whose client has just hung up."""
        fakes = _Fakes(fake)
        port = reactor.listenUNIX(str(self.path), fakes)
        try:
            yield
        finally:
            await port.stopListening()
            for connection in fakes.connections:
                if not connection.lost.called:
                    connection.transport.loseConnection()
            await gatherResults([connection.lost for connection in fakes.connections])

    async def ask(
        self, line: list[str], within: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Result:
        name, *rest = line
        if name == "capture":
            rest += ["--write", os.devnull]
        result = await deferToThread(self.invoke, [name, "--socket", str(self.path), *rest], within)
        self.assertIsInstance(result.exception, SystemExit | None, (line, result.exception))
        return result

    def invoke(self, line: list[str], within: Callable[[], AbstractContextManager[None]]) -> Result:
        with within():
            return CliRunner().invoke(main, line)

    async def _refused(self, fake: type[_Fake]) -> None:
        async with self.listening(fake):
            for line in asking():
                result = await self.ask(line)
                self.assertNotIn("Traceback", result.output, line)
                if b"200 OK" in fake.answer and line[0] in ("capture", "healthcheck"):
                    continue  # one copies any answer, the other accepts nothing else
                if fake is OtherVersion and ("json" in line or line == ["drain"]):
                    continue  # the answer is not parsed
                self.assertEqual(result.exit_code, 1, line)
                self.assertEqual(len(result.output.splitlines()), 1, result.output)

    async def test_silent(self) -> None:
        """A server that accepts the request and never answers times out."""
        self.patch(Client, "timeout", 0.05)
        await self._refused(Silent)

    async def test_hangs_up(self) -> None:
        """A server that hangs up without an answer is reported."""
        await self._refused(_Fake)

    async def test_midway(self) -> None:
        """A server that hangs up, or stops, in the middle of an answer is reported."""
        await self._refused(Midway)

    async def test_others(self) -> None:
        """Other programs, and other versions of tunmesh, are reported as such."""
        for fake in (NoHttp, OtherProgram, OtherVersion, NoObject):
            await self._refused(fake)

    async def test_stops_amid_events(self) -> None:
        """A node that stops answering while its events are followed times out, too."""
        self.patch(Silent, "answer", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        node = Client(self.path)
        async with self.listening(Silent):
            error = await self.assertFailure(
                deferToThread(lambda: list(node.follow(interval=0.1))), Exception
            )
        self.assertIn("does not answer: it said nothing for 0.4 s", str(error))

    async def test_not_permitted(self) -> None:
        """A socket that this user may not open is one line."""
        lines = [line for line in asking() if line[0] != "healthcheck"]  # it then asks the port
        async with self.listening(Silent):
            self.path.chmod(0)
            for line in lines:
                result = await self.ask(line, as_nobody)
                self.assertIn("permission denied", result.stderr)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)


@contextmanager
def as_nobody() -> Iterator[None]:
    """This thread may use files only as far as the user nobody may: see setfsuid(2)."""
    before = _libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        _libc.setfsuid(before)
