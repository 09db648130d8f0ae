"""Giving up privilege for good.

A node needs CAP_NET_ADMIN once, to make and configure its tun device. From then on it works with
file descriptors that are open already, so everything else is given up before the first byte comes
in from the network: other uid and gid, no supplementary groups, all capability sets empty, no way
to gain anything by execve (`no_new_privs`), no core dump with secrets in it. Afterwards the kernel
is asked what is left (/proc/self/status), and anything left is an error: a process with some
privileges left must not go on.

The helper process that puts automatic addresses on the device (tunmesh.assigner) gives up the same,
but keeps NET_ADMIN: it never reads a byte from the network.

It works from each of these starting points, since people run containers in all of these ways:

    root with all capabilities, or only NET_ADMIN, SETUID and SETGID
    the right uid already, with NET_ADMIN as ambient or file capability
    an ordinary uid with all capabilities in a user namespace of its own

Capabilities and no_new_privs belong to a thread, not to a process; a thread started before `drop`
would keep its own. So `drop` insists on a single thread.

The process is made undumpable also because the kernel's default for it depends on how privilege
was lost (sysctl fs.suid_dumpable). The price: /proc/PID belongs to root, so only root can attach
a debugger or look into /proc/PID/fd. /proc/PID/status stays readable to all, and the process
itself still reads /proc/self/fd.

Sources: capabilities(7), prctl(2), credentials(7), user_namespaces(7), proc_pid_status(5),
include/uapi/linux/{capability,prctl}.h.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tunmesh.errors import OperatorError

_CAP_SETPCAP = 8
_CAP_NET_ADMIN = 12
NET_ADMIN = 1 << _CAP_NET_ADMIN
_CAPABILITY_VERSION_3 = 0x20080522

_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class Privileges(NamedTuple):
    """What /proc/self/status says. Ids in the order real, effective, saved, filesystem;
    capability sets as bit masks, bit n being capability n of linux/capability.h."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: bool


def held() -> Privileges:
    """The privileges of this process now."""
    lines = _read("/proc/self/status").splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return Privileges(
        uids=tuple(map(int, status["Uid"])),
        gids=tuple(map(int, status["Gid"])),
        groups=tuple(map(int, status["Groups"])),
        inheritable=int(status["CapInh"][0], 16),
        permitted=int(status["CapPrm"][0], 16),
        effective=int(status["CapEff"][0], 16),
        bounding=int(status["CapBnd"][0], 16),
        ambient=int(status["CapAmb"][0], 16),
        no_new_privs=status["NoNewPrivs"] == ["1"],
    )


def has_net_admin() -> bool:
    """Whether this process may make a tun device in its network namespace."""
    return bool(held().effective >> _CAP_NET_ADMIN & 1)


def keep_across_exec() -> None:
    """Make every permitted capability survive the next execve, though the uid is not 0.

    Raises OSError where the kernel forbids it.
    """
    permitted = held().permitted
    _capset(permitted, permitted, permitted)
    for capability in _bits(permitted):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def drop(uid: int, gid: int, keep: int = 0) -> None:
    """Become `uid` and `gid` (numbers; uid at least 1) for good, with no privilege left but the
    capabilities `keep`, a mask.

    Raises OperatorError when it cannot be done or something is left. The process may then hold
    less than before; it should end.
    """
    if uid < 1:
        raise OperatorError(
            f"process/uid is {uid}: running as root is not supported, use 1 or more"
        )
    become(uid, gid, keep)
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def become(uid: int, gid: int, keep: int = 0) -> None:
    """The same for the program that is executed next, which may dump core: it has no secrets of
    ours."""
    _insist_on_one_thread()
    before = held()
    if keep & ~before.permitted:
        raise OperatorError(
            "CAP_NET_ADMIN is missing; start the container with --cap-add NET_ADMIN"
        )
    may_bound = bool(before.effective >> _CAP_SETPCAP & 1)
    with _explained(f"cannot become uid {uid}, gid {gid}"):
        if may_bound:
            _empty_bounding_set(before.bounding)
        _leave_groups(gid)
        os.setresgid(gid, gid, gid)
        _prctl(_PR_SET_KEEPCAPS, int(keep != 0))  # when the uid changes
        os.setresuid(uid, uid, uid)
        _prctl(_PR_SET_KEEPCAPS, 0)
        _capset(keep, keep, 0)  # ambient capabilities go with the inheritable ones
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _insist_on_nothing_left(uid, gid, 0 if may_bound else before.bounding, keep)


