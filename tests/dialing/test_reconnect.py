"""The reconnecting client factory, on a fake clock and a network in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocolFactory,
    IResolutionReceiver,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial import unittest
from zope.interface import implementer

from tunmesh.addresses import Target
from tunmesh.dialing.attempt import (
    ATTEMPT_DELAY,
    CONNECT_TIMEOUT,
    MAX_CONNECTIONS,
    SILENCE,
    DialPolicy,
    reason_of,
)
from tunmesh.dialing.dial_limit import DialLimit
from tunmesh.dialing.reconnect import SHORT_LIFE, PeerFactory
from tunmesh.host import access
from tunmesh.testing.network import Network
from tunmesh.testing.reactor import MemoryReactor
from tunmesh.tls.underlay import Outside, Rule

ONE, TWO = ("10.9.0.1", 1), ("10.9.0.2", 2)
LATENCY = 0.001
TICK = 1e-9


def raised(error: Exception) -> None:
    raise error


class Caller:
    """A host with one dialer; it notes what the dialer does."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        rounds: int = -1,
        draw: float = 1.0,
        longest: float = 15.0,
        limit: DialLimit | None = None,
        rule: Rule | None = None,
        resolver: IHostnameResolver | None = None,
        begin_round: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, LATENCY)
        self.links: list[str] = []  # the hosts that it reached
        self.complaints: list[tuple[Target, str]] = []
        self.tried: list[str] = []  # addresses
        self.draw = draw
        self.limit = limit or DialLimit(1, lambda: 0.0, raised)
        self.bug: Callable[[], None] = lambda: None  # raises in `failing_in`
        self.failing_in = ""
        self.dialer = PeerFactory(
            MemoryReactor(self.network, "10.9.0.9"),
            self,
            targets,
            lambda: self.draw,
            DialPolicy(
                self.limit,
                rule=rule,
                resolver=resolver,
                rounds=rounds,
                max_delay=longest,
                begin_round=begin_round,
            ),
        )

    # --- dialing.reconnect.Owner ---

    def build_link(self, dialer: PeerFactory, host: str) -> Protocol:
        self._fail_in("build_link")
        self.links.append(host)
        return Protocol()

    def secure(self, host: str, factory: IProtocolFactory) -> IProtocolFactory:
        self._fail_in("secure")
        return factory

    def dialing(self, dialer: PeerFactory, address: str) -> None:
        self._fail_in("dialing")
        self.tried.append(address)

    def unreachable(self, dialer: PeerFactory, why: str) -> None:
        self._fail_in("unreachable")
        self.complaints.append((dialer.target, why))

    def _fail_in(self, method: str) -> None:
        if method == self.failing_in:
            self.bug()

    def listen(self, target: Target) -> None:
        self.network.listeners[target] = Factory.forProtocol(Protocol)

    def settle(self) -> None:
        """Let time pass until an attempt has ended, or nothing is left to happen."""
        before = len(self.links) + len(self.complaints)
        while self.pause is not None and len(self.links) + len(self.complaints) == before:
            self.clock.advance(max(self.pause, TICK))

    @property
    def pause(self) -> float | None:
        """Seconds to the next attempt."""
        calls = self.clock.getDelayedCalls()
        return calls[0].getTime() - self.clock.seconds() if calls else None

    def pauses(self, count: int) -> list[float]:
        """The pauses after so many failures, rounded to what matters."""
        found = []
        for _ in range(count):
            self.settle()
            found.append(round(self.pause or 0.0, 2))
        return found


@implementer(IHostnameResolver)
class HeldNames:
    """A resolver that answers when the test does."""

    def __init__(self) -> None:
        self.asked: list[IResolutionReceiver] = []

    def resolveHostName(self, resolutionReceiver: IResolutionReceiver, *_: Any) -> Any:
        self.asked.append(resolutionReceiver)


