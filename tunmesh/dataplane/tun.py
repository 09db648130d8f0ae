"""The tun device: one file descriptor, read by the reactor, that carries whole IP packets.

A frame is `virtio_net_hdr (10 bytes, little-endian) || IP packet`. With that header the kernel may
hand over TCP data in packets of up to 64 KB whose checksum is still to be filled in, and accepts
the same: one read does the work of 45. A frame is not changed here: the other end writes to its tun
what this end has read from its own.

Reading: one iteration of the reactor gives one batch. The device is read until it is empty or
`TURN_BYTES` have been read, and the batch is passed to `receive` in one call, so that routing,
framing and TLS have a cost per batch and not per packet. A packet that is likely to be the only one
does not wait until the device was found empty. `os.read` allocates memory for each
packet; a reused buffer was measured too and is slower, since a packet must outlive the iteration.

Writing: at once or not at all. A packet that the kernel does not take is dropped, like in any other
network, and `write` returns the reason. So there is no queue here and nothing to bound.

The counters are those of the interface as `ip -s link` shows them: `rx` is what this machine
received from the mesh (our writes), `tx` is what it sent into the mesh (our reads). Like in the
kernel, a large segment counts as one packet, and virtio headers do not count.

Sources: Documentation/networking/tuntap.rst, include/uapi/linux/{if_tun,virtio_net}.h and
drivers/net/tun.c in the Linux tree.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.errors import InUseError, OperatorError
from tunmesh.host import holders
from tunmesh.packets import udp_segments, virtio

# The most that is read in one iteration: more than a link writes in one, so that what cannot be
# sent in time waits in the link's fair queue and not in the kernel's ring, a plain FIFO.
TURN_BYTES = 384 * 1024
TURN_FRAMES = 256
# The largest IP packet there is, and its header.
_FRAME_MAX = 65535 + virtio.HEADER

# ioctl numbers as asm-generic has them: x86, arm, riscv, s390.
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETVNETLE = 0x400454DC
_SIOCSIFMTU = 0x8922

_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
# Without it, an existing persistent tun of the same name would be taken over silently.
_IFF_TUN_EXCL = 0x8000

_OFFLOADS = 0x01 | 0x02 | 0x04  # TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6
_OFFLOADS_UDP = _OFFLOADS | 0x20 | 0x40  # TUN_F_USO4, TUN_F_USO6, since Linux 6.2

_DROP_REASONS = {
    errno.EAGAIN: DropReason.TUN_FULL,
    errno.ENOBUFS: DropReason.TUN_FULL,
    errno.ENOMEM: DropReason.TUN_FULL,
    errno.EIO: DropReason.TUN_DOWN,
    errno.EBADF: DropReason.TUN_DOWN,
    errno.EBADFD: DropReason.TUN_DOWN,
}


class Tun(Protocol):
    """What a node needs of a tun device. testing.tun has one in memory."""

    name: str
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int

    def start(self, receive: Callable[[list[bytes]], None], lost: Callable[[str], None]) -> None:
        """Begin to read: each batch of frames is passed to `receive`. `lost` is called at most
        once, with a message for the operator, when the device is gone; nothing is received after
        it."""

    def write(self, frames: Iterable[bytes | memoryview]) -> list[Drop]:
        """Pass frames to the kernel. Returns those that it did not take, each with the reason. Only
        what it took is counted in `rx`."""

    def poll(self) -> None:
        """Receive what is there now, one batch at most, without waiting for the reactor."""

    def stop(self) -> None:
        """Close the device, which removes the interface, its addresses and its routes."""


def open_tun(name: str, device: str = "/dev/net/tun") -> int:
    """Create a tun interface called `name`; its file descriptor, non-blocking. The interface is
    down and has no address, and exists until the descriptor is closed.

    Raises OperatorError if the device or the privilege is missing, or the name is not valid.
    """
    request = struct.pack(
        "16sH22x", _encoded(name), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
    )
    fd = _open_device(device)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, request)
        _set_frame_format(fd)
    except OSError as error:
        os.close(fd)
        why = _why_not_created(name, device, error)
        if error.errno == errno.EBUSY:
            raise InUseError(name, why) from None
        raise OperatorError(why) from None
    return fd


def set_mtu(name: str, mtu: int) -> None:
    """Give an interface another MTU. Raises OperatorError."""
    request = struct.pack("16si20x", _encoded(name), mtu)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFMTU, request)
    except OSError as error:
        raise OperatorError(f"{name} cannot have an MTU of {mtu}: {error.strerror}") from None


def _encoded(name: str) -> bytes:
    """The name as the kernel takes it (dev_valid_name in net/core/dev.c); "%" is a template."""
    encoded = name.encode()
    if (
        not 1 <= len(encoded) <= 15
        or name in (".", "..")
        or any(character in "/:%\0" or character.isspace() for character in name)
    ):
        raise OperatorError(
            f"{name!r} cannot be the name of an interface: it takes 1 to 15 characters, "
            "without space, slash, colon or percent sign"
        )
    return encoded


def _open_device(device: str) -> int:
    try:
        return os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OperatorError(_why_not_opened(device, error)) from None


def _why_not_opened(device: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return (
                f"{device} does not exist: give it to the container with --device {device}, "
                f"or make it with: mknod {device} c 10 200"
            )
        case errno.ENODEV | errno.ENXIO:
            return f"{device} has no driver behind it: load it on the host with: modprobe tun"
        case errno.EACCES | errno.EPERM:
            return (
                f"{device} may not be opened by uid {os.geteuid()}: start as root, make it mode "
                f"0666, or (in a container) allow it with --device {device}"
            )
        case _:
            return f"{device} cannot be opened: {error.strerror}"


def _set_frame_format(fd: int) -> None:
    """Select the 10-byte little-endian header, which the wire format has on every machine."""
    fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", virtio.HEADER))
    fcntl.ioctl(fd, _TUNSETVNETLE, struct.pack("i", 1))


def _ask_for_segments(fd: int) -> bool:
    """Ask for large segments; whether the kernel supports them for UDP too. Without them everything
    works, only slower: the kernel then cuts packets to the MTU."""
    for offloads in (_OFFLOADS_UDP, _OFFLOADS):
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, offloads)
        except OSError:
            continue
        return offloads == _OFFLOADS_UDP
    return False


def _why_not_created(name: str, device: str, error: OSError) -> str:
    match error.errno:
        case errno.EPERM:
            return (
                f"{name} cannot be created: CAP_NET_ADMIN is missing; start as root, "
                "or the container with --cap-add NET_ADMIN"
            )
        case errno.EBUSY:
            holder = holders.of_tun(name)
            return (
                f"{name} exists already{f', held by {holder}' if holder else ''}: set "
                "networking/tun_device_id to another name, or remove it with: "
                f"ip link delete {name}"
            )
        case errno.ENOTTY:
            return f"{device} is not the tun device: make it with: mknod {device} c 10 200"
        case _:
            return f"{name} cannot be created: {error.strerror}"


def _without_udp_segments(frames: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for frame in frames:
        if len(frame) > virtio.HEADER and frame[1] == virtio.GSO_UDP_L4:
            yield from udp_segments.split(frame)
        else:
            yield frame


@implementer(IReadDescriptor)
class TunDevice:
    """A tun device of the kernel, read by the reactor. Owns `fd`: `stop` closes it."""

    _log = Logger()

    def __init__(self, reactor: IReactorFDSet, fd: int, name: str) -> None:
        self._reactor = reactor
        self._fd = fd
        self._has_udp_segments = _ask_for_segments(fd)
        self.name = name
        self.rx_packets = 0
        self.rx_bytes = 0
        self.tx_packets = 0
        self.tx_bytes = 0
        self._is_calm = True

    def start(self, receive: Callable[[list[bytes]], None], lost: Callable[[str], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._reactor.addReader(self)

    def write(self, frames: Iterable[bytes | memoryview]) -> list[Drop]:
        if not self._has_udp_segments:
            frames = _without_udp_segments(frames)
        fd, write, count, size = self._fd, os.write, 0, 0
        drops: list[Drop] = []
        for frame in frames:
            try:
                size += write(fd, frame)
                count += 1
            except OSError as error:
                reason = _DROP_REASONS.get(error.errno or 0, DropReason.TUN_REFUSED)
                drops.append((reason, frame))
        self.rx_packets += count
        self.rx_bytes += size - virtio.HEADER * count
        return drops

    def poll(self) -> None:
        if self._fd >= 0:
            self.doRead()

    def stop(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def doRead(self) -> None:
        # If only one packet came the last time, this one probably is alone, too: it is on its way
        # before the device is asked for more, which costs as much as routing it.
        if not self._is_calm or self._read(1):
            self._read(TURN_FRAMES)

    def _read(self, most: int) -> bool:
        """Read until the device is empty or the batch is full, and deliver the batch; whether there
        may be more."""
        frames: list[bytes] = []
        size, is_empty, alive = 0, False, True
        try:
            while size < TURN_BYTES and len(frames) < most:
                frame = os.read(self._fd, _FRAME_MAX)
                frames.append(frame)
                size += len(frame)
        except BlockingIOError:
            is_empty = True
        except OSError:
            alive = False
        self.tx_packets += len(frames)
        self.tx_bytes += size - virtio.HEADER * len(frames)
        self._is_calm = len(frames) <= 1
        if frames:
            self._deliver(frames)
        if not alive:
            self._gone()
        return alive and not is_empty

    def _deliver(self, frames: list[bytes]) -> None:
        # Any exception here is a bug of ours. If the reactor got it, it would disconnect the
        # device, and with it this machine from the mesh, because of one packet.
        try:
            self._receive(frames)
        except Exception:
            self._log.failure("a batch from {name} was lost to a bug", event="bug", name=self.name)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has removed the descriptor: epoll reported an error on it."""
        self._gone()

    def _gone(self) -> None:
        # A failing read and connectionLost mean the same: whichever comes first is reported.
        if self._fd >= 0:
            self.stop()
            self._lost(f"{self.name} is gone: somebody deleted the interface")

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return self.name
