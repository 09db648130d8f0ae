"""One attempt to connect to one host and port: look up its name, try its addresses, hand over.

    resolving ──> trying addresses ──> connected ──┬──> settled: a link, or none
                    ^      └── all failed ──────────┤
                    └── go_on: nothing came of it ──┘

The addresses of a name are tried one after the other, the next one when one has failed or
ATTEMPT_DELAY has passed (RFC 8305, section 5). The first that answers wins, and the connections to
the others are broken off. If the winner comes to nothing (it is this node itself, or sends us
away), the attempt goes on with the addresses that are left: the name of a headless service has the
address of this node, too, and waiting each time that chance leads there means staying alone for
long.

A member may make up nodes at names of its own, which lead anywhere. So of a name that is not the
operator's MAX_ADDRESSES are tried in one attempt, and each of them is paid for like a dial.

An attempt holds a slot of the DialLimit. It keeps the slot for as long as its name is being looked
up, even if it was abandoned meanwhile, since the lookup occupies a thread; then for as long as the
handshake takes, but for no more than SILENCE while nobody answers.

Which names are valid is for the resolver to say. Twisted's HostnameEndpoint would refuse those with
an underscore (Compose generates such names); besides, it defines a class for each dial, and adds a
layer that every byte passes.
"""

from __future__ import annotations

import os
import typing
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError, DNSLookupError, NotConnectingError
from twisted.internet.error import TimeoutError as NoAnswer
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IProtocolFactory,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import Target, scoped_host
from tunmesh.dialing.address_order import AddressOrder
from tunmesh.dialing.dial_limit import DialLimit, DialSlot
from tunmesh.errors import FailureReason, PeerError
from tunmesh.host import access
from tunmesh.timers import Timer
from tunmesh.tls.transport import limit_segments
from tunmesh.tls.underlay import Rule

CONNECT_TIMEOUT = 5.0  # seconds for each address of a name
ATTEMPT_DELAY = 0.3  # seconds from one address of a name to the next
MAX_ADDRESSES = 8  # of the name of one node; of a bootstrap group's, all
MAX_CONNECTIONS = 3  # in one attempt, so that a node that is sent away does not try a whole mesh
SILENCE = 1.0  # seconds that an unanswered attempt keeps its slot once its name is resolved


class Progress(Enum):
    """How far an attempt has come."""

    TRYING = auto()  # a connection to an address begins
    ANSWERED = auto()  # one was established
    FAILED = auto()  # there was none, or no link came of it


@dataclass(frozen=True, slots=True)
class DialPolicy:
    """How targets are dialed. Durations are seconds.

    - `limit`: limits the dials that are under way at once; None: there is no such limit;
    - `sources()`: the sources that a dial waits with (dialing.dial_limit);
    - `rule`: which addresses are dialed; None: all that are outside the mesh;
    - `resolver`: looks up names; None: the reactor does;
    - `order`: in which the addresses of a name are tried; None: as the resolver has them;
    - `rounds`: how often the targets are tried again before giving up, -1 for no end;
    - `max_delay`: the longest pause between two rounds;
    - `begin_round()`: called before each round; it may stop the dialing;
    - `gave_up()`: called when all rounds have failed;
    - `progressed(how far)`: called when an attempt has come so far;
    - `is_quiet`: attempts that come to no connection are not reported.
    """

    limit: DialLimit | None = None
    sources: Callable[[], Collection[str]] = lambda: ("",)
    rule: Rule | None = None
    resolver: IHostnameResolver | None = None
    order: AddressOrder | None = None
    rounds: int = -1
    max_delay: float = 15.0
    begin_round: Callable[[], None] = lambda: None
    gave_up: Callable[[], None] = lambda: None
    progressed: Callable[[Progress], None] = lambda progress: None
    is_quiet: bool = False


class Owner(typing.Protocol):
    """What an attempt reports to; implemented by dialing.reconnect.PeerFactory."""

    def trying(self, address: str) -> int | None:
        """A connection to this address begins. How many bytes its segments may have at most; None:
        as many as the devices at both ends take."""

    def connected(self) -> Protocol:
        """One was established: the protocol for it."""

    def not_connected(self, error: BaseException | None) -> None:
        """No address answered."""


