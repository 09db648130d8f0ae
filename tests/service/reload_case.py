"""The files of a node, which change while it runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial import unittest

from tests.support.certificates import DAY, Holder
from tests.support.configs import MINIMAL, SECRET
from tunmesh.service.load import LoadedConfig, load
from tunmesh.service.reload import LOOK, Reloader

T = TypeVar("T")
reactor: Any = trial_reactor

OTHER = "another-secret-that-is-long-enough-for-this"
ENOUGH = 3 * LOOK  # to see a change, see that it is still, and act


class FakeThread:
    """Runs functions at once or, while it `hangs`, when it may go on."""

    def __init__(self) -> None:
        self.hangs = False
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        if not self.hangs:
            return maybeDeferred(function)
        answer: Deferred[T] = Deferred()
        self.waiting.append((function, answer))
        return answer

    def go_on(self) -> None:
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for function, answer in waiting:
            maybeDeferred(function).chainDeferred(answer)


class ReloadCase(unittest.SynchronousTestCase):
    """The files of a node as Kubernetes mounts them: symbolic links into a directory that is
    replaced as a whole."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.versions = 0
        mesh = Holder("mesh", end=365 * DAY)
        self.contents: dict[str, bytes] = {
            "config.yaml": MINIMAL.replace(f"secret: {SECRET}", "secret_file: secret").encode(),
            "cert.pem": mesh.pem(),
            "key.pem": mesh.key_pem(),
            "secret": SECRET.encode(),
        }
        for name in self.contents:
            (self.directory / name).symlink_to(f"..data/{name}")
        self.swap()
        self.clock = Clock()
        self.now = time.time()
        self.events: list[LogEvent] = []
        self.applied: list[LoadedConfig] = []
        self.path = self.directory / "config.yaml"
        self.begin()

    def begin(self) -> None:
        """As at the start of a node."""
        keep: Any = self.events.append
        self.thread = FakeThread()
        self.reloader = Reloader(
            self.clock,
            self.path,
            load(self.path),
            lambda: load(self.path),
            self.applied.append,
            lambda: self.now,
            Logger(namespace="tunmesh", observer=keep),
            self.thread,
        )
        self.reloader.start()

    def tearDown(self) -> None:
        self.reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for text in self.texts():
            self.assertNotIn(SECRET, text)
            self.assertNotIn(OTHER, text)

    def swap(self, **contents: bytes) -> None:
        """Replace all files at once; names with _ for the dot."""
        self.contents |= {name.replace("_", "."): data for name, data in contents.items()}
        self.versions += 1
        version = self.directory / f"..{self.versions}"
        version.mkdir()
        for name, data in self.contents.items():
            (version / name).write_bytes(data)
        (self.directory / "..new").symlink_to(version.name)
        (self.directory / "..new").rename(self.directory / "..data")
        if self.versions > 1:
            shutil.rmtree(self.directory / f"..{self.versions - 1}")

    def config(self, old: str, new: str) -> None:
        """Replace a piece of the config."""
        text = self.contents["config.yaml"].decode()
        self.assertEqual(text.count(old), 1)
        self.swap(config_yaml=text.replace(old, new).encode())

    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def named(self, event: str) -> list[str]:
        return [formatEvent(each) for each in self.events if each["event"] == event]

    def pass_time(self, seconds: float = ENOUGH) -> None:
        self.clock.pump([LOOK / 4] * round(4 * seconds / LOOK))
