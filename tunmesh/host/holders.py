"""Which process holds a resource that a node needs: a port or a tun device.

Read from /proc, within this process's permissions: root sees all processes of its PID namespace,
others see only their own. For a port at least the owner's uid is known.

Sources: proc_net(5) (tcp, tcp6, udp, udp6), proc_pid_fd(5), proc_pid_stat(5), PF_EXITING in
include/linux/sched.h, and tun_chr_show_fdinfo in drivers/net/tun.c.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from tunmesh.addresses import Address, plain_host

Protocol = Literal["TCP", "UDP"]

# The state of a socket that has a port to itself, of include/net/tcp_states.h: TCP_LISTEN, and
# TCP_CLOSE, which is what a UDP socket without a peer is in.
_BOUND = {"TCP": "0A", "UDP": "07"}
_TUN_DEVICE = "/dev/net/tun"
_EXITING = 0x4


@dataclass(frozen=True, slots=True)
class Holder:
    """A process. Of one that this process may not inspect, only the uid is known."""

    uid: int
    pid: int | None = None
    name: str = ""
    is_node: bool = False  # it is a tunmesh node
    address: Address | None = None  # at which it listens
    is_ending: bool = False  # it was killed, and gives up what it holds in a moment

    def __str__(self) -> str:
        who = f"a process of uid {self.uid}"
        if self.pid is not None:
            who = f"pid {self.pid} ({self.name}{', a tunmesh node' if self.is_node else ''})"
        return who if self.address is None else f"{who}, which listens on {self.address}"


def of_port(port: int, protocol: Protocol = "TCP") -> list[Holder]:
    """Who listens on this port in the network namespace of the calling thread."""
    found: dict[str, tuple[int, Address]] = {}
    for name in (protocol.lower(), f"{protocol.lower()}6"):
        with suppress(OSError):  # a machine without IPv6
            lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
            for _, local, _, state, _, _, _, uid, _, inode, *_ in map(str.split, lines):
                address, _, number = local.partition(":")
                if state == _BOUND[protocol] and int(number, 16) == port:
                    found[f"socket:[{inode}]"] = (int(uid), _address(address))
    if not found:
        return []  # on a busy machine it takes a while to look at what every process has open
    pids = {link: pid for pid, link, _ in _open_files() if link in found}
    return [_holder(pids.get(link), uid, address) for link, (uid, address) in found.items()]


def of_tun(device: str) -> Holder | None:
    """Who in this network namespace holds this tun device open, if that can be seen."""
    here = Path("/proc/thread-self/ns/net").readlink()
    for pid, link, info in _open_files():
        if link == _TUN_DEVICE:
            with suppress(OSError):
                is_here = Path(f"/proc/{pid}/ns/net").readlink() == here
                if is_here and f"iff:\t{device}\n" in info.read_text():
                    return _holder(pid, 0, None)
    return None


def _open_files() -> Iterator[tuple[int, str, Path]]:
    """Of every visible open file: the pid, what the link leads to, and its fdinfo file."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for file in (process / "fd").iterdir():
                with suppress(OSError):
                    link = str(file.readlink())
                    yield int(process.name), link, process / "fdinfo" / file.name


def _holder(pid: int | None, uid: int, address: Address | None) -> Holder:
    if pid is None:
        return Holder(uid, address=address)
    name, command = "", b""
    with suppress(OSError):  # it may have ended
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    shown = name if name.isprintable() else repr(name)[1:-1]
    return Holder(uid, pid, shown, b"tunmesh" in command.split(b"\0"), address, is_ending(pid))


def is_ending(pid: int) -> bool:
    """Whether a process has ended, has begun to, or was killed and will as soon as it runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    fields = stat.rpartition(")")[2].split()  # from `state`, the third one, on
    flags, pending = int(fields[6]), int(fields[28])
    return bool(flags & _EXITING or pending >> signal.SIGKILL - 1 & 1)


def _address(text: str) -> Address:
    """An address written as 32-bit hexadecimal words in the machine's byte order."""
    packed = bytes.fromhex(text)
    if sys.byteorder == "little":
        packed = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    return ip_address(plain_host(str(ip_address(packed))))
