"""The events of a soak, one after another, and how long it takes until the mesh is whole again."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bench.conversations import KINDS, Harm
from bench.realmesh import PATIENCE, Changes, RealMesh, numbers
from tunmesh.localmesh.plan import LISTEN_PORT
from tunmesh.localmesh.processes import MeshError

STEADY = (1, 2)  # these nodes are never restarted: they are the ones that must not grow
PAUSE = (5.0, 15.0)  # quiet seconds after each event
DOWN = (0.0, 4.0)  # seconds until a node that ended is started again
PULLED = (1.0, 8.0)  # seconds that a cable is unplugged; a link survives 15
# After the cable is back, TCP retransmits within up to the same time again, and a stream inside the
# tunnel once more after that.
SETTLE_CABLE = 20.0
SETTLE_START = 5.0
RELOADED = 3.0  # seconds for all nodes to adopt a change
UDP_FAULTS = {  # rules for nft(8): what happens to datagrams at a node
    "UDP blocked": (f"udp dport {LISTEN_PORT} drop", f"iifname eth0 udp dport {LISTEN_PORT} drop"),
    "UDP not sent": (f"udp dport {LISTEN_PORT} drop",),
    "large UDP": (f"udp dport {LISTEN_PORT} meta length > 1300 drop",),
    "UDP loss": (
        f"udp dport {LISTEN_PORT} numgen random mod 100 < 2 drop",
        f"iifname eth0 udp dport {LISTEN_PORT} numgen random mod 100 < 2 drop",
    ),
}
FAULTY = (3.0, 12.0)  # seconds that such a fault lasts
SPARED = ("tcp", "http")  # conversations that must not notice it
SETTLE_UDP = 3.0


class Churn:
    """Events, until it is cancelled. `settings_of(number)`: those of a node."""

    def __init__(
        self,
        mesh: RealMesh,
        harm: Harm,
        draw: random.Random,
        settings_of: Callable[[int], Changes],
        note: Callable[[str], None],
    ) -> None:
        self.healed: dict[str, list[float]] = {}
        """By event: seconds from the start of a node, or from plugging in a cable, until the mesh
        was whole."""
        self._mesh = mesh
        self._harm = harm
        self._draw = draw
        self._settings_of = settings_of
        self._note = note
        self._started: int | None = None  # the node that was restarted, until the mesh is whole
        self._secret = (mesh.directory / "secret").read_text()
        self._events: dict[str, Callable[[], Awaitable[None]]] = {
            "kill -9": lambda: self._restart("KILL"),
            "TERM": lambda: self._restart("TERM"),
            "cable": self._pull,
            "secret": self._rotate,
            **{name: partial(self._trouble, rules) for name, rules in UDP_FAULTS.items()},
        }

    async def go_on(self) -> None:
        while True:
            await self._mesh.rest(self._draw.uniform(*PAUSE))
            name = self._draw.choice(list(self._events))
            try:
                await self._events[name]()
                took = await self._mesh.until(self._mesh.is_whole, "the mesh is not whole again")
            except MeshError as error:
                lines = self._mesh.last_lines(error)
                self._note(f"after {name}: {error}, for {PATIENCE:.0f} s{lines}")
                self._revive()
            else:
                self.healed.setdefault(name, []).append(took)
            finally:
                self._harm_is_over()

    def _revive(self) -> None:
        """An unexpected exit has been noted, and must not end the soak."""
        for number in numbers(self._mesh):
            if not self._mesh.process(number).running:
                self._mesh.start(number)

    async def _restart(self, signal: str) -> None:
        number = self._draw.choice([one for one in numbers(self._mesh) if one not in STEADY])
        self._harm.begin(number)
        self._mesh.signal(number, signal)
        await self._mesh.ended(number)
        code = self._mesh.process(number).status
        if code != (0 if signal == "TERM" else -9):
            self._note(f"node{number} ended with {code} after {signal}")
        await self._mesh.rest(self._draw.uniform(*DOWN))
        self._mesh.start(number)
        self._started = number

    def _harm_is_over(self) -> None:
        """A node that was started is harmed until the mesh is whole: on a busy machine, to start
        takes longer than any fixed time."""
        if self._started is not None:
            self._harm.end(self._started, SETTLE_START)
            self._started = None

    async def _pull(self) -> None:
        number = self._draw.choice(numbers(self._mesh)[1:])
        self._harm.begin(number)
        self._mesh.pull_cable(number)
        await self._mesh.rest(self._draw.uniform(*PULLED))
        self._mesh.plug_cable(number)
        self._harm.end(number, SETTLE_CABLE)

    async def _trouble(self, rules: Sequence[str]) -> None:
        """Something happens to a node's UDP for a while. Streams go on, over TCP if need be."""
        number = self._draw.choice(numbers(self._mesh))
        harmed = [kind for kind in KINDS if kind not in SPARED]
        self._harm.begin(number, harmed)
        self._mesh.firewall(number, *rules)
        try:
            await self._mesh.rest(self._draw.uniform(*FAULTY))
        finally:
            self._mesh.firewall(number)
            self._harm.end(number, SETTLE_UDP, harmed)

    async def _rotate(self) -> None:
        """Change the secret: all nodes accept the new one first, then all offer it. No node is
        harmed."""
        new = secrets.token_hex(32)
        for offered, accepted in ((self._secret, new), (new, self._secret)):
            for number in numbers(self._mesh):
                auth = {"clustering__auth": {"secrets": [offered, accepted]}}
                self._mesh.configure(number, {**self._settings_of(number), **auth})
                self._mesh.signal(number, "HUP")
                self._mesh.process(number).may_end = False  # not a reason to end the soak
            await self._mesh.rest(RELOADED)
        self._secret = new
