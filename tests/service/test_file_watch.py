"""Files that do not answer: the node does not wait for them."""

from __future__ import annotations

from threading import Event, get_ident
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from tests.service.reload_case import OTHER, ReloadCase
from tunmesh.host.file_thread import FileThread
from tunmesh.service.file_watch import PATIENCE
from tunmesh.service.reload import LOOK

reactor: Any = trial_reactor


class HungMount(ReloadCase):
    """Files on a file system that hangs, perhaps for ever."""

    def test_said_once(self) -> None:
        """A hanging file is logged once, with its name, and nothing queues up behind it; when it
        answers, that is logged and changes are applied."""
        self.thread.hangs = True
        self.swap(secret=OTHER.encode())
        self.pass_time(PATIENCE)
        self.assertEqual(self.events, [])
        self.pass_time(100)
        (text,) = self.texts()
        self.assertTrue(text.startswith(f"{self.path}, or what it leads to, does not answer"), text)
        self.assertEqual(len(self.thread.waiting), 1)
        self.thread.go_on()
        self.pass_time()
        _, answers, reloaded = self.texts()
        self.assertIn("answers again, after 1", answers)
        self.assertIn("reloaded: secret", reloaded)
        self.thread.hangs = True
        self.pass_time(2 * PATIENCE)
        self.assertEqual(len(self.named("files_hang")), 2)

    def test_asked_meanwhile(self) -> None:
        """HUPs that come while a file hangs are answered when it does no longer, by reading the
        files once."""
        self.thread.hangs = True
        self.pass_time(LOOK)
        answers = [self.reloader.hang_up() for _ in range(3)]
        self.reloader.before_bootstrap()
        self.pass_time(PATIENCE)
        self.assertEqual(len(self.thread.waiting), 1)
        self.assertNoResult(answers[0])
        self.thread.go_on()
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(self.named("reloaded"), ["reloaded: nothing has changed"])

    def test_stopped_meanwhile(self) -> None:
        """After the node has left, the result is ignored."""
        self.thread.hangs = True
        self.swap(secret=OTHER.encode())
        answer = self.reloader.hang_up()
        self.reloader.stop()
        self.thread.go_on()
        self.assertEqual(self.applied, [])
        self.assertNoResult(answer)

    def test_bug(self) -> None:
        """A bug of ours is logged, a waiting HUP is answered, and the files are watched further."""
        self.patch(self.reloader, "_find", lambda _files: 1 // 0)
        self.successResultOf(self.reloader.hang_up())
        self.assertEqual([event["event"] for event in self.events], ["bug"])


class Hanging(unittest.TestCase):
    """The thread for calls that may hang."""

    async def test_order(self) -> None:
        """Functions run one after the other in one thread, which is not the reactor's. One that
        hangs delays those after it and nothing else."""
        aside, held, log = FileThread(reactor, "test"), Event(), list[str]()

        def hang() -> int:
            log.append("hangs")
            held.wait()
            return get_ident()

        first, second = aside.run(hang), aside.run(get_ident)
        third = aside.run(lambda: 1 // 0)
        while not log:
            await _turn()
        for _ in range(100):
            await _turn()
        self.assertFalse(first.called or second.called)
        held.set()
        thread = await first
        self.assertNotEqual(thread, get_ident())
        self.assertEqual(await second, thread)
        with self.assertRaises(ZeroDivisionError):
            await third


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.001, turned.callback, None)
    return turned
