"""An error of ours that must not stop what it happened in: it is logged, with its trace, as event
`bug`, and whoever called goes on.

To be used around one of several things that are done in turn, and where the end of a chain of
calls would be the end of something that is to go on for ever: dialing, grooming. Twisted's
LoopingCall and TimerService end at the first exception; our timers set themselves anew before they
do anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger(namespace="tunmesh")


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Log what is raised inside, with `what` it means for the node, and swallow it."""
    try:
        yield
    except Exception:
        _log.failure("{name}: please report this bug", event="bug", name=what)


def caught(what: str) -> Callable[[Exception], None]:
    """The same for an exception that somebody else has caught."""

    def log(error: Exception) -> None:
        _log.failure("{name}: please report this bug", Failure(error), event="bug", name=what)

    return log
