"""Packets as they pass, for Wireshark and tcpdump: a page that goes on until the client hangs up.

Each peer is an interface in the file, with its name. Packets are captured as links carry them:
segments of up to 64 KB, with checksums as the kernel left them. A client that reads too slowly
misses packets, and the file says how many; the packets themselves never wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tunmesh import __version__
from tunmesh.api.http import filter_of, refuse, text_of
from tunmesh.api.stream import Stream, StreamLimit
from tunmesh.dataplane.forwarder import Tap
from tunmesh.dataplane.peer import Peer
from tunmesh.packets import pcapng
from tunmesh.packets.flow import ENOUGH, Filter, flow_of
from tunmesh.packets.virtio import HEADER


class CapturePage(Resource):
    """`taps` are called with every packet; `epoch` gives the time of day, in seconds; `streams`
    counts those of the whole site."""

    isLeaf = True

    def __init__(
        self,
        taps: set[Tap],
        epoch: Callable[[], float],
        clock: IReactorTime,
        streams: StreamLimit,
    ) -> None:
        super().__init__()
        self._streams = streams
        self._taps = taps
        self._epoch = epoch
        self._clock = clock

    def render_GET(self, request: Request) -> bytes | int:
        try:
            wanted = filter_of(request)
        except ValueError as error:
            return refuse(request, str(error))
        is_stream = request.method != b"HEAD"
        if is_stream and not self._streams.admit(request):
            return self._streams.refusal(request)
        request.setHeader(b"content-type", b"application/x-pcapng")
        if not is_stream:
            return b""
        peer = text_of(request, b"peer")
        _Capture(request, self._clock, self._taps, self._epoch, wanted, peer).begin()
        return NOT_DONE_YET


class _Capture(Stream):
    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        taps: set[Tap],
        epoch: Callable[[], float],
        wanted: Filter,
        peer: str,
    ) -> None:
        super().__init__(request, clock)
        self._taps = taps
        self._epoch = epoch
        self._wanted = wanted
        self._peer = peer
        self._interfaces: dict[str, int] = {}
        self._missed = 0

    def begin(self) -> None:
        self._taps.add(self._tell)
        self.open(pcapng.section(f"tunmesh {__version__}"), lambda: self._taps.discard(self._tell))

    def _tell(self, peer: Peer, outgoing: bool, frames: Sequence[bytes | memoryview]) -> None:
        name = peer.record.name
        if self._peer in ("", name, peer.record.id):
            for frame in frames:
                self._packet(name, outgoing, bytes(frame[HEADER:]))

    def _packet(self, name: str, outgoing: bool, data: bytes) -> None:
        flow = flow_of(data[:ENOUGH])
        if flow is None or not self._wanted.matches(flow):
            return
        blocks = b""
        number = self._interfaces.get(name)
        if number is None:
            number = len(self._interfaces)
            blocks = pcapng.interface(name)
        direction = pcapng.OUTBOUND if outgoing else pcapng.INBOUND
        time = int(self._epoch() * 1e9)
        blocks += pcapng.packet(number, time, direction, self._missed, data, len(data))
        if self.write(blocks):
            self._interfaces[name] = number
            self._missed = 0
        else:
            self._missed += 1
