"""One thread for file access that may block for ever: stat(2) and read(2) on a mount whose server
is gone.

Nothing can interrupt such a call. A thread pool would be used up by hung calls one by one, so there
is a single thread that may hang; later calls wait behind it. The end of the process does not.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")


class Runner(Protocol):
    """Runs functions outside the reactor's thread, in order."""

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Fires with what the function returns or raises."""


class FileThread:
    """A thread that starts with the first function."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._thread: Thread | None = None
        self._queue: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]]] = SimpleQueue()

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        answer: Deferred[T] = Deferred()
        self._queue.put((function, answer))
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return answer

    def _work(self) -> None:
        while True:
            function, answer = self._queue.get()
            try:
                result = function()
            except BaseException:
                result = Failure()
            # A Failure makes it an errback.
            self._reactor.callFromThread(answer.callback, result)