class SlotTests(unittest.TestCase):
    def setUp(self) -> None:
        self.first = Caller((ONE,))
        self.second = Caller((ONE,), limit=self.first.limit)
        for caller in (self.first, self.second):
            caller.listen(ONE)
            caller.dialer.start()
            caller.clock.advance(TICK)

    def dials(self) -> list[int]:
        return [self.first.network.dials, self.second.network.dials]

    def test_waits(self) -> None:
        """Without a slot it dials when another attempt has ended, in a link or not."""
        for end in ("authenticated", "failed"):
            self.setUp()
            self.assertEqual(self.dials(), [1, 0])
            getattr(self.first.dialer, end)()
            self.assertEqual(self.dials(), [1, 1])

    def test_released_once(self) -> None:
        """An attempt releases its slot once, whatever is reported of it later."""
        self.first.dialer.authenticated()
        self.first.dialer.failed()
        self.second.dialer.authenticated()
        self.assertEqual(self.first.limit._free, 1)

    def test_next_address(self) -> None:
        """An attempt that goes on to the next address of a name keeps its slot until that one has
        been silent for a second."""
        first = Caller((("alice", 1),))
        waiting = Caller((ONE,), limit=first.limit)
        first.network.names["alice"] = ["10.9.0.1", "10.9.0.2"]
        first.listen(ONE)
        first.network.cut("10.9.0.9", "10.9.0.2")
        first.dialer.start()
        first.settle()
        waiting.dialer.start()
        waiting.clock.advance(TICK)
        first.dialer.failed()
        self.assertEqual((first.network.dials, waiting.network.dials), (2, 0))
        first.clock.advance(SILENCE)
        self.assertEqual(waiting.network.dials, 1)
        first.clock.advance(CONNECT_TIMEOUT)
        self.assertEqual(first.limit._free, 0)

    def test_silence(self) -> None:
        """An attempt that nobody answers gives up its slot after a second, and goes on without; one
        that is answered keeps it for as long as it takes."""
        slow = Caller((ONE,))
        waiting = Caller((ONE,), limit=slow.limit)
        slow.network.cut("10.9.0.9", ONE[0])
        for caller in (slow, waiting):
            caller.dialer.start()
            caller.clock.advance(0)
        self.assertEqual(waiting.network.dials, 0)
        slow.clock.advance(SILENCE)
        self.assertEqual(waiting.network.dials, 1)
        self.assertEqual((slow.complaints, slow.dialer.retry_in), ([], None))  # still at it
        self.first.clock.advance(SILENCE)
        self.assertEqual(self.dials(), [1, 0])

    def test_stops(self) -> None:
        """A dialer that is stopped while it waits gets no slot; one that is stopped during an
        attempt keeps its slot."""
        self.first.dialer.stop()
        self.assertEqual(self.dials(), [1, 0])
        self.second.dialer.stop()
        self.first.dialer.failed()
        self.assertEqual(self.dials(), [1, 0])
        self.assertEqual(self.first.limit._free, 1)

    def test_lookup(self) -> None:
        """A slot is kept as long as the lookup of a name takes, also when the answer is not wanted
        any more: thousands of names cause no more lookups at once than there are slots."""
        names = HeldNames()
        slow = Caller((("silent", 1),), resolver=names)
        waiting = Caller((ONE,), limit=slow.limit)
        for caller in (slow, waiting):
            caller.dialer.start()
            caller.clock.advance(10 * SILENCE)
        self.assertEqual((len(names.asked), waiting.network.dials), (1, 0))
        slow.dialer.abandon()
        waiting.clock.advance(1)
        self.assertEqual(waiting.network.dials, 0)
        slow.dialer.start()
        slow.clock.advance(1)
        self.assertEqual(len(names.asked), 1)
        names.asked[0].resolutionComplete()
        waiting.clock.advance(1)
        self.assertEqual((len(names.asked) - 1 + waiting.network.dials, slow.complaints), (1, []))

    def test_abandons(self) -> None:
        """An attempt that is broken off releases its slot."""
        caller = Caller((ONE,))
        caller.dialer.start()
        caller.clock.advance(0)
        caller.dialer.abandon()
        self.assertEqual(caller.limit._free, 1)


