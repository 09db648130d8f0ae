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
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tunmesh import access
from tunmesh.bootstrap import GroupSettings
from tunmesh.config import Config
from tunmesh.config.changes import fixed_changes
from tunmesh.config.keys import Logging
from tunmesh.errors import OperatorError
from tunmesh.expiry import Countdown
from tunmesh.handshake import Key
from tunmesh.node import Reloadable

LOOK = 2.0  # seconds

State: TypeAlias = "dict[Path, tuple[int, ...] | None]"


@dataclass(frozen=True, slots=True)
class Reading:
    """A config, and what of it a node may be told anew."""

    config: Config
    reloadable: Reloadable
    doubts: tuple[str, ...] = ()  # what is worth a warning, each as one line

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the config names."""
        return self.config.clustering.auth.files + self.config.control_api.ssl.files


class Reloader:
    """Keeps a node up to date with its files.

    `first` is what it began with; `read()` reads the files as they are now and raises OperatorError
    when they are no good; `apply(reading)` tells the node; `epoch()` is the time of day, in seconds
    since the epoch.
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
    ) -> None:
        self._clock = clock
        self._path = path
        self._first = self._current = first
        self._read = read
        self._apply = apply
        self._epoch = epoch
        self._log = log
        self._taken: State = {}
        self._taken = self._seen = self._state()
        self._complaint: list[str] = []  # why the last reading was no good
        self._pending: list[str] = []  # the keys that wait for the next start
        self._countdown = Countdown()
        self._timer: IDelayedCall | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is read anew."""
        return (self._path, *self._current.files)

    def start(self) -> None:
        """Look after the files from now on."""
        locked = self._locked()
        if locked:
            self._log.info(
                "changes take effect at the next start only in {files}: {hint}",
                event="not_reloadable",
                hint=_hint(locked[0]),
                files=", ".join(map(str, locked)),
            )
        self._name_doubts(self._first.doubts)
        self._look()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def hang_up(self) -> None:
        """Somebody says that something has changed."""
        self._complaint, self._pending = [], []
        if self._reload() == [] and not self._pending:
            self._nothing_changed()

    def _nothing_changed(self) -> None:
        self._log.info("reloaded: nothing has changed", event="reloaded", changed="")

    def before_bootstrap(self) -> None:
        """The list of those who are about to be dialed may be out of date."""
        wanted = self._current.config.clustering.reload_config_on_bootstrap
        if wanted and self._state() != self._taken:
            self._reload()

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK, self._look)
        was, self._seen = self._seen, self._state()
        if self._complaint:
            if self._reload() == [] and not self._pending:
                self._nothing_changed()  # the last that was said is that they cannot be read
        elif self._seen == was and self._seen != self._taken:
            self._reload()
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

    def _locked(self) -> list[Path]:
        """The files that may not be read any more, now that root is gone."""
        return [path for path in self.files if access.obstacle(path) is not None]

    def _state(self) -> State:
        return {path: self._state_of(path) for path in self.files}

    def _state_of(self, path: Path) -> tuple[int, ...] | None:
        try:
            found = path.stat()
        except PermissionError:
            return self._taken.get(path)  # nobody can say that it has changed
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _reload(self) -> list[str] | None:
        """What has changed; None when the files are no good."""
        self._taken = self._state()
        try:
            new = self._read()
        except OperatorError as error:
            self._complain(error.lines())
            return None
        self._complaint = []
        changed = list(differences(self._current, new))
        self._name_doubts(doubt for doubt in new.doubts if doubt not in self._current.doubts)
        self._current = new
        if changed:
            self._apply(new)
            what = "; ".join(changed)
            self._log.info("reloaded: {changed}", event="reloaded", changed=what)
        self._name_fixed(fixed_changes(self._first.config, new.config))
        return changed

    def _complain(self, reasons: list[str]) -> None:
        if reasons == self._complaint:
            return
        self._complaint = reasons
        locked = self._locked()
        for why in reasons:
            is_denied = locked and os.strerror(errno.EACCES) in why
            hint = f"; {_hint(locked[0])}" if is_denied else ""
            self._log.warn(
                "not reloaded, everything stays as it was: {why}{hint}",
                event="reload_failed",
                why=why,
                hint=hint,
            )

    def _name_doubts(self, doubts: Iterable[str]) -> None:
        for doubt in doubts:
            self._log.warn("{doubt}", event="doubtful_config", doubt=doubt)

    def _name_fixed(self, keys: list[str]) -> None:
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


def _hint(path: Path) -> str:
    return access.remedy(path, os.geteuid(), os.getegid())
