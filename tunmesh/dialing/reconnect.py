"""The reconnecting client factory: one for each peer, and one for each bootstrap group.

While it is wanted it tries again and again: at first after at most `initialDelay`, then after up to
twice as long each time, at most `maxDelay`, each delay drawn anew between zero and that ceiling
(full jitter), so that a mesh that restarts as a whole does not knock in step. The delay is reset
only when a link was *authenticated*: a port that accepts and then hangs up is no success. When a
link is lost that had hardly come up, the next one waits likewise, longer each time: else two nodes
that cannot bear each other would link and part without end, as fast as they can.

A name is resolved anew at every attempt, and every address it has is a candidate (`Attempt`), not
only until one is connected: if nothing comes of that connection, the attempt goes on with the
others. The name of a headless service has the address of this node itself; to wait each time that
chance leads there is to stay alone for long.

What is a name is the resolver's to say. Twisted's HostnameEndpoint would refuse those with an
underscore (Compose gives such to its services); besides, it defines a class anew for each dial, and
leaves a layer behind that every byte goes through.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.error import ConnectError, DNSLookupError, NotConnectingError
from twisted.internet.error import TimeoutError as NoAnswer
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IProtocolFactory,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, Protocol, ReconnectingClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.dialing.dial_limit import Turn, Turns
from tunmesh.errors import PeerError
from tunmesh.host import access
from tunmesh.logs import bugs
from tunmesh.tls.underlay import Outside, Rule

CONNECT_TIMEOUT = 5.0  # seconds for each address of a name
ATTEMPT_DELAY = 0.3  # seconds from one address of a name to the next
MAX_CONNECTIONS = 3  # in one attempt: who is turned away does not go round all of a large mesh
# Seconds, from when its name is resolved, that an attempt which nobody answers may keep others
# waiting for their turn.
TURN = 1.0
SHORT_LIFE = 5.0  # seconds that a link must have lasted to be linked anew without a pause

EVERYWHERE = Outside()  # of no mesh: nothing is inside

Target = tuple[str, int]  # host, port


class PeerFactory(ReconnectingClientFactory):
    """Dials a list of targets in turn; a pause only follows after all have failed.

    - `build(self, host)`: a new link, for a connection to that host;
    - `secure(host, factory)`: that factory, wrapped so that it speaks TLS to that host;
    - `draw()`: a random number from 0 to 1;
    - `unreachable(self, text)`: told of attempts that ended before there was a connection;
    - `dialing(self, address)`: told of every address of a target that is tried;
    - `outside`: tells which addresses are never tried;
    - `turns`: where it asks for its turn before each attempt, and keeps it while the name is
      looked up, even if nobody wants the answer any more;
    - `sources()`: whose turn it may be (dialing.dial_limit);
    - `names`: looks up names, if not the resolver of the reactor;
    - `rounds`: how often the list is gone through again before it gives up, -1 for no end;
    - `begin_round()`: called before the first target of each round. It may stop the dialing.
    """

    noisy = False
    initialDelay = 0.5
    delay: float
    maxDelay: Any  # the base class says int
    clock: Any
    factor = 2.0

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[Target],
        build: Callable[[PeerFactory, str], Protocol],
        secure: Callable[[str, IProtocolFactory], IProtocolFactory],
        draw: Callable[[], float],
        unreachable: Callable[[PeerFactory, str], None],
        turns: Turns,
        rounds: int = -1,
        max_delay: float = 15.0,
        begin_round: Callable[[], None] = lambda: None,
        dialing: Callable[[PeerFactory, str], None] = lambda dialer, address: None,
        outside: Rule = EVERYWHERE,
        sources: Callable[[], Collection[str]] = lambda: ("",),
        names: IHostnameResolver | None = None,
    ) -> None:
        self.clock = reactor
        self.targets = tuple(targets)
        self.maxDelay = max_delay
        self.continueTrying = 0
        self.attempts = 0
        self.why = ""  # the last attempt failed
        self._build = build
        self._secure = secure
        self._draw = draw
        self._rounds = rounds
        self._unreachable = unreachable
        self._dialing = dialing
        self._outside = outside
        self._sources = sources
        self._names = names
        self._begin_round = begin_round
        self._turns = turns
        self._scheduled: IDelayedCall | None = None  # the next attempt asks for its turn
        self._connecting: Attempt | None = None
        self._turn: Turn | None = None  # the last one
        self._silence: IDelayedCall | None = None  # ends the turn of an attempt that nobody answers
        self._linked = -SHORT_LIFE  # when the last link came up
        self._pause = self.initialDelay  # the longest one before a link like the last one

    @property
    def target(self) -> Target:
        """What the last attempt went to, or the one under way goes to."""
        return self.targets[max(self.attempts - 1, 0) % len(self.targets)]

    @property
    def exhausted(self) -> bool:
        """Whether all rounds came to nothing."""
        return 0 <= self._rounds < self.retries // len(self.targets)

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt; None while one is under way or waits for its turn."""
        call = self._scheduled
        return max(0.0, call.getTime() - self.clock.seconds()) if call is not None else None

    def start(self, delay: float = 0.0) -> None:
        """Link, from now on, until `stop`. Nothing happens if it is at it already."""
        if self.continueTrying:
            return
        self.resetDelay()
        pause = self._pause_after_link()
        if self._connecting is None:
            self._schedule(max(delay, pause))

    def _pause_after_link(self) -> float:
        """How long to wait because the last link did not last."""
        if self.clock.seconds() - self._linked >= SHORT_LIFE:
            self._pause = self.initialDelay
            return 0.0
        pause, self._pause = self._pause, min(self._pause * self.factor, self.maxDelay)
        return self._draw() * pause

    def stop(self) -> None:
        """No new attempt. The one under way may end as it likes: if a link comes of it, it is the
        roster's to judge."""
        self._stop()
        self.retries = 0

    def abandon(self) -> None:
        """Stop, and break off the attempt under way unless it is connected already."""
        self._stop()
        if self._connecting is not None and not self._connecting.is_over:
            self._connecting.cancel()
            self._settle()

    def _stop(self) -> None:
        self.stopTrying()
        self._turns.withdraw(self._attempt)

    def failed(self) -> None:
        """An attempt came to nothing, before or after it was connected: try again later, unless
        there are addresses left to try now."""
        if self.continueTrying and self._connecting is not None and self._connecting.go_on():
            if self._turn is not None and not self._turn.is_over:
                self._silence = self.clock.callLater(TURN, self._turn.end)
            return
        self._settle()
        if self.continueTrying:
            self.retry()

    def authenticated(self) -> None:
        """An attempt ended in a link."""
        self._settle()
        if self._turn is not None:
            self._turn.proved()
        self.why = ""
        self._linked = self.clock.seconds()
        self.delay = self.initialDelay
        self.retries = 0

    def retry(self, connector: object = None) -> None:
        self.retries += 1
        if self.retries % len(self.targets):
            self._schedule(0.0)
        elif self.exhausted:
            self.stopTrying()
        else:
            self._schedule(self._draw() * self.delay)
            self.delay = min(self.delay * self.factor, self.maxDelay)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self._stop_silence()
        return self._build(self, self.target[0])

    def _schedule(self, delay: float) -> None:
        self._scheduled = self.clock.callLater(delay, self._ask_for_turn)

    def stopTrying(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        super().stopTrying()

    def _ask_for_turn(self) -> None:
        self._scheduled = None
        if self.retries % len(self.targets) == 0:
            with bugs.logged("before a round of dialing"):
                self._begin_round()
        if self.continueTrying:
            self._turns.ask(self._attempt, self.retries > 0, self._sources())

    def vouched(self, source: str) -> None:
        """It may go with this source, too, if it waits for its turn."""
        self._turns.also(self._attempt, source)

    def _settle(self) -> None:
        """The attempt is over. Its turn lasts until the lookup has ended that it began."""
        attempt, self._connecting = self._connecting, None
        self._stop_silence()
        if self._turn is not None and (attempt is None or not attempt.is_resolving):
            self._turn.end()

    def _resolved(self, turn: Turn) -> None:
        """The lookup of an attempt has ended."""
        if turn is self._turn and self._connecting is not None:
            self._silence = self.clock.callLater(TURN, turn.end)
        else:
            turn.end()

    def _stop_silence(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()

    def _attempt(self, turn: Turn) -> None:
        self._turn = turn
        self.attempts += 1
        self._connecting = attempt = Attempt(
            self.clock,
            self.target,
            self.buildProtocol,
            self._not_connected,
            lambda address: self._dialing(self, address),
            self._outside,
            lambda: self._resolved(turn),
            self._names,
        )
        try:
            attempt.begin(self._secure(self.target[0], attempt))
        except Exception as error:  # else this dialer would wait for ever for the attempt to end
            bugs.caught(f"dialing {self.target[0]} failed")(error)
            attempt.cancel()
            if self._connecting is attempt:
                self._connecting = None
                self._not_connected(error)

    def _not_connected(self, error: BaseException | None) -> None:
        if self.continueTrying:
            self.why = reason_of(error)
            with bugs.logged("an attempt that failed was not noted"):
                self._unreachable(self, self.why)
        self.failed()


@implementer(IResolutionReceiver)
class Attempt(ClientFactory):
    """One attempt to connect. The addresses of a name are tried in turn, the next one when one has
    failed or ATTEMPT_DELAY has passed (RFC 8305, section 5); the first that answers wins, and the
    others are broken off, to be tried again should it `go_on`. `failed(error)` is told when none
    answered, `trying(address)` of each, `resolved()` of the end of the lookup, whatever has become
    of the attempt. Addresses that `outside` objects to are left out."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        target: Target,
        build: Callable[[IAddress | None], Protocol],
        failed: Callable[[BaseException | None], None],
        trying: Callable[[str], None],
        outside: Rule,
        resolved: Callable[[], None],
        names: IHostnameResolver | None,
    ) -> None:
        self.is_over = False  # connected, failed, or broken off
        self.is_resolving = True
        self._resolved = resolved
        self._names = names
        self._reactor = reactor
        self._target = target
        self._build = build
        self._failed = failed
        self._trying = trying
        self._outside = outside
        self._outer: IProtocolFactory
        self._waiting: deque[str] = deque()  # addresses that were not tried yet
        self._tried: dict[IConnector, str] = {}  # those that have not failed yet, and where to
        self._connections = 0
        self._next: IDelayedCall | None = None
        self._error: BaseException | None = DNSLookupError()

    def begin(self, outer: IProtocolFactory) -> None:
        """Connect for `outer`, a factory that wraps this one."""
        self._outer = outer
        names = self._names or self._reactor.nameResolver
        try:
            names.resolveHostName(self, *self._target)
        except Exception as error:  # a name may be such that already to speak of it is an error
            self._error = error
            self.resolutionComplete()

    def go_on(self) -> bool:
        """Nothing came of what it connected to. Whether there are addresses left to be tried."""
        if not self.is_over or not self._waiting or self._connections == MAX_CONNECTIONS:
            return False
        self.is_over = False
        self._go_on()
        return True

    def cancel(self) -> None:
        """Break it off, or all of it but what is connected."""
        self.is_over = True
        self._stop_waiting()
        for connector in tuple(self._tried):
            with suppress(NotConnectingError):
                connector.stopConnecting()

    def _go_on(self) -> None:
        self._stop_waiting()
        if self.is_over:
            return
        if self._waiting:
            host = self._waiting.popleft()
            if self._waiting:
                self._next = self._reactor.callLater(ATTEMPT_DELAY, self._go_on)
            self._trying(host)
            port = self._target[1]
            try:
                connector = self._reactor.connectTCP(host, port, self._outer, CONNECT_TIMEOUT)
            except Exception as error:
                self._error = error
                self._go_on()
            else:
                self._tried[connector] = host
        elif not self._tried:
            self.is_over = True
            self._failed(self._error)

    def _stop_waiting(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()

    # --- what the resolver and the connections tell ---

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """It will end, whatever becomes of the attempt."""

    def addressResolved(self, address: Any) -> None:
        why = self._outside.why_not(address.host)
        if why:
            self._error = PeerError("not_dialed", why)  # unless there is another one to try
        else:
            self._waiting.append(address.host)

    def resolutionComplete(self) -> None:
        if self.is_resolving:
            self.is_resolving = False
            self._resolved()
            self._go_on()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        built = self._build(addr)  # if it raises, this connection has failed like any other
        self.cancel()
        self._tried.clear()
        self._connections += 1
        return built

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        host = self._tried.pop(connector)
        if self.is_over:
            self._waiting.append(host)  # broken off for another one that was connected
            return
        self._error = reason.value
        self._go_on()


def shown_target(target: Target) -> str:
    """host:port, with an IPv6 address in brackets."""
    host, port = target
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reason_of(error: BaseException | None) -> str:
    """What a person needs to know of a failed attempt to connect."""
    if isinstance(error, DNSLookupError):
        locked = access.names_are_locked()
        return f"its name does not resolve{': ' * bool(locked)}{locked}"
    if isinstance(error, NoAnswer):
        return f"no answer within {CONNECT_TIMEOUT:.0f} s"
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    if type(error) is ConnectError:
        # An ICMP error may be there before the socket has one of its own: then Twisted has none.
        return "turned down: nobody listens there, or a firewall rejects it"
    return str(error).rstrip(".")
