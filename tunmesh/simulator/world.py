"""The mesh of a simulation, and the packets that are sent in it.

Every packet carries a number that tells for whom it was meant, so a packet that comes out of the
wrong tun is noticed whenever that happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from tunmesh.addresses import Network as IPNetwork
from tunmesh.addresses import is_multicast
from tunmesh.dataplane.drops import Drop
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.packets import igmp
from tunmesh.simulator.groups import Kernels
from tunmesh.simulator.liar import Liar
from tunmesh.simulator.net import BALANCER, FaultyNetwork
from tunmesh.simulator.plain import PlainTransport
from tunmesh.testing.mesh import IPV4, IPV6, PORT, Member, Mesh, host_address
from tunmesh.testing.tun import MemoryTun, frame
from tunmesh.udp.choice import Transport

SEEDS = "seeds.test"  # the name of the first hosts that there are
SEED_COUNT = 3
# Of a packet: behind the virtio header, and behind the IPv4 header.
PROTOCOL, NUMBER = 10 + 9, slice(30, 38)
ICMP = 1
TRAFFIC_INTERVAL = 0.05  # seconds between two packets from anybody to anybody


class Post:
    """The packets under way."""

    def __init__(self) -> None:
        self.sent = 0
        self.arrived = 0
        self.strays: list[str] = []
        self._meant: dict[int, Member] = {}

    def send(self, sender: Member, receiver: Member, size: int = 0) -> int:
        """Send a packet of `size` bytes beyond its headers; its number."""
        self.sent += 1
        self._meant[self.sent] = receiver
        number = self.sent.to_bytes(8, "big")
        sender.tun.inject(frame(sender.address, receiver.address, number + bytes(size)))
        return self.sent

    def waits(self, number: int) -> bool:
        """Whether a packet has not arrived."""
        return number in self._meant

    def receive(self, member: Member, packet: bytes) -> None:
        """A packet came out of the tun of a member."""
        number = int.from_bytes(packet[NUMBER], "big")
        receiver = self._meant.pop(number, None)
        if receiver is member:
            self.arrived += 1
        else:
            meant = f"that was for {receiver.name}" if receiver is not None else "twice"
            self.strays.append(f"{member.name} got a packet {meant}")


class PostTun(MemoryTun):
    """A tun that reports what it receives, but for what its own node answers or asks."""

    def __init__(self, post: Post, kernels: Kernels, member: Member) -> None:
        super().__init__()
        self._post = post
        self._kernels = kernels
        self._member = member

    def write(self, frames: Iterable[bytes | memoryview]) -> list[Drop]:
        for each in frames:
            if each[PROTOCOL] == ICMP:
                continue  # what was sent to an address without a route
            if each[PROTOCOL] == igmp.PROTOCOL:
                self._kernels.asked(self._member)
            elif is_multicast(bytes(each[26:30])):
                self._kernels.got(self._member, bytes(each))
            else:
                self._post.receive(self._member, bytes(each))
        return []


class World(Mesh):
    """A mesh with a faulty network. All randomness is drawn from `random`."""

    transport = PlainTransport

    def __init__(
        self,
        seed: int,
        behind_balancer: bool = False,
        from_first: bool = False,
        networks: tuple[IPNetwork, ...] = (IPV4, IPV6),
        transport: Transport = "tcp",
        relay: bool = False,
        multicast: bool = False,
    ) -> None:
        self._seed_count = 1 if from_first else SEED_COUNT
        target = (BALANCER if behind_balancer else SEEDS, PORT)
        if from_first:
            target = (host_address(1), PORT)  # its own, which is as good as none
        groups = (GroupSettings("seeds", (target,)),)
        super().__init__(
            seed,
            groups=groups,
            networks=networks,
            transport=transport,
            relay=relay,
            multicast=(4,) if multicast else (),
        )
        self.kernels = Kernels(self.clock, self.random)
        self.has_multicast = multicast
        self.has_udp = transport != "tcp"
        self.has_relays = relay
        self.post = Post()
        self.heads: dict[str, list[Member]] = {}  # by the name that leads to them
        self.intruders: dict[Member, Member] = {}  # with whose address they claim
        self.misconfigured: list[Member] = []
        self.liars: list[Liar] = []

    def make_network(self) -> FaultyNetwork:
        self.faults = FaultyNetwork(
            self.clock, self.random, lambda: [member.host for member in self.members]
        )
        return self.faults

    def make_tun(self, member: Member) -> MemoryTun:
        return PostTun(self.post, self.kernels, member)

    def start(self, member: Member) -> None:
        member.start()
        self.heads[SEEDS] = self.seeds()
        for name, heads in self.heads.items():
            self.network.names[name] = [each.host for each in heads]

    def seeds(self) -> list[Member]:
        """The nodes that all others bootstrap from."""
        return self.members[: self._seed_count]

    def honest(self) -> Iterator[Member]:
        """The running members with a correct config: their addresses are their own."""
        wrong = {*self.intruders, *self.misconfigured}
        return (member for member in self.running() if member not in wrong)

    def reach(self, one: Member, other: Member) -> bool:
        """Whether two members can have a connection: nothing is cut, and one of them is where it
        says that it is."""
        cut = self.network.is_cut
        if one is other or cut(one.host, other.host) or cut(other.host, one.host):
            return False
        return any(member.node.record.url == member.url for member in (one, other))

    def share(self, one: Member, other: Member) -> bool:
        """Whether there is a node that both can have a connection with."""
        return any(self.reach(one, each) and self.reach(each, other) for each in self.running())

    def joined(self, one: Member, other: Member) -> bool:
        """Whether two members can have a link."""
        if one is other:
            return False
        return self.reach(one, other) or (self.has_relays and self.share(one, other))

    def used(self, member: Member) -> tuple[str, ...]:
        """The addresses in the mesh that a running member sends from."""
        if not member.automatic:
            return member.addresses
        own = [str(each.ip) for each in member.node.record.static_addresses]
        return (*own, *member.held)

    @property
    def chooses(self) -> bool:
        """Whether any member chooses its addresses itself."""
        return any(member.automatic for member in self.members)

    def can_talk(self, member: Member) -> bool:
        """Whether it has an address, and no other node claims it."""
        if member.address not in self.used(member):
            return False
        address = ip_address(member.address)  # hundreds of texts would take longer to make
        return not any(
            each.ip == address
            for other in self.running()
            for each in other.node.record.addresses
            if other is not member
        )

    def chat(self) -> None:
        """From now on somebody sends a packet to somebody every so often. Not to an address that
        two claim as long as only the wrong one of them is known: docs/known_gaps.md."""
        honest = list(self.honest())
        if len(honest) > 1:
            sender, receiver = self.random.sample(honest, 2)
            contested = receiver in self.intruders.values()
            is_known = not contested or receiver.name in sender.linked_with
            if is_known and (not self.chooses or all(map(self.can_talk, (sender, receiver)))):
                self.post.send(sender, receiver)
        self.clock.callLater(TRAFFIC_INTERVAL, self.chat)
