"""Reading the config, and the files it names, anew while the node runs.

    HUP ──────────────────────────────────────> read, and say so even if nothing has changed
    every LOOK seconds: the files differ,
      and did not change for one LOOK  ───────> read
    before bootstrapping, if so configured:
      the files differ                  ──────> read

What was read is checked as a whole, as at the start. If it is good, the node goes by it from then
on, as far as a running node can; changed keys that it cannot follow are named. If it is not,
nothing changes, that is logged once, and the files are read again at every look: a file that was
half written is whole by then, and access that was denied may have been granted.

A file has changed when stat(2) says so of what its name leads to, so the symbolic links that
Kubernetes swaps are followed. The states of files are taken before they are read, never after: what
changes in between is found by the next look.

A file may be on a mount whose server is gone: then stat and read hang, and nothing can interrupt
them. So files are only touched in a thread of their own (service.file_watch).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tunmesh.errors import OperatorError
from tunmesh.host import access
from tunmesh.host.file_thread import Runner
from tunmesh.observe.expiry import Countdown
from tunmesh.service.differences import differences
from tunmesh.service.file_watch import FileWatch, State
from tunmesh.service.load import LoadedConfig
from tunmesh.timers import Timer

LOOK = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of reading the files: their states before it, and what is in them or why not."""

    state: State
    loaded: LoadedConfig | None = None
    fixed: tuple[str, ...] = ()  # keys that differ from those of the start, and need a restart
    why: tuple[str, ...] = ()
    hint: str = ""  # what to do about a file that may not be read


@dataclass(frozen=True, slots=True)
class _Locked:
    """Files that may not be read any more, now that root is gone, and what to do about it."""

    files: tuple[Path, ...]
    hint: str


