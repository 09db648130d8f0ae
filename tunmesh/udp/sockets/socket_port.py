"""The UDP port on a socket of the kernel (host.udp_ports), driven by the reactor.

**Receiving.** One call gives up to 64 KB: datagrams of one sender, of one length, that the kernel
has joined (UDP_GRO), and their length in a control message. They are read into one buffer that is
used again and again, and a turn ends after TURN_BYTES, so that links get theirs.

**Sending.** One call takes up to 64 datagrams (UDP_SEGMENT), which the kernel or the network card
cuts. Not every device can: one that does not compute checksums refuses with EIO before Linux 6.11,
and IPsec always. So a place to which that fails, gets its datagrams one by one from then on.

ICMP errors are not asked for (IP_RECVERR), so none come: anybody can forge them.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import plain_host, scoped_host
from tunmesh.host.udp_ports import UDP_SEGMENT
from tunmesh.logs import bugs
from tunmesh.udp.port import Place, Reader, Sent
from tunmesh.udp.readers import Readers
from tunmesh.udp.sockets.destinations import BYTE_ORDER, Destination, Destinations
from tunmesh.udp.sockets.send_buffer import SendBuffer

TURN_BYTES = 384 * 1024  # read in one turn of the reactor, at most
# What a small datagram counts as in that: reading one costs as much as reading 4 KB.
_LEAST = 4096
_BUFFER = 1 << 16
_MOST_FIRST = 256  # control datagrams that wait for room: one for each of so many peers
_CONTROL = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)  # UDP_GRO, and a packet's address
_log_bug = bugs.caught("datagrams were lost")


@implementer(IReadDescriptor, IWriteDescriptor)
class UdpPort:
    """One socket for all peers; udp.port has the interface. Owns `bound`: `stop` closes it."""

    def __init__(
        self, reactor: Any, bound: socket.socket, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._reactor = reactor
        self._socket = bound
        self._buffer = bytearray(_BUFFER)
        self._readers = Readers(random_bytes)
        self.open, self.close = self._readers.open, self._readers.close
        self._destinations = Destinations(bound, joins=_joins(bound))
        self._waiting: deque[Callable[[], None]] = deque()
        # What goes before anything else as soon as there is room: control datagrams, and the end of
        # datagrams that are sent one by one.
        self._first: deque[tuple[bytes, int, Destination]] = deque()
        self._send_buffer = SendBuffer(bound, reactor.seconds)
        self._has_turn = False  # somebody who waited is being called
        self._is_full = False
        self._is_calm = True  # the last turn had one read at most
        self._is_open = True

    def start(self) -> None:
        self._reactor.addReader(self)

    def stop(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._waiting.clear()
            self._first.clear()

    @property
    def strangers(self) -> int:
        return self._readers.strangers

    # --- receiving ---

    def doRead(self) -> None:
        read, buffer, sort = self._socket.recvmsg_into, self._buffer, self._readers.sort
        served: dict[Reader, None] = {}
        left, reads = TURN_BYTES, 0
        while left > 0 and self._is_open:
            try:
                count, control, _, source = read((buffer,), _CONTROL)
            except BlockingIOError:
                break
            except OSError:  # an error of the socket is told once, by whichever call is next
                left -= _LEAST
                continue
            left -= max(count, _LEAST)
            size, came_by = count, b""
            for level, _, value in control:
                if level == socket.IPPROTO_UDP:
                    size = int.from_bytes(value[:4], BYTE_ORDER)
                else:
                    came_by = value
            place = (plain_host(source[0]), source[1])
            if len(source) == 4 and source[3]:  # of IPv6, link-local
                place = (scoped_host(source[0], source[3]), source[1])
            if sort(buffer, count, size, place, served):
                self._destinations.believe(place, came_by)
            if self._is_calm:  # see TunDevice.doRead
                self._readers.end_turn(served)
                served.clear()
                self._is_calm = False
            reads += 1
        self._readers.end_turn(served)
        self._is_calm = reads <= 1

    # --- sending ---

    def send(self, data: bytes | memoryview, size: int, to: Place, *, ahead: bool = False) -> Sent:
        if not ahead and not self._has_turn and (self._waiting or self._first):
            return Sent.BLOCKED
        there = self._destinations.get(to)
        if there is None:
            there = self._destinations.new(to)
            if there is None:
                return Sent.UNREACHABLE
        try:
            if len(data) <= size:
                self._socket.sendmsg((data,), there.single, 0, there.address)
            elif there.joins:
                self._socket.sendmsg((data,), there.joined(size), 0, there.address)
            else:
                return self._send_singly(data, size, there)
        except OSError as error:
            sent = self._failed(error, data, size, there)
            if sent is Sent.BLOCKED and ahead and len(self._first) < _MOST_FIRST:
                self._keep(data, size, there)
                return Sent.DONE
            return sent
        return Sent.DONE

    def _keep(self, data: bytes | memoryview, size: int, there: Destination) -> None:
        self._first.append((bytes(data), size, there))
        self._reactor.addWriter(self)

    def _failed(
        self, error: OSError, data: bytes | memoryview, size: int, there: Destination
    ) -> Sent:
        several = len(data) > size
        match error.errno:
            case errno.EAGAIN:
                if not self._is_full:
                    self._is_full = True
                    self._send_buffer.filled()
                return Sent.BLOCKED
            case errno.EMSGSIZE:
                return Sent.TOO_BIG
            case errno.ENOBUFS | errno.ENOMEM:
                return Sent.DONE  # lost in a full queue, as it could have been anywhere
            case errno.EIO if several and there.joins:
                there.joins = False
                return self._send_singly(data, size, there)
            case _ if there.single and self._is_open:
                there.leave_from(b"", ())  # this host may have that address no more
            case errno.EINVAL if several and there.joins:
                # Kernels before 6.13 also say so when one datagram is too big for the device:
                # then sending one by one fails as well, and joining is not to blame.
                sent = self._send_singly(data, size, there)
                there.joins = sent is not Sent.DONE
                return sent
            case _:
                return Sent.UNREACHABLE
        try:
            control = there.joined(size) if several and there.joins else there.single
            self._socket.sendmsg((data,), control, 0, there.address)
        except OSError as again:
            return self._failed(again, data, size, there)
        return Sent.DONE

    def _send_singly(self, data: bytes | memoryview, size: int, there: Destination) -> Sent:
        """If there is no room for all of them, the rest is sent before anything else."""
        for at in range(0, len(data), size):
            try:
                self._socket.sendmsg((data[at : at + size],), there.single, 0, there.address)
            except OSError as error:
                sent = self._failed(error, data[at : at + size], size, there)
                if sent is not Sent.DONE and at == 0:
                    return sent
                if sent is Sent.BLOCKED:
                    self._keep(data[at:], size, there)
                    break
        return Sent.DONE

    def call_when_writable(self, call: Callable[[], None]) -> None:
        self._waiting.append(call)
        if self._is_open:
            self._reactor.addWriter(self)

    def doWrite(self) -> None:
        self._is_full = False
        self._send_buffer.drained()
        for _ in range(len(self._first)):
            data, size, there = first = self._first.popleft()
            if self._send_singly(data, size, there) is Sent.BLOCKED:
                self._first.appendleft(first)
            if self._is_full:
                return
        for _ in range(len(self._waiting)):
            if self._is_full or not self._waiting:
                break
            self._has_turn = True
            try:
                self._waiting.popleft()()
            except Exception as error:
                _log_bug(error)
            self._has_turn = False
        if not self._waiting and not self._first and self._is_open:
            self._reactor.removeWriter(self)

    def largest(self, to: Place) -> int | None:
        return self._destinations.largest(to)

    # --- for the reactor ---

    def connectionLost(self, reason: Failure) -> None:
        """The socket had an error, such as `ss --kill` makes. It is as good as before."""
        if self._is_open:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)
            if self._waiting or self._first:
                self._reactor.addWriter(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "UDP"


def _joins(bound: socket.socket) -> bool:
    """Whether this kernel takes several datagrams at once: Linux 4.18 and later."""
    try:
        bound.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
