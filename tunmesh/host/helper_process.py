"""Runs set-up work in a child process, so that its memory is released.

Reading the config needs pydantic: 10 MB of modules that a node does not use again until a reload,
and Python does not unload modules. In a child they go away with it. What remains of the config is
plain values.

For use before the reactor runs only: the node blocks until the child is done. It can do something
else meanwhile, on another processor: it imports the node.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress


def run_in_child(
    make: Callable[[], bytes], meanwhile: Callable[[], object] = lambda: None
) -> bytes:
    """Call `make` in a child process, and `meanwhile` in this one. Returns the result of `make`, or
    b"" if it raised or there can be no more processes: the caller then does without a child, and
    gets the exception."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        # As whoever started this process had it: then nobody is told how a child has ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        meanwhile()
        return b""
    if child == 0:
        gc.disable()  # it would write to each page, and the kernel make a copy of that
        with suppress(BaseException), os.fdopen(writing, "wb", closefd=False) as out:
            out.write(make())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as whole:
        meanwhile()
        made = whole.read()
    _, status = os.waitpid(child, 0)
    return b"" if status else made