class PauseTests(unittest.TestCase):
    def test_first_attempt(self) -> None:
        """The first attempt is made at once, or after the delay that was asked for."""
        for delay in (0.0, 3.0):
            caller = Caller((ONE,))
            caller.dialer.start(delay)
            self.assertEqual(caller.pause, delay)
            self.assertEqual(caller.network.dials, 0)
            caller.clock.advance(delay)
            self.assertEqual(caller.network.dials, 1)

    def test_longest(self) -> None:
        """Pauses grow from at most half a second to at most 15 seconds."""
        caller = Caller((ONE,))
        caller.dialer.start()
        self.assertEqual(caller.pauses(8), [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0])

    def test_full_jitter(self) -> None:
        """Each pause is drawn between zero and its ceiling."""
        for draw in (0.0, 0.25):
            caller = Caller((ONE,), draw=draw)
            caller.dialer.start()
            ceilings = (0.5, 1.0, 2.0, 4.0)
            self.assertEqual(caller.pauses(4), [round(draw * top, 2) for top in ceilings])

    def test_own_longest(self) -> None:
        """The longest pause can be chosen."""
        caller = Caller((ONE,), longest=1.5)
        caller.dialer.start()
        self.assertEqual(caller.pauses(4), [0.5, 1.0, 1.5, 1.5])

    def test_connection_is_no_success(self) -> None:
        """A port that accepts and hangs up does not shorten the pauses."""
        caller = Caller((ONE,))
        caller.listen(ONE)
        caller.dialer.start()
        for pause in (0.5, 1.0, 2.0):
            caller.settle()
            caller.dialer.failed()
            self.assertAlmostEqual(caller.pause or 0.0, pause)

    def test_link_is_success(self) -> None:
        """Once a link was authenticated, the next pause is a short one."""
        caller = Caller((ONE,))
        caller.dialer.start()
        caller.pauses(4)
        caller.listen(ONE)
        caller.settle()
        caller.dialer.authenticated()
        caller.dialer.failed()
        self.assertAlmostEqual(caller.pause or 0.0, 0.5)

    def test_links_that_do_not_last(self) -> None:
        """After a link that was lost at once there is a pause too, longer each time; after one
        that had lasted there is none."""
        caller = Caller((ONE,))
        caller.listen(ONE)
        pauses = []
        for lasted in (0.0, 1.0, 0.0, SHORT_LIFE, 0.0, 0.0):
            caller.dialer.start()
            pauses.append(round(caller.pause or 0.0, 6))
            caller.settle()
            caller.dialer.stop()
            caller.dialer.authenticated()
            caller.clock.advance(lasted)
        self.assertEqual(pauses, [0.0, 0.5, 1.0, 2.0, 0.0, 0.5])


class TargetTests(unittest.TestCase):
    def test_in_turn(self) -> None:
        """Several targets are tried without a pause; a pause follows when all have failed."""
        caller = Caller((ONE, TWO))
        caller.dialer.start()
        self.assertEqual(caller.pauses(4), [0.0, 0.5, 0.0, 1.0])
        self.assertEqual([target for target, _ in caller.complaints], [ONE, TWO, ONE, TWO])

    def test_all_after_a_link(self) -> None:
        """When a link to one of several targets is lost, all are tried before a pause."""
        caller = Caller((ONE, TWO))
        caller.listen(ONE)
        caller.dialer.start()
        caller.settle()
        caller.dialer.authenticated()
        caller.dialer.stop()
        caller.network.listeners.clear()
        caller.dialer.start()
        self.assertEqual(caller.pauses(2), [0.0, 0.5])
        self.assertEqual({target for target, _ in caller.complaints}, {ONE, TWO})

    def test_rounds(self) -> None:
        """With a number of retries, the list is tried once and then that many times again."""
        for rounds in (0, 2):
            caller = Caller((ONE, TWO), rounds=rounds)
            caller.dialer.start()
            while caller.pause is not None:
                self.assertFalse(caller.dialer.exhausted)
                caller.clock.advance(caller.pause)
            self.assertEqual(caller.network.dials, 2 * (rounds + 1))
            self.assertTrue(caller.dialer.exhausted)

    def test_rounds_begin_anew(self) -> None:
        """Retries are counted from the last link."""
        caller = Caller((ONE,), rounds=1)
        caller.dialer.start()
        caller.pauses(1)
        caller.listen(ONE)
        caller.settle()
        caller.dialer.authenticated()
        caller.dialer.stop()
        caller.network.listeners.clear()
        caller.dialer.start()
        caller.pauses(1)
        self.assertFalse(caller.dialer.exhausted)
        caller.pauses(1)
        self.assertTrue(caller.dialer.exhausted)