def become_half(real: int, effective: int, gid: int) -> None:
    """Become two users at once, by none of which a capability remains: this process may then signal
    the processes of both, and do nothing else to them (kill(2))."""
    _insist_on_one_thread()
    with _explained(f"cannot become uid {real} and {effective}"):
        _leave_groups(gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(real, effective, effective)
        _capset(0, 0, 0)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _insist_on_one_thread() -> None:
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads != 1:
        raise OperatorError(
            f"privileges cannot be dropped while {threads} threads run: "
            "each would keep its own capabilities; start threads afterwards"
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """OSError into the one line that says what would be right."""
    try:
        yield
    except PermissionError:
        raise OperatorError(
            f"{what}: CAP_SETUID and CAP_SETGID are needed for it; "
            "add them, or start with that uid and gid and no other groups"
        ) from None
    except OSError as error:
        # EINVAL from setresuid: the id is not mapped in this user namespace.
        raise OperatorError(
            f"{what}: {error.strerror}; the ids must be mapped in this user namespace "
            "(/proc/self/uid_map, /proc/self/gid_map)"
        ) from None


def _empty_bounding_set(bounding: int) -> None:
    for capability in _bits(bounding):
        _prctl(_PR_CAPBSET_DROP, capability)


def _leave_groups(gid: int) -> None:
    try:
        os.setgroups([])
    except PermissionError:
        # Nothing to leave, or in a user namespace of one's own: there the kernel denies it to
        # everybody, since a group can also be what takes access away.
        if set(os.getgroups()) - {gid} and not _setgroups_denied():
            raise


def _setgroups_denied() -> bool:
    return _read("/proc/self/setgroups").strip() == "deny"


def _insist_on_nothing_left(uid: int, gid: int, bounding: int, keep: int) -> None:
    left = _what_is_left(held(), uid, gid, bounding, keep)
    if _can_become_root():
        left.append("the way back to root")
    if left:
        raise OperatorError(f"privileges are not fully dropped, still held: {', '.join(left)}")


def _what_is_left(now: Privileges, uid: int, gid: int, bounding: int, keep: int = 0) -> list[str]:
    """The names of what a process that has dropped everything but `keep` must not hold."""
    checks = {
        f"uids {now.uids}": set(now.uids) != {uid},
        f"gids {now.gids}": set(now.gids) != {gid},
        f"groups {now.groups}": bool(set(now.groups) - {gid}) and not _setgroups_denied(),
        f"inheritable capabilities {now.inheritable:x}": now.inheritable != 0,
        f"permitted capabilities {now.permitted:x}": now.permitted != keep,
        f"effective capabilities {now.effective:x}": now.effective != keep,
        f"ambient capabilities {now.ambient:x}": now.ambient != 0,
        f"bounding capabilities {now.bounding:x}": now.bounding != bounding,
        "the chance of new ones at execve": not now.no_new_privs,
    }
    return [name for name, held_still in checks.items() if held_still]


def _can_become_root() -> bool:
    try:
        os.setresuid(0, 0, 0)
    except OSError:
        return False
    return True


def _read(path: str) -> str:
    # Not with pathlib, which would take 1 MB of the helper.
    with open(path) as file:  # noqa: PTH123
        return file.read()


def _bits(mask: int) -> Iterator[int]:
    return (bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def _prctl(option: int, argument: int, capability: int = 0) -> None:
    if _libc.prctl(option, *map(ctypes.c_ulong, (argument, capability, 0, 0))) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2), version 3: two words per set, low words of all three sets first."""
    low = [mask & 0xFFFFFFFF for mask in (effective, permitted, inheritable)]
    high = [mask >> 32 for mask in (effective, permitted, inheritable)]
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)(*low, *high)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
