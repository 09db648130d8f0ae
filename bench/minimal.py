"""The least that Python needs for packets over UDP: a yardstick for what tunmesh does beyond it.

    python minimal.py OWN PEER PORT TUN

One thread, one peer, one key that is no secret, segmentation offload at the tun and at the socket,
AES-256-GCM for each datagram. No Twisted, no handshake, no anti-replay, no table, no queue, no path
MTU; what comes is written to the tun unchecked. Two of these trust each other completely.

A frame of the tun that does not fit into one datagram is cut into slices; each carries the frame's
headers (TCP over IPv4 with timestamps, as the load of the benchmark is), its offset and the frame's
size. If one is lost, so is the frame.

    u64 counter, highest bit: it is a slice | sealed: [headers, u16 offset, u16 size] data
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADERS = 10 + 20 + 32  # virtio, IPv4, TCP with timestamps
SLICE = 1370  # bytes of data in a slice
WHOLE = 1432  # bytes of a frame that fits into one datagram
DATAGRAM = 8 + HEADERS + 4 + SLICE + 16
AT_ONCE = 44  # datagrams in one send: what 64 KB holds
IS_SLICE = 1 << 63
UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h
BUFFERS = 8 << 20
FRAMES = 6  # read from the tun before the socket is looked at


def open_tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    # TUNSETIFF with IFF_TUN, IFF_NO_PI and IFF_VNET_HDR; TUNSETOFFLOAD with CSUM, TSO4 and TSO6.
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1 | 0x1000 | 0x4000))
    fcntl.ioctl(fd, 0x400454D0, 1 | 2 | 4)
    return fd


def open_socket(own: str, peer: str, port: int) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.setsockopt(socket.SOL_SOCKET, 33, BUFFERS)  # SO_RCVBUFFORCE
    udp.setsockopt(socket.SOL_SOCKET, 32, BUFFERS)  # SO_SNDBUFFORCE
    udp.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    udp.bind((own, port))
    udp.connect((peer, port))
    return udp


class Minimal:
    """Between one tun and one socket."""

    def __init__(self, tun: int, udp: socket.socket) -> None:
        self.tun = tun
        self.udp = udp
        self.aead = AESGCM(bytes(32))
        # Each end counts from a number of its own, since both use one key.
        self.counter = int.from_bytes(os.urandom(6), "big") << 15
        self.buffer = bytearray(1 << 16)
        self.pieces: list[bytes | memoryview] = []  # of the frame that is arriving

    def nonce(self, bits: int = 0) -> bytes:
        self.counter += 1
        return (self.counter | bits).to_bytes(8, "big")

    def send(self, frame: bytes) -> None:
        size, seal = len(frame), self.aead.encrypt
        if size <= WHOLE:
            nonce = self.nonce()
            self.udp.send(nonce + seal(bytes(4) + nonce, frame, None))
            return
        headers, total = frame[:HEADERS], size.to_bytes(2, "big")
        parts: list[bytes] = []
        for at in range(HEADERS, size, SLICE):
            nonce = self.nonce(IS_SLICE)
            text = b"".join((headers, at.to_bytes(2, "big"), total, frame[at : at + SLICE]))
            parts += (nonce, seal(bytes(4) + nonce, text, None))
        segment = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", DATAGRAM))]
        for first in range(0, len(parts), 2 * AT_ONCE):
            self.udp.sendmsg(parts[first : first + 2 * AT_ONCE], segment)

    def read_socket(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                count, control, _, _ = self.udp.recvmsg_into((self.buffer,), 64)
                joined = [value for _, kind, value in control if kind == UDP_GRO]
                size = int.from_bytes(joined[0], sys.byteorder) if joined else count
                received = memoryview(self.buffer)[:count]
                for at in range(0, count, size):
                    self.take(received[at : at + size])

    def take(self, datagram: memoryview) -> None:
        nonce = bytes(datagram[:8])
        text = self.aead.decrypt(bytes(4) + nonce, datagram[8:], None)
        if nonce[0] < 128:
            os.write(self.tun, text)
            return
        at, total = struct.unpack_from(">HH", text, HEADERS)
        if at == HEADERS:
            self.pieces = [text[:HEADERS]]
        self.pieces.append(memoryview(text)[HEADERS + 4 :])
        if at + len(text) - HEADERS - 4 == total:
            with contextlib.suppress(OSError):  # a slice is missing
                os.writev(self.tun, self.pieces)

    def read_tun(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(FRAMES):
                self.send(os.read(self.tun, 65_550))

    def run(self) -> None:
        poll = select.epoll()
        poll.register(self.tun, select.EPOLLIN)
        poll.register(self.udp, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                # What the socket refuses is lost: the peer may not be there yet.
                with contextlib.suppress(ConnectionRefusedError):
                    self.read_tun() if fd == self.tun else self.read_socket()


if __name__ == "__main__":
    own, peer, port, tun = sys.argv[1:]
    Minimal(open_tun(tun), open_socket(own, peer, int(port))).run()
