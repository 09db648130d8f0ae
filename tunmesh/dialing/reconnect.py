"""The reconnecting client factory: one for each peer, and one for each bootstrap group.

As long as it is wanted it tries again and again: at first within `initialDelay`, then with pauses
that may be twice as long each time, up to `maxDelay`, each drawn between zero and that ceiling
(full jitter), so that the nodes of a mesh that restarts as a whole do not dial in step. The ceiling
is reset only when a link was *authenticated*: a port that accepts and hangs up is no success. After
a link that was lost soon after it came up there is a pause as well, longer each time: two nodes
that keep ending each other's links must not do so as fast as they can.

One try is an `Attempt` (dialing.attempt), which looks up the name and tries all its addresses.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol, ReconnectingClientFactory

from tunmesh.addresses import Target
from tunmesh.dialing.attempt import Attempt, DialPolicy, Progress, reason_of
from tunmesh.dialing.dial_limit import DialLimit, DialSlot
from tunmesh.logs import bugs
from tunmesh.timers import Timer
from tunmesh.tls.underlay import Outside

SHORT_LIFE = 5.0  # seconds that a link must have lasted to be linked again without a pause

_EVERYWHERE = Outside()


class Owner(typing.Protocol):
    """What a dialer works for; implemented by dialing.connections.Connector."""

    def build_link(self, dialer: PeerFactory, host: str) -> Protocol:
        """A new link, for a connection to that host."""

    def secure(self, host: str, factory: IProtocolFactory) -> IProtocolFactory:
        """That factory, wrapped so that it speaks TLS to that host."""

    def dialing(self, dialer: PeerFactory, address: str) -> int | None:
        """An address of the target is tried. How many bytes a segment may have (dialing.segments),
        if that is limited."""

    def unreachable(self, dialer: PeerFactory, why: str) -> None:
        """An attempt ended before there was a connection."""


class PeerFactory(ReconnectingClientFactory):
    """Dials a list of targets in turn; pauses only after all of them have failed.

    `draw()`: a random number from 0 to 1. `attempts` counts all that were made; `why` is the reason
    of the last failure, for the status, and `error` what it was, if it was an error.
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
        owner: Owner,
        targets: Sequence[Target],
        draw: Callable[[], float],
        policy: DialPolicy,
    ) -> None:
        self.clock = reactor
        self.targets = tuple(targets)
        self.maxDelay = policy.max_delay
        self.continueTrying = 0
        self.attempts = 0
        self.why = ""
        self.error: BaseException | None = None
        self._owner = owner
        self._draw = draw
        self._policy = policy
        self._is_quiet = policy.is_quiet
        self._limit = policy.limit or DialLimit(1, draw, bugs.caught("a dial could not begin"))
        self._timer = Timer(reactor)  # the next attempt requests its slot
        self._last: Attempt | None = None  # the attempt under way, or the last one
        self._linked = -SHORT_LIFE  # when the last link came up
        self._pause = self.initialDelay  # the longest one after a link that does not last

    @property
    def target(self) -> Target:
        """What the last attempt went to, or the one under way goes to."""
        return self.targets[max(self.attempts - 1, 0) % len(self.targets)]

    @property
    def exhausted(self) -> bool:
        """Whether all rounds have failed."""
        return 0 <= self._policy.rounds < self.retries // len(self.targets)

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next attempt; None while one is under way or waits for its slot."""
        return self._timer.left

    @property
    def _under_way(self) -> Attempt | None:
        return self._last if self._last is not None and not self._last.is_settled else None

    # --- commands ---

    def start(self, delay: float = 0.0) -> None:
        """Keep trying from now on, until `stop`. Idempotent."""
        if self.continueTrying:
            return
        self.resetDelay()
        pause = self._pause_after_link()
        if self._under_way is None:
            self._schedule(max(delay, pause))

    def stop(self) -> None:
        """Make no new attempt. The one under way may succeed: the roster judges links."""
        self.stopTrying()
        self.retries = 0

    def abandon(self) -> None:
        """Stop, and break off the attempt under way unless it is connected already."""
        self.stopTrying()
        if self._last is not None and not self._last.is_idle:
            self._last.cancel()
            self._last.settle()

    def stopTrying(self) -> None:
        self._timer.stop()
        super().stopTrying()
        self._limit.withdraw(self._attempt)

    def add_source(self, source: str) -> None:
        """While it waits for a slot, it may take one of this source as well."""
        self._limit.add_source(self._attempt, source)

    # --- what became of connections ---

    def failed(self) -> None:
        """An attempt failed, before or after it was connected: try its remaining addresses now, or
        again later."""
        if self.continueTrying and self._under_way is not None and self._under_way.go_on():
            return
        self._settle()
        if self.continueTrying:
            self.retry()
            self._policy.progressed(Progress.FAILED)

    def authenticated(self) -> None:
        """An attempt ended in a link."""
        self._settle()
        if self._last is not None:
            self._last.slot.refund()
        self.why = ""
        self._linked = self.clock.seconds()
        self.delay = self.initialDelay
        self.retries = 0

    def hurry(self) -> None:
        """There is reason to believe that the next attempt will do better: make it soon, and as if
        it were the first."""
        if self._timer.is_running and self.continueTrying:
            self.delay = self.initialDelay
            self._schedule(self._draw() * self.initialDelay)

    def pause_at_most(self, seconds: float, is_quiet: bool = False) -> None:
        """The longest pause is this from now on. `is_quiet`: attempts that come to no connection
        are not reported."""
        self.maxDelay = seconds
        self._is_quiet = is_quiet

    def set_reason(self, why: str, error: BaseException | None = None) -> None:
        """The reason for the last failure is this, which the connection itself does not show."""
        self.why, self.error = why, error

    # --- attempts ---

    def retry(self, connector: object = None) -> None:
        self.retries += 1
        if self.retries % len(self.targets):
            self._schedule(0.0)
        elif self.exhausted:
            self.stopTrying()
            self._policy.gave_up()
        else:
            self._schedule(self._draw() * self.delay)
            self.delay = min(self.delay * self.factor, self.maxDelay)

    def _schedule(self, delay: float) -> None:
        self._timer.start(delay, self._request_slot)

    def _pause_after_link(self) -> float:
        """How long to wait because the last link did not last."""
        if self.clock.seconds() - self._linked >= SHORT_LIFE:
            self._pause = self.initialDelay
            return 0.0
        pause, self._pause = self._pause, min(self._pause * self.factor, self.maxDelay)
        return self._draw() * pause

    def _request_slot(self) -> None:
        if self.retries % len(self.targets) == 0:
            with bugs.logged("before a round of dialing"):
                self._policy.begin_round()
        if self.continueTrying:
            self._limit.request(self._attempt, self.retries > 0, self._policy.sources())

    def _attempt(self, slot: DialSlot) -> None:
        self.attempts += 1
        policy = self._policy
        rule = policy.rule or _EVERYWHERE
        attempt = Attempt(self.clock, self.target, self, slot, rule, policy.resolver, policy.order)
        self._last = attempt
        try:
            attempt.begin(self._owner.secure(self.target[0], attempt))
        except Exception as error:  # else this dialer would wait for ever for the attempt to end
            bugs.caught(f"dialing {self.target[0]} failed")(error)
            attempt.cancel()
            if not attempt.is_settled:
                attempt.settle()
                self.not_connected(error)

    def _settle(self) -> None:
        if self._last is not None:
            self._last.settle()

    # --- what the attempt reports ---

    def trying(self, address: str) -> int | None:
        self._policy.progressed(Progress.TRYING)
        return self._owner.dialing(self, address)

    def connected(self) -> Protocol:
        self._policy.progressed(Progress.ANSWERED)
        return self._owner.build_link(self, self.target[0])

    def not_connected(self, error: BaseException | None) -> None:
        if self.continueTrying:
            self.why, self.error = reason_of(error), error
            if not self._is_quiet:
                with bugs.logged("an attempt that failed was not reported"):
                    self._owner.unreachable(self, self.why)
        self.failed()