class Reloader:
    """Keeps a node up to date with its files.

    `first` is what it started with; `load()` reads the files as they are now and raises
    OperatorError when they are no good; `apply(loaded)` tells the node; `epoch()` is the time of
    day, in seconds since the epoch. `runner` is where files are touched.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: Path,
        first: LoadedConfig,
        load: Callable[[], LoadedConfig],
        apply: Callable[[LoadedConfig], None],
        epoch: Callable[[], float],
        log: Logger,
        runner: Runner,
    ) -> None:
        self._path = path
        self._first = self._current = first
        self._load = load
        self._apply = apply
        self._epoch = epoch
        self._log = log
        self._watch = FileWatch(clock, path, runner, log, self._idle)
        self._read: State = self._watch.states(self.files, {})  # when the files were read last
        self._seen = self._read  # at the last look
        self._complaint: tuple[str, ...] = ()  # why the files were no good when they were read last
        self._pending: tuple[str, ...] = ()  # the keys that wait for a restart
        self._countdown = Countdown()
        self._timer = Timer(clock)
        self._asked: list[Deferred[None]] = []  # HUPs that came while a job was running
        self._answering: list[Deferred[None]] = []  # those that the running job is for

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return (self._path, *self._current.files)

    def notes(self) -> tuple[str, ...]:
        """What people are to know for as long as it is so: that the files are no good, or differ
        from what the node goes by."""
        wrong = tuple(f"not reloaded, everything stays as it was: {why}" for why in self._complaint)
        if not self._pending:
            return wrong
        keys = ", ".join(self._pending)
        return (*wrong, f"changed in the config, but takes effect at the next start: {keys}")

    def start(self) -> None:
        """Look at the files from now on."""
        self._timer.start(LOOK, self._look)
        self._watch.run(partial(_locked, self.files), self._name_locked)
        self._note_expiry()
        self._name_doubts(self._first.doubts)

    def stop(self) -> None:
        self._watch.stop()
        self._timer.stop()

    def hang_up(self) -> Deferred[None]:
        """HUP: something has changed, or may be read now. Fires when the files have been read."""
        done: Deferred[None] = Deferred()
        self._asked.append(done)
        if not self._watch.is_busy:
            self._answer()
        return done

    def before_bootstrap(self) -> None:
        """Bootstrap URLs are about to be dialed and may be out of date. Nobody waits for the
        result: that may take long, and new groups are dialed as soon as they are known."""
        if self._current.config.clustering.reload_config_on_bootstrap and not self._watch.is_busy:
            self._watch.run(self._states, self._seen_before_bootstrap)

    # --- in the thread: this changes nothing ---

    def _states(self) -> State:
        return self._watch.states(self.files, self._read)

    def _find(self) -> _Found:
        state = self._states()
        self._watch.looking_at(self._path)
        try:
            from tunmesh.config.changes import fixed_changes

            new = self._first.followed_by(self._load())
        except OperatorError as error:
            return _Found(state, why=tuple(error.lines()), hint=_locked(self.files).hint)
        except ImportError as error:
            return _Found(state, why=(f"tunmesh itself cannot be read ({error}): restart it",))
        return _Found(state, new, tuple(fixed_changes(self._first.config, new.config)))

    # --- in the reactor's thread ---

    def _idle(self) -> None:
        """A job is done."""
        answering, self._answering = self._answering, []
        for each in answering:
            each.callback(None)
        if self._asked and not self._watch.is_busy:
            self._answer()

    def _answer(self) -> None:
        """Read the files for all HUPs that have come."""
        self._complaint, self._pending = (), ()
        self._answering, self._asked = self._asked, []
        self._watch.run(self._find, self._take_again)

    def _look(self) -> None:
        self._timer.start(LOOK, self._look)
        if self._watch.is_busy:
            self._watch.check()
        else:
            self._watch.run(self._states, self._looked)
        self._note_expiry()

    def _looked(self, state: State) -> None:
        was, self._seen = self._seen, state
        if self._complaint:
            self._watch.run(self._find, self._take_again)
        elif state == was and state != self._read:
            self._watch.run(self._find, self._take)

    def _seen_before_bootstrap(self, state: State) -> None:
        if state != self._read:
            self._watch.run(self._find, self._take)

    def _take_again(self, found: _Found) -> None:
        """The files were no good, or somebody asked: that they are good now is logged anyway."""
        if self._take(found) == [] and not self._pending:
            self._log.info("reloaded: nothing has changed", event="reloaded", changed="")

    def _take(self, found: _Found) -> list[str] | None:
        """Go by what was read. Returns what has changed; None when the files are no good."""
        self._read = found.state
        new = found.loaded
        if new is None:
            self._complain(found)
            return None
        self._complaint = ()
        changed = list(differences(self._current, new))
        self._name_doubts(doubt for doubt in new.doubts if doubt not in self._current.doubts)
        self._current = new
        if changed:
            self._apply(new)
            what = "; ".join(changed)
            self._log.info("reloaded: {changed}", event="reloaded", changed=what)
        self._name_fixed(found.fixed)
        return changed

    # --- the log ---

    def _complain(self, found: _Found) -> None:
        if found.why == self._complaint:
            return
        self._complaint = found.why
        for why in found.why:
            is_denied = found.hint and os.strerror(errno.EACCES) in why
            self._log.warn(
                "not reloaded, everything stays as it was: {why}{hint}",
                event="reload_failed",
                why=why,
                hint=f"; {found.hint}" if is_denied else "",
            )

    def _name_doubts(self, doubts: Iterable[str]) -> None:
        for doubt in doubts:
            self._log.warn("{doubt}", event="doubtful_config", doubt=doubt)

    def _name_locked(self, locked: _Locked) -> None:
        if locked.files:
            self._log.info(
                "changes take effect at the next start only in {files}: {hint}",
                event="not_reloadable",
                hint=locked.hint,
                files=", ".join(map(str, locked.files)),
            )

    def _name_fixed(self, keys: tuple[str, ...]) -> None:
        if keys and keys != self._pending:
            self._log.warn(
                "changed, but takes effect at the next start: {keys}",
                event="restart_needed",
                keys=", ".join(keys),
            )
        self._pending = keys

    def _note_expiry(self) -> None:
        expiry = self._current.reloadable.credentials.expiry
        due = self._countdown.due(expiry, self._epoch())
        if due is not None:
            path = self._current.config.control_api.ssl.cert_file_path
            self._log.warn(
                "{file}: the certificate {due}, renew it",
                event="certificate_expires",
                file=str(path),
                due=due,
            )


def _locked(files: Iterable[Path]) -> _Locked:
    locked = tuple(path for path in files if access.obstacle(path) is not None)
    hint = access.remedy(locked[0], os.geteuid(), os.getegid()) if locked else ""
    return _Locked(locked, hint)
