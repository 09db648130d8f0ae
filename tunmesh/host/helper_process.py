"""Does something in a child process, for the sake of what that leaves behind.

To read the config takes pydantic, and to set up the tun device pyroute2, once: 18 MB of modules
that a node has no use for afterwards and would keep for good, as Python gives no module back. In a
child they go with it. What is to stay of the device is a file descriptor, and that can be handed
over (unix(7), SCM_RIGHTS); of the config it is plain values.

    node ── fork ──> child: open_fds()          imports, talks to the kernel
      │ <── descriptors, or one line why not ──┘ exits

Only for the time before the reactor runs: the node waits for it.
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


def open_apart(open_fds: Callable[[], Sequence[int]]) -> Sequence[int]:
    """The file descriptors that `open_fds` returns, called in a child process; at least one.

    Raises the OperatorError that it raises there, and another one if the child dies of anything
    else; what it was then is on standard error.
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


def made_apart(make: Callable[[], bytes]) -> bytes:
    """What `make` returns, called in a child process. Nothing if it raises anything: then the
    caller does the same without a child, and hears why."""
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
    """The child's whole life. It must not return into the copy of the node that it is."""
    try:
        socket.send_fds(parent, [b"\0"], list(open_fds()))
    except OperatorError as error:
        parent.send(str(error).encode()[:_LONGEST])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
