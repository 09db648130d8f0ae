"""The bulk transport behaves like Twisted's own: every test of the contract runs on both."""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import socket
from collections.abc import Callable
from socket import MSG_EOR
from typing import Any, ClassVar

from OpenSSL import SSL
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT
from tunmesh.testing.network import Network
from tunmesh.tls import bulk
from tunmesh.tls.bulk import BulkTransport
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.transport import TunedTransport, client_factory, server_factory

reactor: Any = trial_reactor
LIBSSL = ctypes.util.find_library("ssl")
CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
RECORD = 16384
# Around the borders of records, the largest frame of a link, and more than any buffer on the way.
SIZES = (0, 1, RECORD - 1, RECORD, RECORD + 1, 2 * RECORD, 65546, 300_000)


@implementer(IPushProducer)
class End(Protocol):
    """One end of a connection. Before TLS is up, `opening` is written, and the connection is closed
    if `farewell`. `signs` are what the transport told the producer at this end."""

    transport: Any

    def __init__(
        self, opening: bytes = b"", produces: bool = False, farewell: bool = False
    ) -> None:
        self.received = bytearray()
        self.signs: list[str] = []
        self.endings: list[object] = []
        self.lost: Deferred[str] = Deferred()
        self._opening = opening
        self._produces = produces
        self._farewell = farewell

    def connectionMade(self) -> None:
        if self._produces:
            self.transport.registerProducer(self, True)
        if self._opening:
            self.transport.write(self._opening)
        if self._farewell:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.endings.append(reason.type)
        self.lost.callback(reason.getErrorMessage())

    def pauseProducing(self) -> None:
        self.signs.append("pause")

    def resumeProducing(self) -> None:
        self.signs.append("resume")

    def stopProducing(self) -> None:
        self.signs.append("stop")


@implementer(IPushProducer)
class Stream(End):
    """Writes `total` bytes, a batch of `batch` whenever it may."""

    def __init__(self, total: int, batch: int) -> None:
        super().__init__(produces=True)
        self.sent = bytearray()
        self.stuck: Deferred[None] = Deferred()
        self._total = total
        self._batch = batch
        self._paused = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.go()

    def go(self) -> None:
        while not self._paused and len(self.sent) < self._total:
            data = random.Random(len(self.sent)).randbytes(self._batch)
            self.sent += data
            self.transport.write(data)

    def pauseProducing(self) -> None:
        self._paused = True
        if len(self.sent) > 1_000_000 and not self.stuck.called:
            self.stuck.callback(None)

    def resumeProducing(self) -> None:
        self._paused = False
        self.go()


