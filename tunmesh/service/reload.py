"""Reading the config, and the files it names, anew while the node runs.

    HUP ──────────────────────────────────────> read, and say so even if nothing has changed
    every LOOK seconds: the files differ,
      and have been still for one LOOK  ──────> read
    before bootstrapping, if so configured:
      the files differ                  ──────> read

What was read is checked as at the start, as a whole. If it is good, the node goes by it from then
on, as far as a running node can; keys that it cannot follow are named. If it is not, everything
stays as it is, that is said once, and it is tried again at every look: a file that was half written
is whole at the next one, and one that could not be read may be allowed meanwhile.

Files are told apart by what stat(2) says of the file that a name leads to, so the symbolic links
that Kubernetes swaps are followed. Their state is taken before they are read, never after: what
changes in between is a change still to be read.

A file may be on a mount whose server is gone: then stat and read hang, and nothing can end them. So
files are touched in a thread of their own (host.file_thread), not in the one that carries packets.
One thing at a time is asked of it; while that hangs no more is, and the log says so once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunmesh.auth.handshake import Key
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.errors import OperatorError
from tunmesh.host import access
from tunmesh.host.file_thread import Runner
from tunmesh.node.settings import Reloadable
from tunmesh.observe.expiry import Countdown

if TYPE_CHECKING:
    from tunmesh.config.keys.serving import Logging
    from tunmesh.config.loading import Config

T = TypeVar("T")

LOOK = 2.0  # seconds
PATIENCE = 10.0  # seconds that a file may take to be looked at before the log says so

FileState: TypeAlias = "tuple[int, ...] | None"
State: TypeAlias = dict[Path, FileState]


@dataclass(frozen=True, slots=True)
class Reading:
    """A config, as plain values (tunmesh.config.plain), and what of it a node may be told anew."""

    config: Config
    reloadable: Reloadable
    doubts: tuple[str, ...] = ()  # what is worth a warning, each as one line

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the config names."""
        return self.config.clustering.auth.files + self.config.control_api.ssl.files


@dataclass(frozen=True, slots=True)
class _Found:
    """What reading the files came to: their state before it, and what is in them or why not."""

    state: State
    reading: Reading | None = None
    fixed: tuple[str, ...] = ()  # keys that differ from those of the start, and need a new one
    why: tuple[str, ...] = ()
    hint: str = ""  # what to do about a file that may not be read


@dataclass(frozen=True, slots=True)
class _Locked:
    """The files that may not be read any more, now that root is gone, and what to do about it."""

    files: tuple[Path, ...]
    hint: str


class Reloader:
    """Keeps a node up to date with its files.

    `first` is what it began with; `read()` reads the files as they are now and raises OperatorError
    when they are no good; `apply(reading)` tells the node; `epoch()` is the time of day, in seconds
    since the epoch. `aside` is where files are touched.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: Path,
        first: Reading,
        read: Callable[[], Reading],
        apply: Callable[[Reading], None],
        epoch: Callable[[], float],
        log: Logger,
        aside: Runner,
    ) -> None:
        self._clock = clock
        self._path = path
        self._first = self._current = first
        self._read = read
        self._apply = apply
        self._epoch = epoch
        self._log = log
        self._aside = aside
        self._taken: State = {}
        self._taken = self._seen = self._state(self.files)
        self._complaint: tuple[str, ...] = ()  # why the last reading was no good
        self._pending: tuple[str, ...] = ()  # the keys that wait for the next start
        self._countdown = Countdown()
        self._timer: IDelayedCall | None = None
        self._busy_since: float | None = None  # something is under way aside
        self._at = path  # what is looked at there
        self._hangs = False  # and that was said
        self._asked: list[Deferred[None]] = []  # by who hung up while something was under way
        self._answering: list[Deferred[None]] = []  # those whom what is under way is for
        self._is_stopped = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read anew."""
        return (self._path, *self._current.files)

    def start(self) -> None:
        """Look after the files from now on."""
        self._timer = self._clock.callLater(LOOK, self._look)
        self._do(partial(_locked, self.files), self._name_locked)
        self._note_expiry()
        self._name_doubts(self._first.doubts)

    def stop(self) -> None:
        self._is_stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def hang_up(self) -> Deferred[None]:
        """Somebody says that something has changed. Tells when it was seen to."""
        done: Deferred[None] = Deferred()
        self._asked.append(done)
        if self._busy_since is None:
            self._answer()
        return done

    def before_bootstrap(self) -> None:
        """The list of those who are about to be dialed may be out of date. Nobody waits for what
        comes of it: that may take long, and new groups are dialed as soon as they are known."""
        if self._current.config.clustering.reload_config_on_bootstrap and self._busy_since is None:
            self._do(partial(self._state, self.files), self._found_before_bootstrap)

    # --- aside: nothing there reads or changes what is here, but for `_at` ---

    def _do(self, job: Callable[[], T], done: Callable[[T], None]) -> None:
        """Have something done aside, one thing at a time."""
        self._busy_since = self._clock.seconds()
        answer = self._aside.run(job)
        answer.addCallback(self._over, done)
        answer.addErrback(self._bug)

    def _over(self, result: T, done: Callable[[T], None]) -> None:
        since, self._busy_since = self._busy_since, None
        if self._is_stopped:
            return
        answering, self._answering = self._answering, []
        if self._hangs and since is not None:
            self._hangs = False
            self._log.info(
                "{file} answers again, after {seconds} s",
                event="files_answer",
                file=str(self._at),
                seconds=round(self._clock.seconds() - since),
            )
        try:
            done(result)
        finally:
            for each in answering:
                each.callback(None)
        if self._asked and self._busy_since is None:
            self._answer()

    def _bug(self, failure: Failure) -> None:
        self._busy_since = None
        what = "a look at the config's files failed"
        self._log.failure("{name}: please report this bug", failure, event="bug", name=what)
        answering, self._answering = self._answering, []
        for each in answering:
            each.callback(None)

    def _state(self, files: Iterable[Path]) -> State:
        state: State = {}
        for path in files:
            self._at = path
            state[path] = state_of(path, self._taken.get(path))
        return state

    def _find(self, files: Iterable[Path]) -> _Found:
        state = self._state(files)
        self._at = self._path
        try:
            from tunmesh.config.changes import fixed_changes

            new = self._read()
        except OperatorError as error:
            return _Found(state, why=tuple(error.lines()), hint=_locked(files).hint)
        except ImportError as error:
            return _Found(state, why=(f"tunmesh itself cannot be read ({error}): start it anew",))
        return _Found(state, new, tuple(fixed_changes(self._first.config, new.config)))

    # --- here ---

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK, self._look)
        if self._busy_since is None:
            self._do(partial(self._state, self.files), self._found)
        elif self._clock.seconds() - self._busy_since >= PATIENCE and not self._hangs:
            self._hangs = True
            self._log.warn(
                "{file}, or what it leads to, does not answer for {patience:g} s: changes of the "
                "config and its files wait until it does, everything else goes on",
                event="files_hang",
                file=str(self._at),
                patience=PATIENCE,
            )
        self._note_expiry()

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

    def _found(self, state: State) -> None:
        was, self._seen = self._seen, state
        if self._complaint:
            self._do(partial(self._find, self.files), self._take_again)
        elif state == was and state != self._taken:
            self._reload()

    def _found_before_bootstrap(self, state: State) -> None:
        if state != self._taken:
            self._reload()

    def _answer(self) -> None:
        """See to all who have hung up."""
        self._complaint, self._pending = (), ()
        self._answering, self._asked = self._asked, []
        self._do(partial(self._find, self.files), self._take_again)

    def _take_again(self, found: _Found) -> None:
        """What was no good when it was read last: if it is now, that is said in any case."""
        if self._take(found) == [] and not self._pending:
            self._log.info("reloaded: nothing has changed", event="reloaded", changed="")

    def _reload(self) -> None:
        self._do(partial(self._find, self.files), self._take_unasked)

    def _take_unasked(self, found: _Found) -> None:
        self._take(found)

    def _take(self, found: _Found) -> list[str] | None:
        """Go by what was read. What has changed; None when the files are no good."""
        self._taken = found.state
        new = found.reading
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