class RoutedTests(unittest.SynchronousTestCase):
    """What is outside the networks that are reached through gateways."""

    def test_why_not(self) -> None:
        """Addresses in them are not dialed, except where this machine has a route of its own."""
        rule = Outside(
            [ip_network("10.77.0.0/16")],
            [ip_network("192.168.0.0/16"), ip_network("fd5e::/64")],
            [ip_network("192.168.7.0/24")],
        )
        for host in ("192.168.5.9", "::ffff:192.168.5.9", "fd5e::9"):
            self.assertIn("reached through the mesh (accept_routes)", rule.why_not(host))
        for host in ("192.168.7.9", "192.0.2.1", "2001:db8::1", "node.example"):
            self.assertEqual(rule.why_not(host), "")
        self.assertIn("inside the mesh", rule.why_not("10.77.0.1"))


class OutsideTests(unittest.TestCase):
    """Addresses inside the mesh are never tried, whatever name resolves to them."""

    def caller(self, *addresses: str) -> Caller:
        rule = Outside([ip_network("10.77.0.0/16"), ip_network("fd77::/64")])
        caller = Caller((("alice", 1),), rule=rule)
        caller.network.names["alice"] = list(addresses)
        caller.listen(ONE)
        caller.dialer.start()
        caller.settle()
        return caller

    def test_only_inside(self) -> None:
        """A name that has only such addresses cannot be reached, and the reason names the address
        and the network; when the name gets another address, that is dialed."""
        for address, network in (
            ("10.77.0.1", "10.77.0.0/16"),
            ("::ffff:10.77.0.1", "10.77.0.0/16"),
            ("fd77::1", "fd77::/64"),
        ):
            caller = self.caller(address)
            self.assertEqual((caller.tried, caller.links), ([], []))
            why = f"{address.removeprefix('::ffff:')} is inside the mesh ({network}), and a link"
            self.assertTrue(caller.complaints[0][1].startswith(why), caller.complaints)
            self.assertIn("cannot run through the mesh: URLs must", caller.dialer.why)
            caller.network.names["alice"] = [address, ONE[0]]
            caller.settle()
            self.assertEqual((caller.tried, caller.links), ([ONE[0]], ["alice"]))

    def test_among_others(self) -> None:
        """Of several addresses those inside are left out; if the others fail, their failure is the
        reason."""
        self.assertEqual(self.caller("fd77::1", ONE[0], "10.77.0.1").links, ["alice"])
        caller = self.caller("fd77::1", TWO[0], "10.77.0.1")
        self.assertEqual(caller.tried, [TWO[0]])
        self.assertEqual(
            caller.complaints, [(("alice", 1), "Connection was refused by other side")]
        )


