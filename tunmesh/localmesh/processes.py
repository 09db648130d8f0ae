"""Node processes as seen from outside: their log, their links, their exit.

A node logs one JSON object per line and names what happens by a stable `event`:

    {"event": "linked", "peer": "node2", "direction": "dialed", "level": "info", "text": "…", …}

The state of the whole mesh follows from a few of these (`listening`, `privileges`, `linked`,
`unlinked`), and everything to wait for is a condition on that state, evaluated whenever a node logs
something or ends: nothing polls and nothing sleeps. Whatever else a node writes is kept, to be
shown when something goes wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutput
from twisted.python.failure import Failure

from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.plan import NodePlan

SHOWN_LINES = 12

# Ctrl-C reaches everything in the terminal's session, but it is for us alone to end the nodes, in
# our order. So each gets a session of its own before it becomes twistd.
IN_OWN_SESSION = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"


class MeshReactor(IReactorProcess, IReactorTime):
    """The reactor interfaces that running nodes needs."""


class MeshError(Exception):
    """The mesh did not do what it should: one line, and the nodes concerned."""

    def __init__(self, text: str, *names: str) -> None:
        super().__init__(text)
        self.names = names


@dataclass(frozen=True)
class Line:
    """One line that a node wrote. `event` is empty for what is not an event."""

    event: str
    text: str
    fields: Mapping[str, object]


def parse_line(raw: bytes) -> Line:
    """Any bytes without their line end; never raises."""
    plain = raw.decode("utf-8", "replace").strip()
    try:
        fields = json.loads(plain)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return Line("", plain, {})
    return Line(str(fields.get("event", "")), str(fields.get("text", plain)), fields)


class NodeProcess(ProcessProtocol):
    """One `twistd tunmesh` process."""

    def __init__(self, name: str, log: BinaryIO, changed: Callable[[], None]) -> None:
        self.name = name
        self.listening = False
        self.unprivileged = False
        self.peers: set[str] = set()
        self.chosen: set[str] = set()
        """The addresses that it has chosen itself, each with its prefix."""
        self.tail: deque[str] = deque(maxlen=SHOWN_LINES)
        self.status: int | None = None
        """How it ended: its exit code, or minus the signal that killed it."""
        self.may_end = False
        """Whether it was told to end; if not, its end is a failure."""
        self._log = log
        self._changed = changed
        self._partial = {1: b"", 2: b""}

    @property
    def running(self) -> bool:
        return self.status is None

    def signal(self, name: str) -> None:
        """Send TERM, KILL, …, after which the process may end. Does nothing if it has."""
        self.may_end = True
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._log.write(data)
        *lines, self._partial[childFD] = (self._partial[childFD] + data).split(b"\n")
        for line in lines:
            self._take(parse_line(line))
        self._changed()

    def processEnded(self, reason: Failure) -> None:
        for rest in filter(None, self._partial.values()):
            self._take(parse_line(rest))
        self.status = _status(reason.value)
        self.peers.clear()
        self._log.close()
        self._changed()

    def _take(self, line: Line) -> None:
        self.tail.extend(line.text.splitlines())
        match line.event:
            case "listening":
                self.listening = True
            case "privileges":
                self.unprivileged = line.fields.get("capabilities") == 0
            case "address_held":
                self.chosen.add(str(line.fields.get("address")))
            case "linked":
                self.peers.add(str(line.fields.get("peer")))
            case "unlinked":
                self.peers.discard(str(line.fields.get("peer")))


def _status(ended: object) -> int:
    """As `subprocess` says it, from ProcessDone or ProcessTerminated."""
    signal = getattr(ended, "signal", None)
    return -signal if signal else int(getattr(ended, "exitCode", 0) or 0)


class Nodes:
    """All node processes of one mesh."""

    def __init__(self, reactor: MeshReactor, janitor: Janitor, directory: Path) -> None:
        self.processes: dict[str, NodeProcess] = {}
        self._reactor = reactor
        self._janitor = janitor
        self._directory = directory
        self._questions: dict[Deferred[None], Callable[[], bool]] = {}

    def start(self, plan: NodePlan, namespace: Namespace) -> None:
        """Start a node in its namespace, or start it again."""
        log = (self._directory / plan.log_file).open("ab", buffering=0)
        process = NodeProcess(plan.name, log, self._ask)
        command = [
            *(sys.executable, "-ISc", IN_OWN_SESSION),
            str(Path(sys.executable).with_name("twistd")),
            *("--nodaemon", "--pidfile=", "tunmesh"),
            *("--config", str(self._directory / plan.config_file)),
        ]
        with namespace:
            transport = self._reactor.spawnProcess(
                process, command[0], command, env={**os.environ, **plan.environ}
            )
        self._janitor.watch(transport.pid)
        self.processes[plan.name] = process

    async def status(self, plan: NodePlan) -> list[str]:
        """What `tunmesh status` says of a node, in lines."""
        said = await getProcessOutput(
            str(Path(sys.executable).with_name("tunmesh")),
            ("status", "--socket", str(self._directory / plan.socket)),
            env={**os.environ, "COLUMNS": "80"},
            reactor=self._reactor,
            errortoo=True,
        )
        text: str = said.decode()
        return [f"  {line}".rstrip() for line in text.splitlines()]

    def links(self) -> set[tuple[str, str]]:
        """Every (node, peer) where the node has said that it is linked to the peer."""
        return {
            (process.name, peer) for process in self.processes.values() for peer in process.peers
        }

    def dead(self) -> list[str]:
        """Names of the nodes that ended though nobody told them to."""
        return [
            process.name
            for process in self.processes.values()
            if not process.running and not process.may_end
        ]

    async def until(
        self, holds: Callable[[], bool], missing: Callable[[], MeshError], patience: float
    ) -> None:
        """Wait for `holds()`. After `patience` seconds raises what `missing()` returns; raises
        MeshError at once when a node ends that should not."""
        answer: Deferred[None] = Deferred()
        self._questions[answer] = holds
        try:
            self._ask()
            await answer.addTimeout(patience, self._reactor)
        except Overdue:
            raise missing() from None
        finally:
            self._questions.pop(answer, None)

    def _ask(self) -> None:
        for answer, holds in list(self._questions.items()):
            if dead := self.dead():
                del self._questions[answer]
                answer.errback(self._unexpected_end(dead[0]))
            elif holds():
                del self._questions[answer]
                answer.callback(None)

    def _unexpected_end(self, name: str) -> MeshError:
        status = self.processes[name].status
        how = f"exit code {status}" if status is None or status >= 0 else f"signal {-status}"
        return MeshError(f"{name} has ended by itself ({how})", name)
