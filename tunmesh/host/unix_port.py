"""A Unix socket that only its owner can connect to."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from tunmesh.errors import OperatorError

BACKLOG = 16

# What helps when the socket cannot be had.
_ELSEWHERE = "choose a directory that can be written to, such as a tmpfs, or null for no socket"
_HELPS = {
    errno.EADDRINUSE: "give each node a path of its own",
    errno.EEXIST: "remove that, or choose another path",
}


class _Port(unix.Port):
    """A socket whose mode comes from the umask. Twisted's own port sets the mode by path, on
    whatever is there by then; where others can write to the directory, they choose what that is.
    At the end the socket is removed only if that is still permitted: privileges are gone then."""

    def __init__(self, path: Path, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(os.fsencode(path), factory, BACKLOG, reactor=reactor)
        self._path = path
        self._factory = factory

    def startListening(self) -> None:
        opened = self.createInternetSocket()
        try:
            opened.bind(os.fsencode(self._path))
            opened.listen(self.backlog)
        except OSError as error:
            opened.close()
            raise CannotListenError(None, self._path, error) from None
        self._factory.doStart()
        self.connected, self.socket = True, opened
        self.fileno = opened.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100  # in one turn of the reactor, as Twisted's own
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        tcp.Port.connectionLost(self, reason)


def listen(reactor: Any, path: Path, factory: IProtocolFactory) -> IListeningPort:
    """Listen on a Unix socket at `path` that only this user can open. Its directory is created if
    needed.

    A socket left behind by a node is replaced. Raises OperatorError if the path cannot be used.
    """
    port: IListeningPort = _Port(path, factory, reactor)
    mask = os.umask(0o022)
    try:
        _clear(path)
        os.umask(0o177)  # there is no moment in which others could connect
        port.startListening()
    except CannotListenError as error:
        raise _unavailable(path, error.socketError) from None
    except OSError as error:
        raise _unavailable(path, error) from None
    finally:
        os.umask(mask)
    return port


def _unavailable(path: Path, error: OSError) -> OperatorError:
    helps = _HELPS.get(error.errno or 0, _ELSEWHERE)
    why = error.strerror or error
    return OperatorError(f"admin/socket: cannot listen at {path}: {why}; {helps}")


def _clear(path: Path) -> None:
    """Create the directory, and remove a socket that nobody listens on. Raises OSError if
    something else is there."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "there is something else that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener that never accepts would block us for ever
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another node listens there")