class BugTests(unittest.TestCase):
    """An exception in our own code ends one attempt. It is logged, and the dialing goes on."""

    def setUp(self) -> None:
        self.caller = self.make_caller()
        self.raising = True

    def make_caller(self, begin_round: Callable[[], None] = lambda: None) -> Caller:
        caller = Caller((ONE,), begin_round=begin_round)
        caller.listen(ONE)
        caller.bug = self.bug
        return caller

    def bug(self) -> None:
        if self.raising:
            raise ZeroDivisionError("injected")

    def goes_on(self, logged: int = 1) -> None:
        """What was raised is logged, and a link is made once nothing is raised any more."""
        self.caller.dialer.start()
        self.caller.clock.advance(0)
        self.caller.clock.advance(LATENCY)
        self.assertEqual(self.caller.links, [])
        self.raising = False
        self.caller.clock.pump([1.0, LATENCY, LATENCY])
        self.assertEqual(self.caller.links, [ONE[0]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)

    def test_before_a_round(self) -> None:
        """Before a round: the round is dialed all the same."""
        self.caller = self.make_caller(self.bug)
        self.caller.dialer.start()
        self.caller.clock.pump([0.0, LATENCY])
        self.assertEqual(self.caller.links, [ONE[0]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_securing(self) -> None:
        """While TLS is prepared: the attempt fails, its slot is released, another one follows."""
        self.caller.failing_in = "secure"
        self.goes_on()
        self.assertEqual(self.caller.complaints, [(ONE, "injected")])

    def test_connecting(self) -> None:
        """While a socket is made: the next address of the name is tried."""
        reactor = self.caller.dialer.clock
        connect = reactor.connectTCP

        def connect_tcp(*arguments: object) -> object:
            self.bug()
            return connect(*arguments)

        reactor.connectTCP = connect_tcp
        self.goes_on(logged=0)
        self.assertEqual(self.caller.complaints, [(ONE, "injected")])

    def test_trying(self) -> None:
        """While it is said that an address is tried: as if that address did not answer."""
        self.caller.failing_in = "dialing"
        self.goes_on(logged=0)
        self.assertEqual(self.caller.complaints, [(ONE, "injected")])

    def test_noting(self) -> None:
        """While a failure is reported."""
        self.caller.network.listeners.clear()
        self.caller.failing_in = "unreachable"
        self.caller.dialer.start()
        self.caller.clock.pump([0.0, LATENCY])
        self.caller.listen(ONE)
        self.goes_on()

    def test_building(self) -> None:
        """While the link is made: Twisted takes that for a connection that failed."""
        self.caller.failing_in = "build_link"
        self.caller.dialer.start()
        self.caller.clock.advance(0)
        attempt = self.caller.dialer._last
        assert attempt is not None
        (connector,) = attempt._connecting
        self.assertRaises(ZeroDivisionError, attempt.buildProtocol, None)
        attempt.clientConnectionFailed(connector, Failure(ConnectError()))
        self.assertIsNotNone(self.caller.pause)


class LinkLocal:
    """A resolver that knows a link-local address for every name, like that of multicast DNS."""

    def resolveHostName(
        self, receiver: IResolutionReceiver, *arguments: object, **options: object
    ) -> None:
        receiver.addressResolved(IPv6Address("TCP", "fe80::7", 1, 0, 3))
        receiver.resolutionComplete()


class NoNames:
    """A resolver that fails at once."""

    def resolveHostName(self, *arguments: object, **options: object) -> None:
        raise LookupError("unknown encoding: punycode")


class NameTests(unittest.TestCase):
    def test_error_is_a_failure(self) -> None:
        """An error in one attempt does not end all attempts."""
        caller = Caller((("a.test", 1),))
        caller.dialer.clock.installNameResolver(NoNames())
        caller.dialer.start()
        self.assertEqual(caller.pauses(3), [0.5, 1.0, 2.0])
        self.assertEqual(caller.complaints[0], (("a.test", 1), "unknown encoding: punycode"))

    def test_link_local(self) -> None:
        """A link-local address is dialed on the interface that the resolver names."""
        caller = Caller((("alice", 1),))
        caller.dialer.clock.installNameResolver(LinkLocal())
        caller.listen(("fe80::7%3", 1))
        caller.dialer.start()
        caller.settle()
        self.assertEqual(caller.links, ["alice"])

    def test_resolved_every_time(self) -> None:
        """A name that changes its address is reached at the new one."""
        caller = Caller((("alice", 1),))
        caller.network.names["alice"] = ["10.9.0.1"]
        caller.listen(("10.9.0.2", 1))
        caller.dialer.start()
        caller.pauses(1)
        self.assertEqual(caller.links, [])
        caller.network.names["alice"] = ["10.9.0.2"]
        caller.settle()
        self.assertEqual(caller.links, ["alice"])

    def test_any_name(self) -> None:
        """Whatever the resolver knows can be dialed, also names that are no valid host names."""
        for name in ("my_app", "_x.a_b.", "-a-", "a" * 70, "a..b", "7"):
            caller = Caller(((name, 1),))
            caller.network.names[name] = ["10.9.0.1"]
            caller.listen(ONE)
            caller.dialer.start()
            caller.settle()
            self.assertEqual((caller.links, caller.complaints), ([name], []))

    def test_every_address(self) -> None:
        """Every address of a name is tried, without waiting for the one before it to time out."""
        caller = Caller((("alice", 1),))
        caller.network.names["alice"] = ["10.9.0.1", "10.9.0.2"]
        caller.network.cut("10.9.0.9", "10.9.0.1")
        caller.listen(("10.9.0.2", 1))
        caller.dialer.start()
        caller.clock.advance(0)
        caller.clock.advance(ATTEMPT_DELAY)
        self.assertEqual(caller.links, [])
        caller.clock.advance(LATENCY)
        self.assertEqual(caller.links, ["alice"])

    def test_first_wins(self) -> None:
        """Of several slow addresses the first that answers is used, and the other connections are
        broken off."""
        caller = Caller((("alice", 1),))
        caller.network.names["alice"] = ["10.9.0.1", "10.9.0.2"]
        caller.network.latency = 2 * ATTEMPT_DELAY
        for host in ("10.9.0.1", "10.9.0.2"):
            caller.listen((host, 1))
        caller.dialer.start()
        caller.settle()
        self.assertEqual((caller.links, caller.network.dials), (["alice"], 2))
        caller.clock.advance(2 * CONNECT_TIMEOUT)
        self.assertEqual((caller.links, caller.complaints, caller.pause), (["alice"], [], None))

    def test_refused_then_next(self) -> None:
        """When an address refuses, the next one is tried at once."""
        caller = Caller((("alice", 1),))
        caller.network.names["alice"] = ["10.9.0.1", "10.9.0.2"]
        caller.listen(("10.9.0.2", 1))
        caller.dialer.start()
        caller.clock.advance(0)
        caller.clock.advance(LATENCY)
        caller.clock.advance(LATENCY)
        self.assertEqual((caller.links, caller.complaints), (["alice"], []))

    def test_turned_away_then_next(self) -> None:
        """When nothing comes of a connection, the attempt goes on with the other addresses at once,
        also with those that were too slow; a pause follows only when all have failed."""
        caller = Caller((("alice", 1),))
        hosts = [f"10.9.0.{number}" for number in (1, 2, 3)]
        caller.network.names["alice"] = hosts
        caller.network.latency = 1.5 * ATTEMPT_DELAY
        for host in hosts[:2]:
            caller.listen((host, 1))
        caller.dialer.start()
        caller.settle()
        caller.dialer.failed()
        self.assertEqual((caller.links, caller.complaints), (["alice"], []))
        caller.settle()
        self.assertEqual(caller.links, ["alice", "alice"])
        caller.dialer.failed()
        self.assertEqual((caller.dialer.attempts, caller.pause), (1, 0.5))

    def test_turned_away_everywhere(self) -> None:
        """An attempt makes a few connections at most, however many addresses a name has."""
        caller = Caller((("alice", 1),))
        hosts = [f"10.9.0.{number}" for number in range(1, 9)]
        caller.network.names["alice"] = hosts
        for host in hosts:
            caller.listen((host, 1))
        caller.dialer.start()
        for _ in range(MAX_CONNECTIONS):
            self.assertEqual(caller.dialer.attempts, min(len(caller.links), 1))
            caller.settle()
            caller.dialer.failed()
        self.assertEqual(len(caller.links), MAX_CONNECTIONS)
        self.assertEqual(caller.pause, 0.5)

    def test_turned_away_when_stopped(self) -> None:
        """Once stopped it does not go on to the next address."""
        caller = Caller((("alice", 1),))
        caller.network.names["alice"] = ["10.9.0.1", "10.9.0.2"]
        caller.listen(ONE)
        caller.dialer.start()
        caller.settle()
        caller.dialer.stop()
        caller.dialer.failed()
        self.assertEqual((caller.network.dials, caller.pause), (1, None))

    def test_silent_host(self) -> None:
        """A host that does not answer is given up after a while."""
        caller = Caller((ONE,))
        caller.network.cut("10.9.0.9", "10.9.0.1")
        caller.dialer.start()
        caller.clock.advance(0)
        caller.clock.advance(CONNECT_TIMEOUT)
        self.assertEqual(caller.complaints, [(ONE, "no answer within 5 s")])

    def test_reasons(self) -> None:
        """The reason of a failed attempt is given in plain words."""
        for host, words in (
            ("10.9.0.1", "Connection was refused by other side"),
            ("nowhere", "its name does not resolve"),
            ("a..b", "its name does not resolve"),
        ):
            caller = Caller(((host, 1),))
            caller.dialer.start()
            caller.settle()
            self.assertEqual(caller.complaints, [((host, 1), words)])
            self.assertIsNotNone(caller.pause)

    def test_locked_lookups(self) -> None:
        """If a name does not resolve because this user may not read resolv.conf, the reason says
        so."""
        self.patch(access, "locked_lookups", lambda: ["/etc/resolv.conf"])
        caller = Caller((("alice", 1),))
        caller.dialer.start()
        caller.settle()
        why = f"uid {os.geteuid()} may not read /etc/resolv.conf (chmod 644)"
        self.assertEqual(caller.complaints, [(("alice", 1), f"its name does not resolve: {why}")])

    def test_rejected(self) -> None:
        """If Twisted has an object instead of an error of the socket, that object is not shown."""
        told = ConnectError(string=Failure(ConnectionDone()))
        why = "turned down: nobody listens there, or a firewall rejects it"
        self.assertEqual(reason_of(told), why)


class WantedTests(unittest.TestCase):
    def test_started_twice(self) -> None:
        """Starting again changes nothing."""
        caller = Caller((ONE,))
        caller.dialer.start(2.0)
        caller.dialer.start(0.0)
        self.assertEqual(caller.pause, 2.0)

    def test_stopped_while_waiting(self) -> None:
        """Once stopped it does not dial."""
        caller = Caller((ONE,))
        caller.dialer.start()
        caller.dialer.stop()
        self.assertIsNone(caller.pause)

    def test_stopped_while_connecting(self) -> None:
        """An attempt under way may still succeed after a stop; if it fails, it is the last one, and
        is not reported."""
        for listening in (True, False):
            caller = Caller((ONE,))
            if listening:
                caller.listen(ONE)
            caller.dialer.start()
            caller.clock.advance(0)
            caller.dialer.stop()
            caller.settle()
            self.assertEqual(caller.links, ["10.9.0.1"] if listening else [])
            self.assertEqual(caller.complaints, [])
            self.assertEqual(caller.network.dials, 1)
            caller.clock.advance(60)
            self.assertEqual(caller.network.dials, 1)

    def test_started_again_while_connecting(self) -> None:
        """Started again before its attempt has ended, it goes on with that one."""
        caller = Caller((ONE,))
        caller.dialer.start()
        caller.clock.advance(0)
        caller.dialer.stop()
        caller.dialer.start()
        caller.settle()
        self.assertEqual(caller.network.dials, 1)
        self.assertEqual(len(caller.complaints), 1)
        self.assertEqual(caller.pause, 0.5)

    def test_abandoned_while_connecting(self) -> None:
        """Abandoned, it breaks off its attempt, and can be started again."""
        caller = Caller((ONE,))
        caller.listen(ONE)
        caller.dialer.start()
        caller.clock.advance(0)
        caller.dialer.abandon()
        caller.settle()
        self.assertEqual(caller.links, [])
        self.assertIsNone(caller.pause)
        caller.dialer.start()
        caller.settle()
        self.assertEqual(caller.links, ["10.9.0.1"])

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.sampled_from(["start", "stop", "abandon", "time", "fail", "link"]), max_size=25)
    )
    def test_any_order(self, steps: list[str]) -> None:
        """Whatever the order of events, there is never more than one attempt, none after a stop,
        and always another one until then."""
        caller = Caller((ONE, TWO, ("both", 2)))
        caller.network.names["both"] = [TWO[0], ONE[0]]
        caller.listen(TWO)
        connected = 0
        for step in steps:
            waiting = len(caller.links) - connected  # connections whose fate is open
            if step in ("start", "stop", "abandon"):
                getattr(caller.dialer, step)()
            elif step == "time":
                caller.clock.advance(caller.pause or 0.0)
            elif waiting and step == "fail":
                connected += 1
                caller.dialer.failed()
            elif waiting and step == "link":
                connected += 1
                caller.dialer.authenticated()
                caller.dialer.stop()
            waiting = len(caller.links) - connected
            self.assertLessEqual(waiting, 1)
            if caller.dialer.continueTrying:
                self.assertTrue(waiting or caller.pause is not None)
        caller.dialer.abandon()
        dials = caller.network.dials
        caller.clock.advance(60)
        self.assertEqual(caller.network.dials, dials)
