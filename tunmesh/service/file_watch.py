"""Looks at files whose file system may hang, without making the node wait.

    FileWatch ── run(job) ──> a thread (host.file_thread) ── stat(2), read(2)
        │                                                        │
        └── done(result), in the reactor's thread  <─────────────┘

One job runs at a time. When the thread does not come back for `PATIENCE` seconds, the log names the
file that it waits for, and says so as well when it answers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunmesh.host.file_thread import Runner

T = TypeVar("T")

PATIENCE = 10.0  # seconds that a file may take to be looked at before the log says so

FileState: TypeAlias = "tuple[int, ...] | None"
State: TypeAlias = dict[Path, FileState]


class FileWatch:
    """Runs one job at a time with `runner`; a job looks at `path` unless it says otherwise.
    `idle()` is called after each, when its result was dealt with; that may have begun the next."""

    def __init__(
        self,
        clock: IReactorTime,
        path: Path,
        runner: Runner,
        log: Logger,
        idle: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._runner = runner
        self._log = log
        self._idle = idle
        self._busy_since: float | None = None
        self._default = self._path = path  # what the job looks at
        self._hangs = False  # and that was logged
        self._is_stopped = False

    @property
    def is_busy(self) -> bool:
        return self._busy_since is not None

    def run(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        """Run a job in the thread, and pass its result to `done` here. None may be running."""
        self._busy_since = self._clock.seconds()
        self._path = self._default
        answer = self._runner.run(job)
        answer.addCallback(self._over, done)
        answer.addErrback(self._bug)

    def stop(self) -> None:
        """The job that is running, if any, comes to nothing."""
        self._is_stopped = True

    def check(self) -> None:
        """Log a warning, once, if a job has been running for too long."""
        if self._busy_since is None or self._hangs:
            return
        if self._clock.seconds() - self._busy_since >= PATIENCE:
            self._hangs = True
            self._log.warn(
                "{file}, or what it leads to, does not answer for {patience:g} s: changes of the "
                "config and its files wait until it does, everything else goes on",
                event="files_hang",
                file=str(self._path),
                patience=PATIENCE,
            )

    # --- for jobs, in the thread: these change nothing but `_path` ---

    def looking_at(self, path: Path) -> None:
        """Name this file if the job hangs."""
        self._path = path

    def states(self, files: Iterable[Path], before: State) -> State:
        """The states of these files now; `before` has those that they were in."""
        states: State = {}
        for path in files:
            self.looking_at(path)
            states[path] = state_of(path, before.get(path))
        return states

    # --- here ---

    def _over(self, result: T, done: Callable[[T], object]) -> None:
        since, self._busy_since = self._busy_since, None
        if self._is_stopped:
            return
        if self._hangs and since is not None:
            self._hangs = False
            self._log.info(
                "{file} answers again, after {seconds} s",
                event="files_answer",
                file=str(self._path),
                seconds=round(self._clock.seconds() - since),
            )
        done(result)
        self._idle()

    def _bug(self, failure: Failure) -> None:
        self._busy_since = None
        what = "a look at the config's files failed"
        self._log.failure("{name}: please report this bug", failure, event="bug", name=what)
        self._idle()


def state_of(path: Path, before: FileState) -> FileState:
    """A value that changes when the file does; None if there is no such file. `before`: what it
    was."""
    try:
        found = path.stat()
    except PermissionError:
        return before  # nobody can say that it has changed
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
