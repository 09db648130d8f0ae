"""The tun of this node while it runs: what others take from it is put back, and what a reload says
about it is done. Both need an Assigner. Without one the complaints name the commands that help, and
the log says that changed keys need a restart.

    watch ── findings ──> put back: BURST times at once, then every 1/RATE seconds ──> restored
    reload ── DeviceSettings ──> MTU and txqueuelen; the addresses that came are put on the tun,
                                 this node uses and claims them, those that went are taken off

One change of the device at a time: what came meanwhile is looked at when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred

from tunmesh.addresses import Interface
from tunmesh.errors import OperatorError
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.node.own.addresses import OwnAddresses
from tunmesh.node.parts import Parts
from tunmesh.node.settings import Assigner, DeviceSettings
from tunmesh.rate_limit import TokenBucket
from tunmesh.status.node import DeviceStatus

# How often the device is put right: another program may undo that as soon as it is done.
BURST, RATE = 5, 0.1
ANY_MTU = 0  # a watch expects none
AGAIN = 5.0  # seconds after which it is tried again if that has not helped


class OwnDevice:
    """`changed()` is called when the device has another MTU or other addresses."""

    def __init__(self, parts: Parts, addresses: OwnAddresses, changed: Callable[[], None]) -> None:
        self._parts = parts
        self._addresses = addresses
        self._changed = changed
        self._story = _Story(parts.journal, parts.host.tun.name)
        self._current = self._wanted = parts.settings.reloadable.device
        self._is_busy = self._is_due = False
        self._bucket = TokenBucket(BURST, RATE, parts.now)
        self._restored = 0

    def update(self) -> None:
        """The findings about the device have changed."""
        assigner = self._parts.host.assigner
        self._is_due = True
        if assigner is not None and not self._is_busy:
            self._is_busy = True
            Deferred.fromCoroutine(self._work(assigner))

    def use(self, wanted: DeviceSettings) -> None:
        """Let the device be so from now on. Addresses are of the same families as before."""
        self._wanted = wanted
        self.update()

    def status(self) -> DeviceStatus:
        parts = self._parts
        return DeviceStatus(
            parts.host.tun.name,
            tuple(map(str, parts.settings.routed)),
            parts.host.watch.found.all,
            self._current.mtu,
            self._current.queue,
            parts.host.assigner is not None,
            self._restored,
        )

    async def _work(self, assigner: Assigner) -> None:
        """Until there is nothing left to do now."""
        with bugs.logged("the device is not looked after"):
            while self._is_due:
                self._is_due = False
                try:
                    await self._do(assigner)
                except OperatorError as error:
                    self._story.failed(str(error))
                    self._parts.timers.call_within("device", AGAIN, self.update)
        self._is_busy = False

    async def _do(self, assigner: Assigner) -> None:
        if self._wanted != self._current:
            await self._become(assigner, self._wanted)
        await self._put_back(assigner)

    # --- what a reload says ---

    async def _become(self, assigner: Assigner, wanted: DeviceSettings) -> None:
        before = self._current
        if (wanted.mtu, wanted.queue) != (before.mtu, before.queue):
            watch = self._parts.host.watch
            watch.expect_mtu(ANY_MTU)  # it may see the new one before the helper has answered
            try:
                await assigner.set_link(wanted.mtu, wanted.queue)
            except OperatorError:
                watch.expect_mtu(before.mtu)
                raise
            watch.expect_mtu(wanted.mtu)
            self._parts.me.use_mtu(wanted.mtu)
        for address in _left_out(wanted, before):
            await assigner.put(address)
        if wanted.addresses != before.addresses:
            self._addresses.use_static(wanted.addresses)
        for address in _left_out(before, wanted):
            await assigner.take_off(address)
        self._current = wanted
        self._changed()

    # --- what others took ---

    async def _put_back(self, assigner: Assigner) -> None:
        now, lost = self._parts.now, self._parts.host.watch.found.restorable
        if not lost:
            return
        wait = self._bucket.wait(now)
        if wait:
            self._parts.timers.call_within("device", wait + 0.001, self.update)
            return
        self._bucket.take(now)
        await assigner.restore()
        self._restored += 1
        self._story.restored(lost)
        self._parts.timers.call_within("device", AGAIN, self.update)  # was that all?


def _left_out(one: DeviceSettings, other: DeviceSettings) -> Iterator[Interface]:
    """The addresses of one that the other does not have."""
    return (address for address in one.addresses if address not in other.addresses)


class _Story:
    """What is logged about it."""

    def __init__(self, journal: Journal, device: str) -> None:
        self._journal = journal
        self._device = device

    def restored(self, lost: tuple[str, ...]) -> None:
        what = "; ".join(text.partition(" (to mend it: ")[0] for text in lost)
        self._journal.info(
            "put back on {device} by the helper process, after this was found: {what}",
            event="restored",
            device=self._device,
            what=what,
        )

    def failed(self, why: str) -> None:
        self._journal.warn(
            ("device", why), "{why}", event="device_failed", device=self._device, why=why
        )
