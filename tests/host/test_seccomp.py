"""The system call filter: run by a small interpreter of our own, and by the kernel."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

from tests.support import netns
from tunmesh.host import seccomp
from tunmesh.host.seccomp import ALLOWED, ARCHITECTURES, CLONE_THREAD, REFUSED, Architecture

reactor: Any = trial_reactor

ALLOW = 0x7FFF0000
I386 = 0x40000003


def run(program: bytes, number: int, audit: int, *arguments: int) -> int | None:
    """What a program answers to a system call: an errno, or None if the call is allowed.
    Implemented from networking/filter.txt, for the instructions in use."""
    data = struct.pack("=IIQ3Q", number, audit, 0, *(*arguments, 0, 0, 0)[:3])
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15 | 0x25 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == value,
                    0x25: accumulator > value,
                    0x35: accumulator >= value,
                    0x45: bool(accumulator & value),
                }
                at += if_true if holds[operation] else if_false
            case 0x06:
                return None if value == ALLOW else value & 0xFFFF
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


class ProgramTests(unittest.SynchronousTestCase):
    """The program for each architecture."""

    def programs(self) -> Iterator[tuple[Architecture, bytes]]:
        for architecture in ARCHITECTURES.values():
            yield architecture, seccomp.filter_of(architecture)

    def test_refused(self) -> None:
        """Exactly the calls in the table are refused, of all possible numbers."""
        for architecture, program in self.programs():
            numbers = {each[architecture.column] for each in REFUSED.values()} - {None}
            special = {architecture.clone, architecture.clone3, architecture.socket}
            refused = {n for n in range(600) if run(program, n, architecture.audit) is not None}
            self.assertEqual(refused - special, numbers)
            self.assertNotIn(architecture.seccomp, numbers)

    def test_threads_only(self) -> None:
        """A thread may be started, a process may not; clone3 fails as if the kernel did not have
        it."""
        for architecture, program in self.programs():
            clone, audit = architecture.clone, architecture.audit
            self.assertIsNone(run(program, clone, audit, CLONE_THREAD | 0x3D0F00))
            self.assertEqual(run(program, clone, audit, 17), errno.EPERM)
            self.assertEqual(run(program, architecture.clone3, audit), errno.ENOSYS)

    def test_tun_ioctls(self) -> None:
        """A tun device cannot be changed; ioctls of terminals and sockets are allowed, even if a
        number of theirs equals one of tun's."""
        tun = [0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE, 0x800454D2, 0x400454E2, 0x401054D5]
        others = [0, 0x5401, 0x5413, 0x541B, 0x54C7, 0x5500, 0x8912, 0x80045430, 16, 41, 198, 29]
        for architecture, program in self.programs():
            ioctl, audit = architecture.ioctl, architecture.audit
            for number in tun:
                self.assertEqual(run(program, ioctl, audit, 3, number), errno.EPERM)
            for number in others:
                self.assertIsNone(run(program, ioctl, audit, 3, number), hex(number))

    def test_socket_families(self) -> None:
        """Only TCP, UDP and Unix sockets are allowed, and netlink for routes."""
        netlink = socket.AF_NETLINK
        for architecture, program in self.programs():
            sock, audit = architecture.socket, architecture.audit
            opened = {n for n in range(64) if run(program, sock, audit, n) is None}
            expected = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, netlink}
            self.assertEqual(opened, expected)
            opened = {n for n in range(64) if run(program, sock, audit, netlink, 3, n) is None}
            self.assertEqual(opened, {socket.NETLINK_ROUTE})
            self.assertIsNone(run(program, sock, audit, socket.AF_INET, 1, socket.IPPROTO_TCP))
            self.assertEqual(run(program, sock, audit, 40), errno.EAFNOSUPPORT)

    def test_other_architectures(self) -> None:
        """The calls of another architecture, which have other numbers, are all refused."""
        for architecture, program in self.programs():
            self.assertEqual(run(program, 1, I386), errno.EPERM)
            x32 = run(program, 0x40000001, architecture.audit)
            self.assertEqual(x32, errno.EPERM if architecture.beyond else None)


class AllowListTests(unittest.SynchronousTestCase):
    """The program for a helper that keeps a capability."""

    def programs(self) -> Iterator[tuple[Architecture, bytes]]:
        for architecture in ARCHITECTURES.values():
            yield architecture, seccomp.filter_allowing(architecture)

    def test_allowed(self) -> None:
        """Exactly the calls in the table are allowed, of all possible numbers: no socket, no file,
        no process."""
        for architecture, program in self.programs():
            numbers = {each[architecture.column] for each in ALLOWED.values()} - {None}
            allowed = {n for n in range(600) if run(program, n, architecture.audit) is None}
            mapping = {9, 10} if architecture.column == 0 else {222, 226}
            self.assertEqual(allowed - mapping, numbers)
            self.assertFalse(allowed & {architecture.socket, architecture.clone})

    def test_memory(self) -> None:
        """Memory may be mapped, unless it can be executed."""
        for architecture, program in self.programs():
            for number in (9, 10) if architecture.column == 0 else (222, 226):
                for protection in (0, 1, 3):
                    answer = run(program, number, architecture.audit, 0, 4096, protection)
                    self.assertIsNone(answer)
                for protection in (4, 5, 7):
                    answer = run(program, number, architecture.audit, 0, 4096, protection)
                    self.assertEqual(answer, errno.EPERM)

    def test_other_architectures(self) -> None:
        """The calls of another architecture, which have other numbers, are all refused."""
        for architecture, program in self.programs():
            self.assertEqual(run(program, 1, I386), errno.EPERM)
            self.assertEqual(run(program, 0x40000001, architecture.audit), errno.EPERM)


class KernelTests(unittest.TestCase):
    """The filter in the kernel, in child processes."""

    async def test_nothing_is_executed(self) -> None:
        """No program can be executed, no process or namespace created, and no call of another
        architecture made; threads can be started."""
        out, err, code = await netns.run_python(reactor, PROCESS)
        self.assertEqual((err, code), (b"", 0))
        why, *lines = out.decode().splitlines()
        if why:
            raise unittest.SkipTest(f"no filter of system calls on this machine: {why}")
        refused = ["EPERM"] * 6 + ["EAFNOSUPPORT"] * 2 + ["EPERM"]
        self.assertEqual(lines, [*refused, "localhost", "a thread", "Seccomp:\t2"])


PROCESS = """
import ctypes, errno, fcntl, os, socket, subprocess, threading
from tunmesh.host import namespaces, seccomp

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
pipe, _ = os.pipe()
print(seccomp.refuse())

def call(number):
    if libc.syscall(number) < 0:
        raise OSError(ctypes.get_errno(), "")

for attempt in (
    lambda: os.execv("/bin/true", ["true"]),
    lambda: subprocess.run("/bin/true"),
    os.fork,
    lambda: namespaces.unshare(namespaces.CLONE_NEWUSER),
    lambda: call(101 if os.uname().machine == "x86_64" else 117),  # ptrace
    lambda: call(321 if os.uname().machine == "x86_64" else 280),  # bpf
    lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12),  # netfilter
    lambda: socket.socket(40, socket.SOCK_STREAM),  # vsock
    lambda: fcntl.ioctl(pipe, 0x400454CB, 1),  # TUNSETPERSIST
):
    try:
        attempt()
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
if socket.getaddrinfo("localhost", 80):
    print("localhost", flush=True)
thread = threading.Thread(target=print, args=("a thread",))
thread.start()
thread.join()
print(*(line for line in open("/proc/thread-self/status") if line.startswith("Seccomp:")), end="")
"""
