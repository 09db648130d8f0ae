"""Reads and checks the config and the files that it names: at the start in a child process, later
in this one."""

from __future__ import annotations

import os
import pickle
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tunmesh.addresses import Network
from tunmesh.config.values import Automatic
from tunmesh.errors import OperatorError
from tunmesh.host import access, heap
from tunmesh.host.helper_process import run_in_child
from tunmesh.node.settings import Reloadable
from tunmesh.service.settings import reloadable_of

if TYPE_CHECKING:
    from tunmesh.config.loading import Config

_SEED = random.random()  # noqa: S311


def _draw(low: float, high: float) -> float:
    """A value in a range that the config gives; the same one each time the config is read, also by
    a child process."""
    return random.Random(f"{_SEED} {low} {high}").uniform(low, high)  # noqa: S311


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A config, as plain values (config.plain), and what of it a running node can follow."""

    config: Config
    reloadable: Reloadable
    doubts: tuple[str, ...] = ()  # what is worth a warning, each as one line

    def followed_by(self, new: LoadedConfig) -> LoadedConfig:
        """The new config as far as a node that started with this one can follow what it says of the
        device: not without a helper process, nor to addresses in other networks or families."""
        first, device = self.config.networking, self.reloadable.device
        if first.has_helper:
            same = _places(self.config) == _places(new.config)
            addresses = new.reloadable.device.addresses if same else device.addresses
            device = replace(new.reloadable.device, addresses=addresses)
        return replace(new, reloadable=replace(new.reloadable, device=device))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the config names."""
        return self.config.clustering.auth.files + self.config.control_api.ssl.files


def _places(config: Config) -> list[tuple[Network, bool]]:
    """Where the addresses of a node are: the networks, and whether it chooses one there itself."""
    return [
        (each.network_cidr, isinstance(each.node_address_cidr, Automatic))
        for each in config.networking.families
    ]


def load(path: Path) -> LoadedConfig:
    """Read the config and the files that it names. Raises OperatorError when they are no good."""
    return _with_files(*_checked(path))


def _with_files(config: Config, doubts: tuple[str, ...]) -> LoadedConfig:
    loaded = LoadedConfig(config, reloadable_of(config), doubts)
    heap.trim()
    return loaded


class _UnusableError(OperatorError):
    """All that a child process found wrong."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self._lines = lines

    def lines(self) -> list[str]:
        return self._lines


def load_in_child(path: Path, meanwhile: Callable[[], object] = lambda: None) -> LoadedConfig:
    """Like `load`, but a child process checks the config, so that the memory which that takes is
    released, and `meanwhile` is called in this one. This process imports what it needs for that at
    the first reload; modules that it will not be allowed to read by then, since root is gone, are
    imported now."""
    made = run_in_child(partial(_pickled, path), meanwhile)
    if not made:  # what the child died of shows here
        return load(path)
    found = pickle.loads(made)  # noqa: S301 (a child of ours made it)
    if isinstance(found, list):
        raise _UnusableError(found)
    config, doubts, unreadable = found
    for name in unreadable:
        import_module(name)
    return _with_files(config, doubts)


def _checked(path: Path) -> tuple[Config, tuple[str, ...]]:
    """The config, as plain values, and what is doubtful in it."""
    from tunmesh.config.lint.lint import lint
    from tunmesh.config.loading import ConfigError
    from tunmesh.config.plain import plain

    findings = lint(path, os.environ, _draw, time.time(), with_networks=False, with_port=False)
    if findings.config is None:
        raise ConfigError(path, findings.errors)
    return plain(findings.config), tuple(problem.at(path) for problem in findings.doubts)


def _pickled(path: Path) -> bytes:
    """What the child process gives to its parent: the config, its doubts, and those of the modules
    imported for it which the uid and gid of the node may not read; or all that is wrong with the
    config, as lines."""
    known = set(sys.modules)
    try:
        config, doubts = _checked(path)
    except OperatorError as error:
        return pickle.dumps(complaints(path, error))
    import tunmesh.config.changes  # noqa: F401 (a reload needs it)

    can = access.as_user(config.process.uid, config.process.gid)
    unreadable = [name for name in sys.modules.keys() - known if not _can_import(name, can)]
    return pickle.dumps((config, doubts, sorted(unreadable)))


def _can_import(name: str, can: access.Can) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    if file is None:
        return True
    path = Path(file)
    return _can_look_into(path.parent, can) and can(path, os.R_OK)


@cache  # there are hundreds of modules in some directories
def _can_look_into(directory: Path, can: access.Can) -> bool:
    return access.obstacle(directory, can) is None and can(directory, os.X_OK)


def complaints(path: Path, error: OperatorError) -> list[str]:
    """All that is wrong with a config that `load` refused with this error, in the words of
    `tunmesh config check`."""
    if isinstance(error, _UnusableError):
        return error.lines()
    from tunmesh.config.lint.lint import lint

    try:
        findings = lint(path, os.environ, _draw, time.time())
    except OperatorError as all_there_is:
        return all_there_is.lines()
    return [problem.at(path) for problem in findings.errors] or error.lines()
