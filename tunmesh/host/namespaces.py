"""Anonymous network namespaces: each exists as long as a process holds its file descriptor.

Nothing is mounted under /run/netns, so nothing can be left behind: when the process that made the
namespaces ends, however it ends, the kernel removes them with every device in them.

A namespace is a property of a thread. `with namespace:` moves the calling thread into it and back;
what is created meanwhile (a socket, a child process, a netlink connection) stays in it. That is all
that the local mesh and the tests need:

    alice = Namespace.create()
    with alice:
        reactor.spawnProcess(...)          # the child lives in alice
        socket = reactor.listenTCP(80, f)  # and so does this listener

Other processes enter with `nsenter --net=/proc/PID/fd/FD`; `Namespace.path` is that path.

Sources: namespaces(7), network_namespaces(7), user_namespaces(7), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import TracebackType

from tunmesh.errors import OperatorError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    if _libc.unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Namespace:
    """One network namespace, held open by a file descriptor of this process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._outer: list[int] = []

    @classmethod
    def current(cls) -> Namespace:
        """The namespace that the calling thread is in."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def create(cls) -> Namespace:
        """A new, empty namespace: one loopback device, down. Raises OSError (EPERM) without
        CAP_SYS_ADMIN."""
        outer = cls.current()
        try:
            unshare(CLONE_NEWNET)
            made = cls.current()
            _setns(outer.fd)
        finally:
            outer.close()
        return made

    @property
    def path(self) -> str:
        """The namespace's path for any process that may inspect this one."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Close the descriptor. The kernel removes the namespace when no process is left in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Namespace:
        outer = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self.fd)
        except OSError:
            os.close(outer)
            raise
        self._outer.append(outer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        outer = self._outer.pop()
        try:
            _setns(outer)
        finally:
            os.close(outer)


def become_own_user() -> None:
    """Move this (single-threaded) process into new user, mount and network namespaces, in which
    it holds every capability under its own uid.

    The uid is mapped to itself, not to root: it is the only one the kernel lets an ordinary user
    map, and nodes must end up as a uid that is not 0. Capabilities are made ambient by
    `host.privileges.keep_across_exec`, because an execve of a uid other than 0 would lose them.

    Raises OperatorError where the host forbids it, saying what forbids it.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as error:
        raise OperatorError(
            f"this host does not let uid {uid} make namespaces of its own ({error.strerror}): "
            f"{_what_forbids_it()}; run as root instead"
        ) from None


def _what_forbids_it() -> str:
    """The name of the setting that most likely forbids it."""
    for name, blocked, advice in (
        ("user/max_user_namespaces", "0", "raise it with sysctl"),
        ("kernel/unprivileged_userns_clone", "0", "set it to 1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "set it to 0"),
    ):
        path = Path("/proc/sys") / name
        try:
            value = path.read_text().strip()
        except OSError:
            continue
        if value == blocked:
            return f"sysctl {name.replace('/', '.')} is {value}, {advice}"
    return (
        "unprivileged user namespaces seem to be blocked (in a container: by its seccomp profile)"
    )
