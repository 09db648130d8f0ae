"""Pings on one link: at the times that link.keepalive decides, and when somebody asks whether the
other end is alive."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from tunmesh.errors import PeerError
from tunmesh.link.keepalive import KeepAlive, Timing
from tunmesh.timers import Timer
from tunmesh.wire import messages


class Pinger:
    """`write(payload)` sends a message, `measured(seconds)` is told each round trip, `failed` when
    the other end is silent for too long."""

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[[bytes], None],
        measured: Callable[[float], None],
        failed: Callable[[PeerError], None],
    ) -> None:
        self.keepalive = KeepAlive(clock.seconds())
        self._clock = clock
        self._write = write
        self._measured = measured
        self._failed = failed
        self._is_on = False
        self._timer = Timer(clock)
        self._timing = Timing()
        self._probes: list[Callable[[bool], None]] = []
        self._probe_timer = Timer(clock)

    def adopt(self, timing: Timing) -> None:
        """Go by these intervals from the next start on."""
        self._timing = timing
        self.keepalive.ping_interval = timing.ping_interval
        self.keepalive.silence = timing.silence

    def start(self, dialed: bool) -> None:
        """The link is up."""
        self._is_on = True
        self._look_in(self.keepalive.begin(self._clock.seconds(), dialed))

    def stop(self) -> None:
        """Ping no more."""
        self._is_on = False
        self._timer.stop()

    def take_first_turn(self) -> None:
        """Ping now, unless that has been done."""
        if not self.keepalive.pings:
            self._take_turn()

    def ping(self) -> None:
        """Ping now, whoever's turn it is."""
        self._write(b"i" + self.keepalive.ping(self._clock.seconds()))

    def probe(self, answered: Callable[[bool], None]) -> None:
        """Ping now; `answered` is told whether a pong came within `probe_timeout`."""
        self._probes.append(answered)
        if len(self._probes) == 1:
            self._probe_timer.start(self._timing.probe_timeout, self._no_answer)
            self.ping()

    def heard(self) -> None:
        """Anything was received."""
        self.keepalive.heard(self._clock.seconds())

    def ping_received(self) -> None:
        """The other end had its turn. Our first one is now."""
        if not self._is_on:
            return
        if not self.keepalive.pings:
            self._take_turn()
            return
        delay = self.keepalive.pinged(self._clock.seconds())
        if delay is not None:
            self._look_in(delay)

    def pong_received(self, token: bytes) -> None:
        round_trip = self.keepalive.ponged(self._clock.seconds(), token)
        if round_trip is not None:
            self._measured(round_trip)
            self._answer_probes(True)

    def connection_lost(self) -> None:
        """Whoever waits for an answer need not wait."""
        self.stop()
        self._answer_probes(False)

    def _turn_due(self) -> None:
        if self.keepalive.is_dead(self._clock.seconds()):
            silent = f"silent for {self._timing.silence:g} s"
            self._failed(PeerError(messages.SILENT, silent))
        else:
            self._take_turn()

    def _take_turn(self) -> None:
        self._look_in(self.keepalive.take_turn(self._clock.seconds()))
        if not self._probes:
            self.ping()

    def _look_in(self, delay: float) -> None:
        self._timer.start(delay, self._turn_due)

    def _no_answer(self) -> None:
        self._answer_probes(False)

    def _answer_probes(self, is_alive: bool) -> None:
        self._probe_timer.stop()
        probes, self._probes = self._probes, []
        for answered in probes:
            answered(is_alive)
