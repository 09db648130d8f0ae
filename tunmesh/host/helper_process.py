"""Runs set-up work in a child process, so that its memory is released.

Reading the config needs pydantic, and setting up the tun device needs pyroute2, once: 18 MB of
modules that a node never uses again, and Python does not unload modules. In a child they go away
with it. What remains of the device is a file descriptor, which can be passed (unix(7),
SCM_RIGHTS); what remains of the config is plain values.

    node ── fork ──> child: open_fds()          imports, talks to the kernel
      │ <── descriptors, or one line why not ──┘ exits

For use before the reactor runs only: the node blocks until the child is done.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from tunmesh.errors import OperatorError

_LONGEST = 4096  # bytes of the line
_MOST = 8  # descriptors


def open_in_child(open_fds: Callable[[], Sequence[int]]) -> Sequence[int]:
    """Call `open_fds` in a child process and return the file descriptors (at least one).

    An OperatorError in the child is raised here. If the child dies of anything else, the traceback
    is on standard error and another OperatorError is raised.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _serve(open_fds, theirs)
    theirs.close()
    with ours:
        line, fds, *_ = socket.recv_fds(ours, _LONGEST, _MOST)
    os.waitpid(child, 0)
    if not fds:
        raise OperatorError(line.decode(errors="replace") or "the set-up ended without a result")
    for fd in fds:
        os.set_inheritable(fd, False)  # Python does that for all but these
    return fds


def run_in_child(make: Callable[[], bytes]) -> bytes:
    """Call `make` in a child process and return its result, or b"" if it raised: the caller then
    does the same without a child and gets the exception."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        gc.disable()  # it would write to each page, and the kernel make a copy of that
        with suppress(BaseException), os.fdopen(writing, "wb", closefd=False) as out:
            out.write(make())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as whole:
        made = whole.read()
    _, status = os.waitpid(child, 0)
    return b"" if status else made


def _serve(open_fds: Callable[[], Sequence[int]], parent: socket.socket) -> NoReturn:
    """Everything that the child does. It must not return: it is a copy of the node."""
    try:
        socket.send_fds(parent, [b"\0"], list(open_fds()))
    except OperatorError as error:
        parent.send(str(error).encode()[:_LONGEST])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
