"""The datagrams of the UDP data plane.

    u32 index │ u64 counter │ ciphertext │ tag
                              (AES-256-GCM, 16 bytes longer than the plaintext)

The index says for which session of the receiver the datagram is; the receiver has chosen it. Both
together are the nonce, so that they are authenticated too. The upper 41 bits of the counter are the
epoch, which selects the key; the lower 23 bits count the datagrams of that epoch.

The plaintext ends with a trailer. At its end, what is in front of it needs not be moved: payloads
are decrypted side by side, each over the trailer of the one before.

    control    padding ‖ message ‖ u16 size of the message ‖ kind 0
    slice      payload ‖ padding ‖ headers
                 ‖ u16 number ‖ u16 offset ‖ u16 total ‖ u8 size of the headers ‖ u8 kind

A slice is a part of a frame (packets.virtio): bytes `offset` and following of the frame's payload,
of which there are `total`. The payload is what follows the headers of the frame, and those are in
every slice, so that each is of use without the others:

    kind 1   TCP      virtio, IP and TCP header; the payload is cut anywhere
    kind 2   UDP      virtio, IP and UDP header of joined datagrams; cut only between datagrams
    kind 3   WHOLE    the virtio header only; the frame is of use only if all slices arrive

The slices of a frame are numbered from 0 and have consecutive counters, so counter minus number
identifies the frame. Padding is what would lie beyond `total`: it makes all slices of a frame
equally long.
"""

from __future__ import annotations

import struct

from tunmesh.packets import virtio

HEAD = struct.Struct(">IQ")
TAG = 16
MIN_DATAGRAM = HEAD.size + TAG
MAX_DATAGRAM = 65_507  # what UDP over IPv4 carries: also the most bytes of one send
MAX_SEGMENTS = 64  # datagrams of one send: UDP_MAX_SEGMENTS of older kernels

EPOCH_BITS = 23  # datagrams of up to 2^16 bytes with one key: RFC 9001, section 6.6

CONTROL, TCP, UDP, WHOLE = range(4)
TRAILER = struct.Struct(">HHHBB")
CONTROL_TRAILER = struct.Struct(">HB")
MAX_HEADERS = 255
MAX_TOTAL = 65_535
SLICE_OVERHEAD = MIN_DATAGRAM + TRAILER.size  # of a datagram, besides payload and headers
CONTROL_OVERHEAD = MIN_DATAGRAM + CONTROL_TRAILER.size

CLIENT, SERVER = b"c", b"s"


def key_context(role: bytes, epoch: int) -> bytes:
    """The context of the TLS exporter (tls.binding) for the key of a direction and an epoch. The
    role is that of the sender: it dialed (CLIENT) or was dialed (SERVER)."""
    return role + epoch.to_bytes(4)


def headers_size(kind: int, frame: bytes | memoryview) -> int:
    """The size of the headers that each slice of this kind carries; the frame must be of that
    kind."""
    if kind == WHOLE:
        return virtio.HEADER
    start = virtio.HEADER + (frame[6] | frame[7] << 8)
    return start + (virtio.UDP_HEADER if kind == UDP else (frame[start + 12] >> 4) * 4)
