"""Does something in a child process, for the sake of what that leaves behind.

To read the config takes pydantic, and to set up the tun device pyroute2, once: 18 MB of modules
that a node has no use for afterwards and would keep for good, as Python gives no module back. In a
child they go with it. What is to stay of the device is a file descriptor, and that can be handed
over (unix(7), SCM_RIGHTS); of the config it is plain values.

    node ── fork ──> child: open_fd()          imports, talks to the kernel
      │ <── descriptor, or one line why not ──┘ exits

Only for the time before the reactor runs: the node waits for it.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tunmesh.errors import OperatorError

_LONGEST = 4096  # bytes of the line


def open_apart(open_fd: Callable[[], int]) -> int:
    """The file descriptor that `open_fd` returns, called in a child process.

    Raises the OperatorError that it raises there, and another one if the child dies of anything
    else; what it was then is on standard error.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _serve(open_fd, theirs)
    theirs.close()
    with ours:
        line, fds, *_ = socket.recv_fds(ours, _LONGEST, 1)
    os.waitpid(child, 0)
    if not fds:
        raise OperatorError(line.decode(errors="replace") or "the set-up ended without a result")
    os.set_inheritable(fds[0], False)  # Python does that for all but these
    return fds[0]


def made_apart(make: Callable[[], bytes]) -> bytes:
    """What `make` returns, called in a child process. Nothing if it raises anything: then the
    caller does the same without a child, and hears why."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException), os.fdopen(writing, "wb", closefd=False) as out:
            out.write(make())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as whole:
        made = whole.read()
    _, status = os.waitpid(child, 0)
    return b"" if status else made


def _serve(open_fd: Callable[[], int], parent: socket.socket) -> NoReturn:
    """The child's whole life. It must not return into the copy of the node that it is."""
    try:
        socket.send_fds(parent, [b"\0"], [open_fd()])
    except OperatorError as error:
        parent.send(str(error).encode()[:_LONGEST])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