@implementer(IResolutionReceiver)
class Attempt(ClientFactory):
    """One attempt at one target, with this slot. `rule` says which addresses are left out, `order`
    which ones are tried first."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        target: Target,
        owner: Owner,
        slot: DialSlot,
        rule: Rule,
        resolver: IHostnameResolver | None,
        order: AddressOrder | None = None,
    ) -> None:
        self.is_idle = False  # connected, failed, or broken off: no address is being tried
        self.is_settled = False
        self.slot = slot
        self._is_resolving = False
        self._reactor = reactor
        self._target = target
        self._owner = owner
        self._rule = rule
        self._resolver = resolver or reactor.nameResolver
        self._order = order
        self._outer: IProtocolFactory
        self._addresses: deque[str] = deque()  # not tried yet
        self._connecting: dict[IConnector, str] = {}  # and to which address
        self._has_tried = False
        self._connections = 0
        self._next, self._silence = Timer(reactor), Timer(reactor)  # which releases the slot
        self._error: BaseException | None = DNSLookupError()

    def begin(self, outer: IProtocolFactory) -> None:
        """Connect for `outer`, a factory that wraps this one."""
        self._outer = outer
        self._is_resolving = True
        try:
            self._resolver.resolveHostName(self, *self._target)
        except Exception as error:  # some names cannot even be encoded
            self._error = error
            self.resolutionComplete()

    def go_on(self) -> bool:
        """Nothing came of what it connected to: try the remaining addresses, if there are any.
        Returns whether there are."""
        if not self.is_idle or not self._addresses or self._connections == MAX_CONNECTIONS:
            return False
        self.is_idle = False
        self._try_next()
        if not self.slot.is_released:
            self._silence.start(SILENCE, self.slot.release)
        return True

    def cancel(self) -> None:
        """Break off all connections that are not established yet."""
        self.is_idle = True
        self._next.stop()
        for connector in tuple(self._connecting):
            with suppress(NotConnectingError):
                connector.stopConnecting()

    def settle(self) -> None:
        """It is over, whatever came of it."""
        self.is_settled = True
        self._silence.stop()
        if not self._is_resolving:
            self.slot.release()

    def _try_next(self) -> None:
        self._next.stop()
        if self.is_idle:
            return
        if self._addresses:
            host = self._addresses.popleft()
            if self._addresses:
                self._next.start(ATTEMPT_DELAY, self._try_next)
            port = self._target[1]
            if self._has_tried:
                self.slot.pay_again()
            self._has_tried = True
            try:
                limit = self._owner.trying(host)
                connector = self._reactor.connectTCP(host, port, self._outer, CONNECT_TIMEOUT)
                if limit is not None:  # Twisted connects in the next iteration of the reactor
                    limit_segments(connector, limit)
            except Exception as error:
                self._error = error
                self._try_next()
            else:
                self._connecting[connector] = host
        elif not self._connecting:
            self.is_idle = True
            self._owner.not_connected(self._error)

    # --- what the resolver and the connections report ---

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """It will end, whatever becomes of the attempt."""

    def addressResolved(self, address: Any) -> None:
        why = self._rule.why_not(address.host)
        if why:
            self._error = PeerError(
                FailureReason.NOT_DIALED, why
            )  # unless there is another address to try
        elif self._order is not None or len(self._addresses) < MAX_ADDRESSES:
            scope = getattr(address, "scopeID", 0)  # of IPv6, link-local
            self._addresses.append(scoped_host(address.host, int(scope)))

    def resolutionComplete(self) -> None:
        if not self._is_resolving:
            return
        self._is_resolving = False
        if self._order is not None:
            self._addresses = deque(self._order.sort(self._addresses, self._target[1]))
        if self.is_settled:
            self.slot.release()
        else:
            self._silence.start(SILENCE, self.slot.release)
        self._try_next()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self._silence.stop()
        built = self._owner.connected()  # if it raises, this connection has failed like any other
        self.cancel()
        self._connecting.clear()
        self._connections += 1
        if self._order is not None and isinstance(addr, IPv4Address | IPv6Address):
            self._order.answered(addr.host, self._target[1])
        return built

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        host = self._connecting.pop(connector)
        if self.is_idle:
            self._addresses.append(host)  # broken off because another one was established
            return
        self._error = reason.value
        self._try_next()


def reason_of(error: BaseException | None) -> str:
    """Why no connection could be established, for people."""
    if isinstance(error, DNSLookupError):
        locked = access.names_are_locked()
        return f"its name does not resolve{': ' * bool(locked)}{locked}"
    if isinstance(error, NoAnswer):
        return f"no answer within {CONNECT_TIMEOUT:.0f} s"
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    if type(error) is ConnectError:
        # An ICMP error may arrive before the socket has one of its own: then Twisted has none.
        return "turned down: nobody listens there, or a firewall rejects it"
    return str(error).rstrip(".")