class Listener(End):
    """Reads a little, then pauses until told to resume. Fires `complete` after `total` bytes."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.paused: Deferred[None] = Deferred()
        self.complete: Deferred[None] = Deferred()
        self._total = total

    def dataReceived(self, data: bytes) -> None:
        if not self.received:
            self.transport.pauseProducing()
            self.paused.callback(None)
        super().dataReceived(data)
        if len(self.received) == self._total:
            self.complete.callback(None)


class StockTests(SynchronousTestCase):
    """Twisted's transport, which is right by definition."""

    transport_class: ClassVar[type[TLSMemoryBIOProtocol]] = TLSMemoryBIOProtocol

    def setUp(self) -> None:
        self.clock = Clock()
        self.random = random.Random(16384)

    def connect(self, client: End | None = None, server: End | None = None) -> tuple[End, End]:
        """Two ends of a TLS connection; nothing has been delivered yet."""
        client, server = client or End(), server or End()
        network = Network(self.clock)
        contexts = Contexts(credentials())
        dialing = client_factory(
            contexts, "mesh.test", ClientFactory.forProtocol(lambda: client), self.clock
        )
        listening = server_factory(contexts, Factory.forProtocol(lambda: server), self.clock)
        dialing.protocol = listening.protocol = self.transport_class
        network.listeners[SERVER, PORT] = listening
        network.connect(CLIENT, SERVER, PORT, dialing, timeout=5)
        self.clock.advance(network.latency)
        return client, server

    def settle(self) -> None:
        """Deliver everything."""
        while self.clock.getDelayedCalls():
            self.clock.advance(0.001)

    def established(self, client: End | None = None) -> tuple[End, End]:
        """The same, and TLS is up."""
        ends = self.connect(client)
        self.settle()
        return ends

    def test_sizes(self) -> None:
        """A write of any size arrives unchanged, in both directions."""
        ends = self.established()
        for sender, receiver in (ends, reversed(ends)):
            for size in SIZES:
                data = self.random.randbytes(size)
                receiver.received.clear()
                sender.transport.write(data)
                self.settle()
                self.assertEqual(receiver.received, data, size)

    def test_many_writes(self) -> None:
        """Writes of all sizes, some of them at once and in both directions, arrive in order."""
        ends = self.established()
        sent = (bytearray(), bytearray())
        for _ in range(200):
            way = self.random.randrange(2)
            data = self.random.randbytes(self.random.choice((*SIZES, 100, 1500)))
            sent[way].extend(data)
            ends[way].transport.write(data)
            if self.random.random() < 0.3:
                self.clock.advance(0.001)
        self.settle()
        self.assertEqual((ends[1].received, ends[0].received), sent)

    def test_sequences(self) -> None:
        """A sequence of pieces arrives as if it were one write."""
        client, server = self.established()
        pieces = [self.random.randbytes(size) for size in SIZES]
        client.transport.writeSequence(pieces)
        self.settle()
        self.assertEqual(server.received, b"".join(pieces))

    def test_before_the_handshake(self) -> None:
        """What is written before TLS is up arrives afterwards, in both directions."""
        openings = [self.random.randbytes(300_000) for _ in range(2)]
        client, server = self.connect(*map(End, openings))
        client.transport.write(b"and more")
        self.settle()
        self.assertEqual(server.received, openings[0] + b"and more")
        self.assertEqual(client.received, openings[1])

    def test_close_flushes(self) -> None:
        """Closing waits until everything written is sent; later writes are not sent; both ends see
        a clean close, once."""
        client, server = self.established()
        data = self.random.randbytes(300_000)
        client.transport.write(data)
        client.transport.loseConnection()
        client.transport.write(b"too late")
        self.settle()
        self.assertEqual(server.received, data)
        self.assertEqual([client.endings, server.endings], [[ConnectionDone]] * 2)

    def test_close_before_the_handshake(self) -> None:
        """Closing before TLS is up still delivers what was written."""
        data = self.random.randbytes(65546)
        client, server = self.connect(End(data, farewell=True))
        self.settle()
        self.assertEqual(server.received, data)
        self.assertEqual([client.endings, server.endings], [[ConnectionDone]] * 2)

    def test_flow_control(self) -> None:
        """A producer is paused when much is in flight, and resumed when it has arrived."""
        client, _server = self.established(End(produces=True))
        client.signs.clear()
        client.transport.write(b"little")
        self.assertEqual(client.signs, [])
        client.transport.write(bytes(300_000))
        self.assertEqual(client.signs, ["pause"])
        self.settle()
        self.assertEqual(client.signs, ["pause", "resume"])

    def test_flow_control_before_the_handshake(self) -> None:
        """A producer that writes before TLS is up is paused until it is."""
        client, server = self.connect(End(b"early", produces=True))
        self.assertEqual(client.signs, ["pause"])
        self.settle()
        self.assertEqual(client.signs, ["pause", "resume"])
        self.assertEqual(server.received, b"early")

    def test_close_waits_for_the_producer(self) -> None:
        """Closing waits for a registered producer, which may write on until it is unregistered."""
        client, server = self.established(End(produces=True))
        client.transport.loseConnection()
        client.transport.write(bytes(65546))
        self.settle()
        self.assertEqual((len(server.received), client.endings), (65546, []))
        client.transport.unregisterProducer()
        self.settle()
        self.assertEqual([client.endings, server.endings], [[ConnectionDone]] * 2)

    def test_abort(self) -> None:
        """Aborting ends both sides, once each; later writes are harmless, even by a producer that
        does not know yet."""
        client, server = self.established(End(produces=True))
        client.transport.abortConnection()
        client.transport.write(bytes(300_000))
        self.settle()
        self.assertEqual((len(client.endings), len(server.endings)), (1, 1))
        self.assertEqual(server.received, b"")
        client.transport.write(b"still there?")

    def test_broken_record(self) -> None:
        """Bytes that are not TLS end the connection, at the reader with a TLS error; later writes
        are harmless at both ends."""
        client, server = self.established()
        server.transport.dataReceived(b"this is no TLS record" * 10)
        server.transport.write(b"into the void")
        self.settle()
        client.transport.write(b"into the void")
        self.assertEqual(server.endings, [SSL.Error])
        self.assertEqual(len(client.endings), 1)
        self.assertEqual((client.received, server.received), (b"", b""))

    def test_refused_by_openssl(self) -> None:
        """A write that OpenSSL refuses ends the connection with OpenSSL's reason."""
        client, _server = self.established()
        client.transport.getHandle().shutdown()
        client.transport.write(b"too late")
        self.settle()
        self.assertEqual(client.endings, [SSL.Error])

    def test_lost_without_a_close(self) -> None:
        """A connection that ends without TLS's close is reported as lost, not as closed."""
        client, server = self.established()
        client.transport.transport.crash(silently=False)
        self.settle()
        self.assertEqual(server.endings, [ConnectionLost])


