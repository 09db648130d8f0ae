"""Starts the helper process, before the node gives up its privileges."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import tunmesh
from tunmesh.assigner import wire
from tunmesh.assigner.allowance import Device
from tunmesh.errors import OperatorError
from tunmesh.host import privileges

_PROGRAM = "assigner/__main__.py"
_DEADLINE = 60.0  # seconds; it is a tenth of one on an idle machine


def start(uid: int, gid: int, index: int, device: Device) -> tuple[socket.socket, str]:
    """Start the helper for the device with this index, which is set up as `device` says. Returns
    the socket to it, and why its system calls are not filtered ("" if they are). Raises
    OperatorError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [str(uid), str(gid), str(index), *device.arguments]
    try:
        child = os.fork()
    except OSError as error:
        ours.close()
        theirs.close()
        raise OperatorError(
            f"cannot start the helper process for the device: {error.strerror}; is the number of "
            "processes limited?"
        ) from None
    if child == 0:
        _become(theirs, arguments)
    theirs.close()
    ours.settimeout(_DEADLINE)
    try:
        code, why = wire.read_answer(ours.recv(wire.MAX_ANSWER))
    except (OSError, ValueError):
        ours.close()
        raise OperatorError(
            "the helper process for the device does not start: see what it wrote to standard error"
        ) from None
    if code:
        ours.close()
        raise OperatorError(f"the helper process for the device: {why}")
    ours.setblocking(False)
    return ours, why


def _become(theirs: socket.socket, arguments: Sequence[str]) -> NoReturn:
    """In the new process. Its memory is that of the node until it executes Python anew."""
    try:
        # They would reach it together with the node (from a terminal, or systemd), before that has
        # left its mesh. The mask is inherited.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with suppress(OSError):  # root has them all the same
            privileges.keep_across_exec()
        os.dup2(theirs.fileno(), 0)
        # Isolated from the environment, in which there may be secrets; without site-packages.
        program = str(Path(tunmesh.__file__).parent / _PROGRAM)
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        os.execve(sys.executable, [sys.executable, "-ISB", program, *arguments], kept)  # noqa: S606
    except BaseException as error:
        os.write(2, f"the helper process does not start: {error}\n".encode())
    finally:
        os._exit(1)
