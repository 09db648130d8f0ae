"""The datagrams that two nodes exchange beside one link: keys, counters, sealing and opening.

Each end has a Session for the link. Keys come from the TLS connection (`export`): one for each
direction and each epoch of 2^23 datagrams, so that no key is used for more than AES-GCM allows. The
receiver has the keys of the current epoch, of the next one from its first datagram on, and of the
last one as long as its counters are within the anti-replay window. A new epoch needs no signal: the
counter says it. A datagram of any other epoch is undecryptable, and costs a look into a dict.

What a stranger can do: send datagrams under an index that he has seen. Each of them costs one
decryption, and one of them the key of the next epoch (2.6 KB, which would be needed some day);
nothing is logged or answered.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, repeat

from tunmesh.link.memory_budget import Account, MemoryBudget
from tunmesh.udp.aead import Into, opening, sealing
from tunmesh.udp.runs import Runs
from tunmesh.udp.scratch import Scratch
from tunmesh.udp.slices import cut, fitting
from tunmesh.udp.window import Window
from tunmesh.wire.datagrams import (
    CLIENT,
    CONTROL,
    CONTROL_OVERHEAD,
    CONTROL_TRAILER,
    EPOCH_BITS,
    HEAD,
    MAX_DATAGRAM,
    MAX_SEGMENTS,
    MIN_DATAGRAM,
    SERVER,
    SLICE_OVERHEAD,
    key_context,
)

Export = Callable[[bytes], bytes]
Send = tuple[memoryview, int]


class Session:
    """One end. `export` gives 32 secret bytes for a context; `receive_index` is the index under
    which this end receives. Sessions of one node should share a `scratch`. `account`: what is held
    of frames that are not complete; it is the session's own."""

    def __init__(
        self,
        export: Export,
        role_is_client: bool,
        receive_index: int,
        scratch: Scratch | None = None,
        account: Account | None = None,
    ) -> None:
        self.receive_index = receive_index
        self.send_index = 0  # under which the other end receives; 0: not known yet
        self.sent = 0
        self.received = 0  # authentic ones
        self.replayed = 0
        self.undecryptable = 0
        self.is_newest = False  # whether the last `open` was given the newest datagram so far
        self._export = export
        self._roles = (CLIENT, SERVER) if role_is_client else (SERVER, CLIENT)
        self._scratch = scratch or Scratch()
        self._window = Window()
        self._runs = Runs(self._scratch, account or MemoryBudget().account(""))
        self._counter = 1  # of the next datagram to be sent
        self._seal = sealing(self._key(0, 0))
        self.epoch = 0  # of the newest authentic datagram
        self._open = {0: self._opening(0)}  # and the next one, from its first datagram on

    @property
    def highest(self) -> int:
        """The counter of the newest authentic datagram; they count from 1."""
        return self._window.highest

    @property
    def malformed(self) -> int:
        """Authentic datagrams that were nonsense."""
        return self._runs.malformed

    # --- sending ---

    def seal(self, frames: Iterable[bytes], size: int) -> Iterator[Send]:
        """The frames as datagrams of at most `size` bytes. Each item is for one send: datagrams one
        behind the other, all of the length that is given but the last, which may be shorter. It is
        valid until the next item is taken, or a session with the same scratch seals. The rest can
        be taken later."""
        room = size - SLICE_OVERHEAD
        texts: list[bytes] = []  # of the next send
        seal = self._seal
        first = length = most = 0  # its first counter, how long and how many its datagrams can be
        for frame in fitting(frames, room):
            slices = cut(frame, room)
            own, count = len(slices[0]) + MIN_DATAGRAM, len(slices)
            counter = self._count(count)
            own_seal = self._seal  # when this is resumed, it may be that of another epoch
            if texts and (own != length or counter != first + len(texts) or seal is not own_seal):
                is_last = own < length and count == 1 and seal is own_seal
                if is_last and counter == first + len(texts):
                    texts += slices
                    slices = []
                yield self._sealed(texts, first, length, seal)
                texts = []
                if not slices:
                    continue
            if not texts:
                seal, first, length = own_seal, counter, own
                most = min(MAX_SEGMENTS, MAX_DATAGRAM // own)
            texts += slices
            while len(texts) >= most:
                yield self._sealed(texts[:most], first, length, seal)
                del texts[:most]
                first += most
            if texts and len(texts[-1]) + MIN_DATAGRAM < length:
                yield self._sealed(texts, first, length, seal)
                texts = []
        if texts:
            yield self._sealed(texts, first, length, seal)

    def seal_small(self, frame: bytes) -> Send:
        """What `seal` yields for a frame that fits into one slice, sooner."""
        return self._sealed(cut(frame, len(frame)), self._count(1), 0, self._seal)

    def _sealed(self, texts: list[bytes], first: int, length: int, seal: Into) -> Send:
        """Seal texts for datagrams of this length, of which the last may be shorter."""
        out, count, last = self._scratch.outgoing, len(texts), len(texts[-1]) + MIN_DATAGRAM
        used = (count - 1) * length + last
        if count == 1:
            HEAD.pack_into(out, 0, self.send_index, first)
            seal(bytes(out[: HEAD.size]), texts[0], None, out[HEAD.size : used])
            return out[:used], last
        heads, nonces = _heads(length, count)
        numbers = [self.send_index, 0] * count
        numbers[1::2] = range(first, first + count)
        heads.pack_into(out, 0, *numbers)
        places = self._scratch.places(length, count)
        if last < length:
            places = [*places[: count - 1], out[used - last + HEAD.size : used]]
        deque(map(seal, nonces.unpack_from(out), texts, repeat(None), places), maxlen=0)
        return out[:used], length

    def seal_control(self, message: bytes, pad_to: int = 0) -> bytes:
        """A control message as one datagram of `pad_to` bytes, or as many as it needs."""
        counter = self._count(1)
        padding = bytes(max(0, pad_to - CONTROL_OVERHEAD - len(message)))
        plaintext = padding + message + CONTROL_TRAILER.pack(len(message), CONTROL)
        datagram = bytearray(MIN_DATAGRAM + len(plaintext))
        HEAD.pack_into(datagram, 0, self.send_index, counter)
        with memoryview(datagram) as view:
            self._seal(bytes(view[: HEAD.size]), plaintext, None, view[HEAD.size :])
        return bytes(datagram)

    def _count(self, count: int) -> int:
        """Counters for so many datagrams, all of one epoch; the first of them."""
        counter = self._counter
        epoch = counter + count - 1 >> EPOCH_BITS
        if epoch != counter - 1 >> EPOCH_BITS:
            counter = max(counter, epoch << EPOCH_BITS)
            self._seal = sealing(self._key(0, epoch))
        self._counter = counter + count
        self.sent += count
        return counter

    # --- receiving ---

    def open(self, data: memoryview, size: int) -> Sequence[tuple[bytes, int]]:
        """Datagrams of `size` bytes each, of which the last may be shorter. The control messages
        among them, each with the size of its datagram; `frames` has the rest."""
        highest = self._window.highest
        end = len(data)
        if end <= size:
            self._open_one(data)
        else:
            many = size * MAX_SEGMENTS  # the kernel joins no more
            whole = end - end % size
            for at in range(0, whole, many):
                self._open_equal(data[at : min(whole, at + many)], size)
            if whole < end:
                self._open_one(data[whole:])
        self.is_newest = self._window.highest > highest
        controls = self._runs.controls
        if not controls:
            return ()
        self._runs.controls = []
        return controls

    def frames(self) -> list[memoryview]:
        """The frames that came since the last call, to be delivered now. They are valid until a
        session with the same scratch opens datagrams."""
        return self._runs.frames()

    def close(self) -> None:
        """Nothing comes any more."""
        self._runs.close()

    def _open_equal(self, data: memoryview, size: int) -> None:
        """Datagrams that are equally long, MAX_SEGMENTS at most."""
        count = len(data) // size
        if size < MIN_DATAGRAM:
            self.undecryptable += count
            return
        counters_of, parts_of = _parts(size, count)
        counters, parts = counters_of.unpack_from(data), parts_of.unpack_from(data)
        window = self._window
        for start, end in _consecutive(counters):
            first, last, done = counters[start], counters[end - 1], start
            if first > window.highest and first >> EPOCH_BITS == last >> EPOCH_BITS == self.epoch:
                nonces, texts = parts[2 * start : 2 * end : 2], parts[2 * start + 1 : 2 * end : 2]
                authentic = self._runs.take(self._open[self.epoch], nonces, texts, first)
                if authentic:
                    window.mark_run(first, authentic)
                    self.received += authentic
                done += authentic
                if done < end:
                    self.undecryptable += 1
                    done += 1
            for at in range(done * size, end * size, size):
                self._open_one(data[at : at + size])

    def _open_one(self, datagram: memoryview) -> None:
        if len(datagram) < MIN_DATAGRAM:
            self.undecryptable += 1
            return
        _, counter = HEAD.unpack_from(datagram)
        if not self._window.is_fresh(counter):
            self.replayed += 1
            return
        epoch = counter >> EPOCH_BITS
        decrypt = self._open.get(epoch)
        if decrypt is None and epoch == self.epoch + 1:
            decrypt = self._open[epoch] = self._opening(epoch)
        if decrypt is None or not self._runs.take_one(
            decrypt, datagram[: HEAD.size], datagram[HEAD.size :], counter
        ):
            self.undecryptable += 1
            return
        self._window.mark(counter)
        self.received += 1
        if epoch > self.epoch:
            self._enter(epoch)

    def _enter(self, epoch: int) -> None:
        """The other end has begun the epoch after the current one."""
        self._open = {each: self._open[each] for each in (self.epoch, epoch)}
        self.epoch = epoch

    # --- keys ---

    def _key(self, role: int, epoch: int) -> bytes:
        return self._export(key_context(self._roles[role], epoch))

    def _opening(self, epoch: int) -> Into:
        return opening(self._key(1, epoch))


def _consecutive(counters: tuple[int, ...]) -> Sequence[tuple[int, int]]:
    """Where runs of consecutive counters begin and end: nearly always all are one."""
    first, count = counters[0], len(counters)
    if counters == tuple(range(first, first + count)):
        return ((0, count),)
    starts = [at for at in range(1, count) if counters[at] != counters[at - 1] + 1]
    return list(pairwise((0, *starts, count)))


@lru_cache(maxsize=64)
def _heads(length: int, count: int) -> tuple[struct.Struct, struct.Struct]:
    """Of so many datagrams, one behind the other: index and counter, to be written, as numbers; the
    same, to be read, as bytes."""
    rest = length - HEAD.size
    return struct.Struct(">" + f"IQ{rest}x" * count), struct.Struct(f"12s{rest}x" * count)


@lru_cache(maxsize=64)
def _parts(length: int, count: int) -> tuple[struct.Struct, struct.Struct]:
    """Of so many datagrams, one behind the other: counters; nonces and ciphertexts."""
    rest = length - HEAD.size
    return struct.Struct(">" + f"4xQ{rest}x" * count), struct.Struct(f"12s{rest}s" * count)
