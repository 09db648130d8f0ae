"""How packets travel: what happens to datagrams, what carries the packets, and what arrives."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.simulator.scenario import FLOOD
from tunmesh.simulator.steps import (
    Block,
    BlockDatagrams,
    Carried,
    Direct,
    Exchange,
    Impair,
    ReadSlowly,
    Rebind,
    Step,
)
from tunmesh.simulator.story import Part

LOOK = 0.1  # seconds between two looks at what carries the packets
PAUSE = 0.02  # seconds between two packets of an exchange


class Carrying(Part):
    """The part that is about what carries packets."""

    def do(self, step: Step) -> bool:
        """Whether it is one of these steps."""
        match step:
            case Impair():
                self._impair(step)
            case BlockDatagrams(share, one_way):
                self._block(share, one_way)
            case Rebind(share):
                members = self.some(share)
                names = ", ".join(member.name for member in members)
                self.story.tell(f"these get other UDP ports from their NATs: {names}")
                for member in members:
                    self.world.datagrams.rebind(member.host)
            case Block(share, leaves_seeds):
                self._block_pairs(share, leaves_seeds)
            case Direct(within, relayed):
                self._direct(within, relayed)
            case Carried(by, within):
                self._carried(by, within)
            case Exchange():
                self._exchange(step)
            case ReadSlowly():
                self._read_slowly(step)
            case _:
                return False
        return True

    def _impair(self, step: Impair) -> None:
        datagrams = self.world.datagrams
        datagrams.loss, datagrams.duplicated, datagrams.late = step.loss, step.twice, step.late
        datagrams.path_mtu = step.mtu
        self.story.tell(
            f"of the datagrams {step.loss:.0%} are lost, {step.twice:.0%} come twice, "
            f"{step.late:.0%} late; packets have at most {step.mtu} bytes"
        )

    def _block(self, share: float, one_way: bool) -> None:
        datagrams = self.world.datagrams
        datagrams.unblock()
        if share >= 1.0:
            datagrams.block()
            self.story.tell("no datagram gets through")
            return
        hosts = [member.host for member in self.world.running()]
        pairs = [
            self.world.random.sample(hosts, 2) for _ in range(round(share * len(hosts) ** 2 / 2))
        ]
        for one, other in pairs:
            datagrams.block(one, other)
            if not one_way:
                datagrams.block(other, one)
        if pairs:
            how = "in one direction only" if one_way else "in no direction"
            self.story.tell(f"on {len(pairs)} paths, datagrams get through {how}")
        else:
            self.story.tell("all datagrams get through")

    def _block_pairs(self, share: float, leaves_seeds: bool) -> None:
        hosts = [member.host for member in self.world.members]
        pairs = [
            self.world.random.sample(hosts, 2) for _ in range(round(share * len(hosts) ** 2 / 2))
        ]
        blocked = 0
        for one, other in pairs:
            if leaves_seeds and not (self._finds(one, other) and self._finds(other, one)):
                continue
            self.world.network.cut(one, other)
            blocked += 1
        self.story.tell(f"between {blocked} pairs nothing gets through")

    def _finds(self, host: str, but: str) -> bool:
        """Whether a node at this host can bootstrap from another host than that one."""
        is_cut = self.world.network.is_cut
        seeds = [member.host for member in self.world.seeds()]
        return any(
            not (is_cut(host, seed) or is_cut(seed, host))
            for seed in seeds
            if seed not in (host, but)
        )

    # --- what has to hold ---

    def _direct(self, within: float, relayed: int) -> None:
        begin = self.world.clock.seconds()
        while (wrong := next(self._detours(), "")) and self.world.clock.seconds() < begin + within:
            self.world.advance(LOOK)
        took = self.world.clock.seconds() - begin
        count = sum(bool(p.relay) for m in self.world.running() for p in m.status.peers) // 2
        if wrong or count < relayed:
            why = wrong or f"{count} links are relayed, fewer than {relayed}"
            self.judge(False, f"not within {within:.0f} s: {why}")
        else:
            text = f"all links are direct that can be, and {count} are relayed"
            self.judge(True, f"{text} ({took:.1f} s, at most {within:.0f})")

    def _detours(self) -> Iterator[str]:
        """Links that are relayed and need not be, or direct and cannot be."""
        by_id = {member.node.record.id: member for member in self.world.running()}
        for member in by_id.values():
            for peer in member.status.peers:
                other = by_id.get(peer.record.id)
                if other is not None and self.world.reach(member, other) == bool(peer.relay):
                    how = "is relayed" if peer.relay else "is not relayed"
                    yield f"the link of {member.name} with {other.name} {how}"

    def _carried(self, by: str, within: float) -> None:
        begin = self.world.clock.seconds()
        while (wrong := next(self._wrong(by), "")) and self.world.clock.seconds() < begin + within:
            self.world.advance(LOOK)
        took = self.world.clock.seconds() - begin
        if wrong:
            self.judge(False, f"not within {within:.0f} s: {wrong}")
        else:
            limit = f"{took:.1f} s, at most {within:.0f}"
            self.judge(True, f"packets go over {by.upper()} where they can ({limit})")

    def _wrong(self, by: str) -> Iterator[str]:
        """What goes over the wrong transport, if `by` is right, and TCP where a way is blocked."""
        hosts = {member.node.record.id: member.host for member in self.world.running()}
        open_ways = self.world.datagrams.lets_through
        for member in self.world.running():
            for peer in member.status.peers:
                there = hosts[peer.record.id]
                can = open_ways(member.host, there) and open_ways(there, member.host)
                expected = by if can else "tcp"
                if peer.transport != expected:
                    why = f": {peer.udp.why}" if peer.udp is not None else ""
                    yield f"{member.name} uses {peer.transport} to {peer.record.name}{why}"

    def _exchange(self, step: Exchange) -> None:
        """Packets of all sizes, from anybody to anybody."""
        world = self.world
        honest = list(world.honest())
        ways = [(one, other) for one in honest for other in honest if world.joined(one, other)]
        sent = []
        for _ in range(round(step.seconds / PAUSE) if ways else 0):
            size = world.random.choice((0, 500, 1400, 20_000))
            sent.append(world.post.send(*world.random.choice(ways), size))
            world.advance(PAUSE)
        world.advance(0.5)
        arrived = len(sent) - sum(map(world.post.waits, sent))
        text = f"{arrived} of {len(sent)} packets arrived, at least {step.least:.0%}"
        self.judge(arrived >= step.least * len(sent), text)

    def _read_slowly(self, step: ReadSlowly) -> None:
        world = self.world
        slow = self.some(step.share)
        self.story.tell(
            f"{len(slow)} nodes read {step.rate / 1000:,.0f} kB/s from each, and are sent "
            f"{step.offered / 1000:,.0f} kB/s, for {step.seconds:.0f} s"
        )
        others = [member for member in world.honest() if member not in slow]
        world.network.rates.update((member.host, step.rate) for member in slow)
        ways = [(one, other) for one in others for other in others if one is not other]
        trial = []
        for _ in range(round(step.seconds / FLOOD)):
            for sender in others:
                world.post.send(sender, slow[0], round(step.offered * FLOOD))
            if ways:  # of two nodes only one is not slow
                trial.append(world.post.send(*world.random.choice(ways)))
            world.advance(FLOOD)
        world.network.rates.clear()
        world.advance(0.1)
        missing = sum(map(world.post.waits, trial))
        self.judge(
            not missing, f"{len(trial) - missing} of {len(trial)} packets among the others arrived"
        )
