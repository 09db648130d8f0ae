"""A node and an application in one container: the process that starts both and ends both.

    start   the node, as this process was started; the application, as its own user, held back
    gate    a command that ends with 0 when the application may begin
    run     signals go to the application
    end     asked from outside, or because one of the two ended: the application gets TERM and
            `grace` seconds, then the node TERM, so it leaves the mesh after the last word was said

`Both` decides; it knows no process. `supervise` acts. The exit code is the application's, or the
node's if that ended first.

This process must be able to signal both without CAP_KILL, which a container need not have. The
kernel lets a process signal those whose real or saved user is its own real or effective one
(kill(2)). So it becomes half one and half the other: real user the application's, effective user
the node's, and loses all its capabilities by that (capabilities(7)). The application may signal
this process but not the node, and it may trace neither (ptrace(2): all three users must be equal).

To process 1 the kernel delivers only signals that it handles, and those that it blocks wait.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Self

from tunmesh.errors import OperatorError
from tunmesh.host import privileges

GRACE = 7.0  # seconds; docker and Compose kill the container after 10
NODE_GRACE = 5.0  # seconds until a node that hangs is killed; it leaves within 2

_END = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
# As shells have it: the command is not there, or cannot be run; it was ended by a signal.
_NOT_STARTED = 126
_NOT_FOUND = 127
_BY_SIGNAL = 128

# By Python, at its start; what is ignored stays so when another program is executed.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

# What an application that is held back is told.
_GO = b"!"
_STOP = b"."

_SIGNALS = frozenset((*_END, *_PASSED_ON, signal.SIGCHLD))


class Who(Enum):
    """The processes."""

    NODE = "the node"
    GATE = "the gate"
    APPLICATION = "the application"


@dataclass(frozen=True, slots=True)
class Send:
    """Send it a signal."""

    who: Who
    number: signal.Signals


class Hold(Enum):
    """What becomes of an application that is held back."""

    RELEASE = "it begins"
    DISMISS = "it ends without having begun"


Act = Send | Hold


@dataclass
class Both:
    """What to do when something happens. Times are in seconds, of any clock."""

    grace: float = GRACE
    code: int | None = None  # to exit with, once the end has begun
    _alive: set[Who] = field(default_factory=lambda: set(Who))
    _begun: bool = False  # the application
    _told: set[Who] = field(default_factory=set)
    _deadline: float | None = None

    @property
    def is_over(self) -> bool:
        return self.code is not None and not self._alive

    def patience(self, now: float) -> float | None:
        """Seconds until `overdue`; None: something else has to happen."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def signalled(self, number: signal.Signals, now: float) -> list[Act]:
        if number in _END:
            return self._end(0, now)
        if self._begun and Who.APPLICATION in self._alive:
            return [Send(Who.APPLICATION, number)]
        return []

    def ended(self, who: Who, code: int, now: float) -> list[Act]:
        self._alive.discard(who)
        if who is Who.GATE and code == 0 and self.code is None:
            self._begun = True
            return [Hold.RELEASE]
        if who is Who.APPLICATION and self._begun and self.code == 0:
            self.code = code  # it was asked to end, and that is how it did
        return self._end(code if who is Who.APPLICATION else code or 1, now)

    def refused(self, now: float) -> list[Act]:
        """The application cannot be released."""
        self._begun = False
        return self._end(1, now)

    def overdue(self, now: float) -> list[Act]:
        """The deadline has passed."""
        self._deadline = None
        return [Send(who, signal.SIGKILL) for who in Who if who in self._told & self._alive]

    def _end(self, code: int, now: float) -> list[Act]:
        """One after the other: the node when all others have ended."""
        if self.code is None:
            self.code = code
        others = self._alive - {Who.NODE}
        asked = [who for who in Who if who in (others or self._alive) - self._told]
        if asked:
            self._told.update(asked)
            self._deadline = now + (self.grace if others else NODE_GRACE)
        return [self._ask(who) for who in asked]

    def _ask(self, who: Who) -> Act:
        if who is Who.APPLICATION and not self._begun:
            return Hold.DISMISS
        return Send(who, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class User:
    """Whom the application runs as: in this group alone."""

    uid: int
    gid: int
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Commands:
    """What is executed. `gate` ends with 0 when the application may begin."""

    node: Sequence[str]
    gate: Sequence[str]
    application: Sequence[str]


def supervise(commands: Commands, user: User, grace: float = GRACE) -> int:
    """Run both until both have ended; the exit code. Needs root with SETUID and SETGID."""
    # If it was ignored, as the process before this one had it, no end of a child would be told.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # A node that is told to end leaves in order, so signals wait until it takes them.
    blocked, unblocked = before | _SIGNALS, before - _SIGNALS
    both = Both(grace)
    with _Pipe() as pipe:
        family = _Family(user.uid, user.gid)
        family.start(Who.APPLICATION, partial(_await, pipe, commands.application, user, unblocked))
        family.start(Who.NODE, partial(_execute_apart, commands.node, blocked))
        family.start(Who.GATE, partial(_execute_apart, commands.gate, unblocked))
        while not both.is_over:
            for act in _happened(both, family):
                _carry_out(act, both, family, pipe)
    return both.code or 0


def _carry_out(act: Act, both: Both, family: _Family, pipe: _Pipe) -> None:
    if isinstance(act, Send):
        family.send(act.who, act.number)
    elif act is Hold.DISMISS:
        pipe.say(_STOP)
    else:
        try:
            family.part()
        except OperatorError as error:
            _say(str(error))
            for then in both.refused(time.monotonic()):
                _carry_out(then, both, family, pipe)
        else:
            pipe.say(_GO)


def _happened(both: Both, family: _Family) -> list[Act]:
    """Wait for what happens next, and decide what to do."""
    patience = both.patience(time.monotonic())
    if patience is None:
        number = signal.sigwait(_SIGNALS)
    else:
        info = signal.sigtimedwait(_SIGNALS, patience)
        if info is None:
            return both.overdue(time.monotonic())
        number = signal.Signals(info.si_signo)
    if number != signal.SIGCHLD:
        return both.signalled(signal.Signals(number), time.monotonic())
    return [act for who, code in family.reap() for act in both.ended(who, code, time.monotonic())]


class _Pipe:
    """By which the application is told to begin or not. If this process is gone: not."""

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def say(self, word: bytes) -> None:
        os.write(self._writer, word)

    def hear(self) -> bytes:
        """In the child; waits."""
        os.close(self._writer)
        return os.read(self._reader, 1)


class _Family:
    """The child processes. `uid` and `gid` are the application's."""

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._pids: dict[int, Who] = {}

    def start(self, who: Who, run: Callable[[], None]) -> None:
        """`run` is called in the child, and does not return unless it fails."""
        pid = os.fork()
        if pid == 0:
            try:
                run()
            except OperatorError as error:
                _say(str(error))
            except BaseException as error:  # a child must not go on as its parent
                _say(f"{who.value} cannot be started: {error}")
            os._exit(_NOT_STARTED)
        self._pids[pid] = who

    def send(self, who: Who, number: signal.Signals) -> None:
        """A process that has just ended needs no signal."""
        for pid, each in self._pids.items():
            if each is who:
                with suppress(ProcessLookupError):
                    self._become_able_to_signal(pid)
                    os.kill(pid, number)

    def reap(self) -> Iterator[tuple[Who, int]]:
        """Those that have ended, with what to exit with for them; orphans are buried too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            who = self._pids.pop(pid, None)
            if who is not None:
                code = os.waitstatus_to_exitcode(status)
                yield who, code if code >= 0 else _BY_SIGNAL - code

    def part(self) -> None:
        """Give up everything, before the application begins."""
        node = self._pid(Who.NODE)
        if self._uid == _owner(node) or self._gid == _owner(node, "Gid"):
            raise OperatorError(
                f"--user {self._uid}:{self._gid} must be another user and group than the node's, "
                f"{_owner(node)} and {_owner(node, 'Gid')} (process/uid, process/gid)"
            )
        self._become_half()

    def _become_able_to_signal(self, pid: int) -> None:
        """While root, without CAP_KILL: what has given up root can no longer be signalled by it."""
        if os.geteuid() == 0 and _owner(pid) != 0:
            self._become_half()

    def _become_half(self) -> None:
        privileges.become_half(self._uid, _owner(self._pid(Who.NODE)), self._gid)

    def _pid(self, wanted: Who) -> int:
        return next((pid for pid, who in self._pids.items() if who is wanted), os.getpid())


def _owner(pid: int, kind: str = "Uid") -> int:
    """The real user of a process; this one's, if it has ended: it does not matter then. (The owner
    of /proc/PID is root, if the process must not be traced.)"""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return os.geteuid()
    return int(status.partition(f"\n{kind}:")[2].split()[0])


def _await(pipe: _Pipe, command: Sequence[str], user: User, mask: Set[int]) -> None:
    """In the child that becomes the application."""
    privileges.become(user.uid, user.gid)
    if pipe.hear() != _GO:
        os._exit(0)
    _execute(command, {**os.environ, "HOME": user.home}, mask)


def _execute_apart(command: Sequence[str], mask: Set[int]) -> None:
    """In a session of its own: Ctrl-C in a terminal must not end the node first."""
    os.setsid()
    _execute(command, os.environ, mask)


def _execute(command: Sequence[str], environment: Mapping[str, str], mask: Set[int]) -> None:
    """`mask`: the signals that are blocked from the start."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        _say(f"{command[0]}: {error.strerror}")
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_STARTED)


def _say(text: str) -> None:
    sys.stderr.write(f"tunmesh run: {text}\n")
    sys.stderr.flush()
