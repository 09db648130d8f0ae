"""Errors of ours that must not stop what they happened in. They are logged with their trace, as
event `bug`, and the caller goes on.

For one of several things that are done in turn, and where an exception would end something that
has to go on for ever, such as dialing. (Twisted's LoopingCall and TimerService stop at the first
exception; our timers are set again before they do anything.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger(namespace="tunmesh")


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Log and swallow what is raised inside. `what`: what that means for the node."""
    try:
        yield
    except Exception:
        _log.failure("{name}: please report this bug", event="bug", name=what)


def caught(what: str) -> Callable[[Exception], None]:
    """The same for an exception that was caught elsewhere."""

    def log(error: Exception) -> None:
        _log.failure("{name}: please report this bug", Failure(error), event="bug", name=what)

    return log
