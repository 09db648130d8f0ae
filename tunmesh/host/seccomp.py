"""System calls that a node never makes again, refused by the kernel.

Once it has started, a node reads and writes descriptors, opens sockets and files, and starts
threads for names. It executes nothing, starts no process, makes no namespace, looks into no other
process, changes nothing of its tun device, and uses no unrelated kernel subsystem. An attacker
who executes code in the node would start with exactly these calls; a namespace of one's own is
where most kernel vulnerabilities are reached from.

    another architecture's calls (32 bits, x32)    EPERM
    clone without CLONE_THREAD, fork, vfork        EPERM
    clone3, whose flags a filter cannot see        ENOSYS: the C library falls back to clone
    those of REFUSED                               EPERM
    ioctl of a tun device                          EPERM
    socket, but for FAMILIES and NETLINK_ROUTE     EAFNOSUPPORT
    all others                                     allowed

It is a deny list: which calls a C library, OpenSSL or Python make differs between releases, and a
node that dies of a call that was forgotten is worse than one that may make a call too many. The
kernel caches which calls are always allowed (since 5.11), so the data path does not run the filter.

The helper process that keeps a capability (tunmesh.assigner) is another matter: its loop makes a
few calls only, all of them known, and must be held to them. For it there is an allow list. A call
that is not in it fails with EPERM, which ends the helper, and with it the node, in good order.

Both need no_new_privs, and hold for threads that start later: so they come after
`host.privileges.drop`, with one thread.

Sources: seccomp(2), clone(2), linux/{seccomp,filter,audit,if_tun}.h, the kernel's tables of system
calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Numbers on x86-64, and in the table that newer architectures share.
REFUSED = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "personality": (135, 92),
    "modify_ldt": (154, None),
}
# All that a helper needs that answers requests on sockets which it has open. Beside them come mmap
# and mprotect, but not for memory that can be executed.
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "poll": (7, None),
    "ppoll": (271, 73),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "brk": (12, 214),
    "madvise": (28, 233),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_MAPPING = {"mmap": (9, 222), "mprotect": (10, 226)}
_PROT_EXEC = 4
CLONE_THREAD = 0x10000
# What a node opens once it has started. Of netlink only what tells of interfaces and routes
# (netlink.device_watch; the C library asks it, too), and nothing of netfilter, audit or xfrm.
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
# The lower half of an ioctl number is its type and its number: TUNSETNOCSUM is the lowest of the
# tun's, 'T' and 200; what terminals have of that type is below. A persistent tun would outlive the
# node, and one that belongs to somebody else could be taken over.
_TUN_IOCTLS = (0x54C8, 0x54FF)

_SECCOMP_SET_MODE_FILTER = 1
# Without it, kernels before 5.16 would slow down everything else that the process does.
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
# Offsets in struct seccomp_data; of the first argument, the half with the flags of clone.
_NUMBER, _ARCHITECTURE = 0, 4
_FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 16, 24, 32
_LOAD, _IF_EQUAL, _IF_MORE, _IF_AT_LEAST, _IF_ANY_BIT = 0x20, 0x15, 0x25, 0x35, 0x45
_AND, _RETURN = 0x54, 0x06


class Architecture(NamedTuple):
    """How the kernel calls it (linux/audit.h), and what the calls are called there."""

    audit: int
    column: int  # of REFUSED
    clone: int
    seccomp: int
    ioctl: int
    socket: int
    clone3: int = 435
    beyond: int = 0  # numbers from here on are another architecture's; 0 if there is none


ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E, 0, clone=56, seccomp=317, ioctl=16, socket=41, beyond=0x40000000
    ),
    "aarch64": Architecture(0xC00000B7, 1, clone=220, seccomp=277, ioctl=29, socket=198),
}


_Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, value


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def filter_of(architecture: Architecture) -> bytes:
    """The BPF program, an array of struct sock_filter. Each test falls through when it matches the
    call, and otherwise skips its own instructions."""
    code = _head(architecture)
    code += _answer(_IF_EQUAL, architecture.clone3, errno.ENOSYS)
    for numbers in REFUSED.values():
        number = numbers[architecture.column]
        if number is not None:
            code += _answer(_IF_EQUAL, number, errno.EPERM)
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    code += _block(
        architecture.clone,
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 1, 0, CLONE_THREAD),
        refuse,
        allow,
    )
    code += _block(
        architecture.ioctl,
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        (_AND, 0, 0, 0xFFFF),
        (_IF_AT_LEAST, 0, 2, _TUN_IOCTLS[0]),
        (_IF_MORE, 1, 0, _TUN_IOCTLS[1]),
        refuse,
        allow,
    )
    code += _block(
        architecture.socket,
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *((_IF_EQUAL, 3 + len(FAMILIES) - at, 0, family) for at, family in enumerate(FAMILIES)),
        (_IF_EQUAL, 0, 2, socket.AF_NETLINK),
        (_LOAD, 0, 0, _THIRD_ARGUMENT),
        (_IF_EQUAL, 1, 0, socket.NETLINK_ROUTE),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        allow,
    )
    code.append(allow)
    return _assembled(code)


def filter_allowing(architecture: Architecture) -> bytes:
    """The BPF program that allows nothing but ALLOWED, and memory that cannot be executed."""
    code = _head(architecture)
    for numbers in ALLOWED.values():
        number = numbers[architecture.column]
        if number is not None:
            code += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    for numbers in _MAPPING.values():
        code += _block(
            numbers[architecture.column],
            (_LOAD, 0, 0, _THIRD_ARGUMENT),
            (_IF_ANY_BIT, 0, 1, _PROT_EXEC),
            refuse,
            allow,
        )
    code.append(refuse)
    return _assembled(code)


def _head(architecture: Architecture) -> list[_Instruction]:
    """The instructions that refuse other architectures, and load the number of the call."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.beyond:
        code += _answer(_IF_AT_LEAST, architecture.beyond, errno.EPERM)
    return code


def _assembled(code: Sequence[_Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _block(number: int, *instructions: _Instruction) -> list[_Instruction]:
    """The instructions that decide about one system call by its arguments. Every path returns,
    since the accumulator no longer holds the call's number."""
    return [(_IF_EQUAL, 0, len(instructions), number), *instructions]


def _answer(test: int, value: int, error: int) -> list[_Instruction]:
    return [(test, 0, 1, value), (_RETURN, 0, 0, _ERRNO | error)]


def refuse() -> str:
    """Install the deny list for this thread and those it starts. Returns why it could not be
    installed, or "". It is an additional defence: the node also runs without it."""
    return _install(filter_of)


def allow_only() -> str:
    """The same with the allow list."""
    return _install(filter_allowing)


def _install(make: Callable[[Architecture], bytes]) -> str:
    machine = os.uname().machine
    architecture = ARCHITECTURES.get(machine)
    if architecture is None or struct.calcsize("P") != 8:
        return f"there is none for {machine}"
    code = make(architecture)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    if libc.syscall(architecture.seccomp, *arguments, ctypes.byref(program)) != 0:
        return os.strerror(ctypes.get_errno())
    return ""