def differences(old: Reading, new: Reading) -> Iterator[str]:
    """What a running node follows of the differences between two readings, in words. Of secrets,
    nothing that is derived from them is said."""
    before, after = old.reloadable, new.reloadable
    if before.keys != after.keys:
        yield f"secret ({', '.join(_secrets(before.keys, after.keys))})"
    if before.credentials.chain != after.credentials.chain:
        until = after.credentials.chain[0].not_valid_after_utc
        yield f"certificate (valid until {until:%Y-%m-%d %H:%M} UTC)"
    if before.credentials.trusted != after.credentials.trusted:
        yield "trusted certificates"
    if before.credentials.verify_hostname != after.credentials.verify_hostname:
        yield f"verify_hostname ({str(after.credentials.verify_hostname).lower()})"
    names = ", ".join(_changed_groups(before.groups, after.groups))
    if names:
        yield f"bootstrap groups ({names})"
    if before.expected_nodes != after.expected_nodes:
        yield f"expected_nodes ({after.expected_nodes or 'none'})"
    if old.config.logging != new.config.logging:
        yield f"logging ({', '.join(_logging(new.config.logging))})"


def _secrets(before: Sequence[Key], after: Sequence[Key]) -> Iterator[str]:
    """What became of the secrets: the one that is offered, those that are accepted as well, and
    those that are not any more."""
    offered, *others = after
    if offered == before[0]:
        yield "offers the same one"
    else:
        yield "offers one that was accepted before" if offered in before else "offers a new one"
    new = sum(key not in before for key in others)
    known = len(others) - new
    if new:
        yield f"also accepts {new} new"
    if known:
        yield f"still accepts {known} other{'s' * (known != 1)}"
    gone = sum(key not in after for key in before)
    if gone:
        yield f"revokes {gone}"


def _logging(logging: Logging) -> Iterator[str]:
    yield logging.level
    yield logging.format
    yield from (f"{part} {level}" for part, level in logging.levels.items())


def _changed_groups(
    before: Iterable[GroupSettings], after: Iterable[GroupSettings]
) -> Iterator[str]:
    old, new = ({group.name: group for group in groups} for groups in (before, after))
    yield from (f"{name} new" for name in new.keys() - old.keys())
    yield from (f"{name} changed" for name in old.keys() & new.keys() if old[name] != new[name])
    yield from (f"{name} gone" for name in old.keys() - new.keys())


def _locked(files: Iterable[Path]) -> _Locked:
    locked = tuple(path for path in files if access.obstacle(path) is not None)
    hint = access.remedy(locked[0], os.geteuid(), os.getegid()) if locked else ""
    return _Locked(locked, hint)


def state_of(path: Path, before: FileState) -> FileState:
    """What tells whether a file has changed; None if there is none. `before`: what it was."""
    try:
        found = path.stat()
    except PermissionError:
        return before  # nobody can say that it has changed
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