class BulkTests(StockTests):
    """The bulk transport keeps the same contract, with fewer and larger writes."""

    transport_class = BulkTransport

    def _pieces(self, size: int) -> list[int]:
        """The sizes in which one write gets to the socket."""
        client, _server = self.established()
        pieces: list[int] = []
        self.patch(client.transport.transport, "write", lambda data: pieces.append(len(data)))
        client.transport.write(bytes(size))
        return pieces

    def test_one_batch_is_one_write(self) -> None:
        """The ciphertext of a whole batch goes to the socket at once, 256 KB at most."""
        for size in SIZES[1:]:
            pieces = self._pieces(size)
            self.assertEqual(len(pieces), size // (1 << 18) + 1)
            self.assertGreater(sum(pieces), size)

    def test_what_is_encrypted_already(self) -> None:
        """All ciphertext that is pending when a write comes is sent with it."""
        client, server = self.established()
        connection = client.transport.getHandle()
        for _ in range(20):
            connection.send(bytes(RECORD))
        client.transport.write(b"last")
        self.settle()
        self.assertEqual(server.received, bytes(20 * RECORD) + b"last")

    def test_small_writes_share_segments(self) -> None:
        """Small writes share an skb, up to some KB; then it is sealed, and after a large write as
        well."""
        client, _server = self.established()
        sent: list[tuple[int, bool]] = []

        class Handle:
            def send(self, data: memoryview, flags: int) -> int:
                sent.append((len(data), flags == MSG_EOR))
                return len(data)

        transport = client.transport
        self.patch(bulk, "_is_waiting", lambda transport: False)
        self.patch(transport, "_is_tcp", True)
        transport.transport.getHandle = Handle
        for size in [200] * 100 + [100_000, 1]:
            transport.write(bytes(size))
        *small, (_, large_is_sealed), (_, last_is_sealed) = sent
        seals = [number for number, (_, is_sealed) in enumerate(small) if is_sealed]
        self.assertEqual(len(seals), 2)
        self.assertApproximates(sum(size for size, _ in small[: seals[0] + 1]), 8192, 250)
        self.assertTrue(large_is_sealed)
        self.assertFalse(last_is_sealed)

    def test_nothing_is_nothing(self) -> None:
        """An empty write sends no record."""
        self.assertEqual(self._pieces(0), [])

    def test_it_is_in_use(self) -> None:
        """The installed releases have all that is needed: links do use it."""
        self.assertIs(bulk.transport_class, BulkTransport)
        self.assertTrue(issubclass(TunedTransport, BulkTransport))


class StockSocketTests(TestCase):
    """Twisted's transport on real sockets, with a receiver that pauses."""

    transport_class: ClassVar[type[TLSMemoryBIOProtocol]] = TLSMemoryBIOProtocol

    async def test_bulk(self) -> None:
        """More than the sockets can buffer arrives whole and in order; meanwhile the producer is
        paused."""
        total = 80 * 150_000
        stream, sink = Stream(total, 150_000), Listener(total)
        contexts = Contexts(credentials())
        listening = server_factory(contexts, Factory.forProtocol(lambda: sink), reactor)
        dialing = client_factory(
            contexts, "127.0.0.1", ClientFactory.forProtocol(lambda: stream), reactor
        )
        listening.protocol = dialing.protocol = self.transport_class
        port = reactor.listenTCP(0, listening, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        connector = reactor.connectTCP("127.0.0.1", port.getHost().port, dialing)
        self.addCleanup(connector.disconnect)
        await stream.stuck
        await sink.paused
        self.assertLess(len(stream.sent), total)
        sink.transport.resumeProducing()
        await sink.complete
        self.assertEqual(sink.received, stream.sent)


class SocketTests(StockSocketTests):
    """The bulk transport does the same."""

    transport_class = BulkTransport

    async def test_key_updates(self) -> None:
        """A peer that makes TLS answer again and again, and does not read, is disconnected."""
        await self.assert_refused(lambda listening: listening)

    async def test_key_updates_carried(self) -> None:
        """So is one at the other end of a relayed link."""
        await self.assert_refused(CarriedFactory)

    async def assert_refused(self, below: Callable[[Any], Any]) -> None:
        end = End()
        listening = server_factory(
            Contexts(credentials()), Factory.forProtocol(lambda: end), reactor
        )
        listening.protocol = self.transport_class
        port = reactor.listenTCP(0, below(listening), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        asker = KeyUpdater(port.getHost().port)
        self.addCleanup(asker.close)
        asking = deferToThread(asker.ask_until_refused, 1 << 20)
        why = await end.lost
        self.assertEqual(why, "it does not read what TLS answers it")
        self.assertLess(await asking, 1 << 20)

    for each in (test_key_updates, test_key_updates_carried):
        each.skip = None if LIBSSL else "libssl is missing"  # type: ignore[attr-defined]


class Carried:
    """A transport that is none of TCP's, and says what waits, as relay.transport does."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def is_waiting(self) -> bool:
        return bool(self._transport.dataBuffer or self._transport._tempDataBuffer)


class CarriedProtocol(Protocol):
    """Runs another protocol over that."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def connectionMade(self) -> None:
        self.inner.makeConnection(Carried(self.transport))

    def dataReceived(self, data: bytes) -> None:
        self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.inner.connectionLost(reason)


class CarriedFactory(Factory):
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def buildProtocol(self, addr: Any) -> Protocol:
        return CarriedProtocol(self.inner.buildProtocol(addr))


class KeyUpdater:
    """A TLS client that requests key updates and reads nothing, neither of which the ssl module can
    do."""

    REQUESTED = 1  # SSL_KEY_UPDATE_REQUESTED

    def __init__(self, port: int) -> None:
        self._lib = lib = ctypes.CDLL(LIBSSL)
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._place = ("127.0.0.1", port)
        self._ssl: ctypes.c_void_p | None = None

    def ask_until_refused(self, most: int) -> int:
        """How often it asked before the connection ended, at most `most` times."""
        lib = self._lib
        self._socket.connect(self._place)
        context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        ssl = ctypes.c_void_p(lib.SSL_new(context))
        lib.SSL_set_fd(ssl, self._socket.fileno())
        if lib.SSL_connect(ssl) != 1:
            raise AssertionError("no TLS")
        for count in range(most):
            if lib.SSL_key_update(ssl, self.REQUESTED) != 1 or lib.SSL_do_handshake(ssl) != 1:
                return count
        return most

    def close(self) -> None:
        self._socket.close()
