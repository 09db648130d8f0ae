"""A member that went bad: it holds the secret, and says whatever it likes, by several identities.

Its links are real, so that nobody drops it for being silent; what it says on them is drawn by
chance. It vouches for nodes that are there, for some that are not any more, and for thousands that
never were. To who asks it about them it tells the truth, or nothing, or makes a record up. It poses
as members that are there, and claims their addresses. It refuses addresses, asks without end, says
bye, and comes back. One identity chooses its addresses itself: those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from tunmesh.auth import handshake, signing
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.dialing.attempt import DialPolicy
from tunmesh.dialing.connections import Connector, Proof
from tunmesh.errors import PeerError
from tunmesh.link.link import Link
from tunmesh.simulator.plain import PlainTransport
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, SECRET, Member, Mesh
from tunmesh.testing.owner import IgnoringOwner
from tunmesh.testing.reactor import MemoryReactor
from tunmesh.tls.credentials import Contexts
from tunmesh.tls.listener import MeshPort
from tunmesh.tls.transport import server_factory
from tunmesh.wire import messages, sizes
from tunmesh.wire.gossip import Gossip, Refusal
from tunmesh.wire.proofs import encode_shown
from tunmesh.wire.records import NodeRecord, SignedRecord

POSES = 2  # identities that pose as members; there is one more, which says that it is itself
INVENTED = 6  # nodes that are nowhere, with keys
CROWD = 4200  # ids in a flood, more than a node keeps
PAUSE = 0.1  # seconds between two of its deeds
FIRST = 20_000  # the numbers of such hosts begin here


class Liar(Member):
    """Such a machine. It is none of the mesh's members: it does not count."""

    def __init__(self, mesh: Mesh, number: int) -> None:
        super().__init__(mesh, f"liar{number}", FIRST + number)
        self.identities: list[Identity] = []
        self._random = mesh.random
        self._ids: dict[str, None] = {}  # of all nodes that it has ever met
        self._invented: dict[str, SignedRecord] = {}
        # How much it likes to say nothing, the truth, a forgery, or who somebody else is. Each liar
        # has another taste: a forgery ends the link, and with it the other lies.
        self._taste = [self._random.random() ** 3 for _ in range(4)]
        self._deeds = [share * self._random.random() ** 3 for share in _SHARES.values()]

    @property
    def ids(self) -> set[str]:
        return {identity.record.id for identity in self.identities}

    def start(self, **changes: Any) -> None:
        """Begin to lie."""
        self.reactor = MemoryReactor(self.mesh.network, self.host)
        models = self._random.sample(self.mesh.members, min(POSES, len(self.mesh.members)))
        self.identities = [Identity(self, None), *(Identity(self, model) for model in models)]
        for number in range(INVENTED):
            node_key = self.new_key()
            record = self.record_of(node_key, f"nobody{number}", self._somewhere())
            self._invented[node_key.id] = signing.sign(record, node_key)
        self.identities[0].listen()
        self._act()

    def new_key(self) -> NodeKey:
        return NodeKey.of(self._random.randbytes(SEED_SIZE))

    def record_of(self, node_key: NodeKey, name: str, url: str) -> NodeRecord:
        return NodeRecord(
            id=node_key.id,
            name=name,
            started=1_700_000_000_000 + self._random.randrange(1_000_000),
            url=url,
            addresses=tuple(
                ip_interface(f"{text}/{prefix}")
                for text, prefix in zip(self._some_addresses(), self.prefixes, strict=True)
            ),
            version="liar",
        )

    def _some_addresses(self) -> Sequence[str]:
        return self._random.choice([self, *self.mesh.members]).addresses

    def _somewhere(self) -> str:
        return self._random.choice([self, *self.mesh.members]).advertised

    # --- what it does ---

    def _act(self) -> None:
        self.reactor.callLater(PAUSE, self._act)
        for member in self.mesh.running():
            self._ids[member.node.record.id] = None
        identity = self._random.choice(self.identities)
        targets = [member for member in self.mesh.running() if member.name not in identity.links]
        if targets and self._random.random() < 0.3:
            identity.dial(self._random.choice(targets))
        for link in identity.links.values():
            if self._random.random() < 0.3:
                self._random.choices([*_SHARES], self._deeds)[0](self, identity, link)

    def tell(self, identity: Identity, link: Link) -> None:
        """Vouch for some nodes, and take others back."""
        ids = [*self._ids, *self._invented, self._random.randbytes(16).hex()]
        told = self._random.sample(ids, self._random.randint(0, len(ids)))
        lost = self._random.sample(ids, self._random.randint(0, min(3, len(ids))))
        identity.generations += 1
        generation = self._random.choice((0, identity.generations))
        link.conversation.tell(Gossip(generation, tuple(told), () if generation else tuple(lost)))

    def flood(self, identity: Identity, link: Link) -> None:
        """Vouch for more nodes than anybody can know."""
        identity.generations += 1
        ids = (self._random.randbytes(16).hex() for _ in range(CROWD))
        link.conversation.tell(Gossip(identity.generations, tuple(ids)))

    def ask(self, identity: Identity, link: Link) -> None:
        """Ask for everybody, and again."""
        link.conversation.ask([*self._ids] * self._random.randint(1, 5))

    def refuse(self, identity: Identity, link: Link) -> None:
        """Say that an address of the node is another one's."""
        addresses = tuple(map(str, link.node.own))
        link.conversation.refuse(Refusal(addresses, self._random.choice(self.mesh.members).name))

    def intrude(self, identity: Identity, link: Link) -> None:
        """Introduce somebody without being asked."""
        link.conversation.introduce(self._random.sample(list(self._invented.values()), 3))

    def claim(self, identity: Identity, link: Link) -> None:
        """Claim what somebody else has, and tell everybody."""
        identity.claim(self._random.choice(list(self.mesh.running())))

    def leave_link(self, identity: Identity, link: Link) -> None:
        """Hang up, with a word or without."""
        link.close(self._random.choice(sorted(messages.BYE_REASONS)))

    def answers(self, ids: Sequence[str]) -> Iterator[SignedRecord]:
        """What it says of these nodes to who asks: nothing, as a rule."""
        known = {**self._genuine(), **self._invented}
        for node_id in ids:
            answer = self._answer(node_id, known.get(node_id))
            if answer is not None:
                yield answer

    def _answer(self, node_id: str, genuine: SignedRecord | None) -> SignedRecord | None:
        [lie] = self._random.choices(("silence", "truth", "forgery", "other"), self._taste)
        if genuine is None or lie == "silence":
            return None
        if lie == "truth":
            return genuine
        model = self._random.choice(list(self.mesh.running())).node.record
        if lie == "forgery":
            record = replace(model, id=node_id, started=1).encode()
            return replace(genuine, record=record)
        node_key = self.new_key()
        return signing.sign(replace(model, id=node_key.id), node_key)

    def _genuine(self) -> dict[str, SignedRecord]:
        """What nodes say of themselves, by their ids."""
        found: dict[str, SignedRecord] = {}
        for member in self.mesh.running():
            for link in member.node.links:
                if link.record is not None:
                    found.setdefault(link.record.id, link.signed)
        return found


Deed = Callable[[Liar, "Identity", Link], None]
_SHARES: dict[Deed, float] = {
    Liar.tell: 60,
    Liar.ask: 10,
    Liar.refuse: 10,
    Liar.claim: 5,
    Liar.leave_link: 2,
    Liar.intrude: 1,
    Liar.flood: 1,
}


class Identity(IgnoringOwner):
    """One of the nodes that it says it is: a member, a later life of which it says it is, or, with
    no such model, just itself."""

    def __init__(self, liar: Liar, model: Member | None) -> None:
        self.links: dict[str, Link] = {}  # by the name of the node at the other end
        self.generations = 0
        self._liar = liar
        random = liar.mesh.random
        node_key = liar.new_key()
        host = model or liar
        record = liar.record_of(node_key, host.name, host.advertised)
        addresses = tuple(
            ip_interface(f"{text}/{prefix}")
            for text, prefix in zip(host.addresses, host.prefixes, strict=True)
        )
        self.record = replace(record, addresses=addresses)
        if model is None:
            self.record = replace(self.record, automatic=(4, 6))
        self._node_key = node_key
        self._contexts = Contexts(credentials())
        self._connector = Connector(
            liar.reactor,
            self,
            Proof(
                (handshake.Key.derive(SECRET),),
                node_key,
                lambda _: signing.show(
                    replace(self.record, settled=random.random() < 0.5), node_key
                ),
                random.randbytes,
                self._contexts,
                PlainTransport,
            ),
            random.random,
        )

    def claim(self, model: Member) -> None:
        """Change to the addresses of this member, if its own are its own choice."""
        if not self.record.automatic:
            return
        addresses = model.node.record.addresses
        revision = self.record.revision + 1
        self.record = replace(self.record, addresses=addresses, revision=revision)
        signed = signing.sign(self.record, self._node_key)
        for link in self.links.values():
            link.conversation.present(encode_shown(signed, settled=True))

    def listen(self) -> None:
        """Accept whoever comes to this host."""
        reactor = self._liar.reactor
        port = MeshPort(reactor, self._connector.accept, _nothing, lambda host, error: None)
        factory = server_factory(self._contexts, port, reactor, PlainTransport)
        port.opened(reactor.listenTCP(PORT, factory))

    def dial(self, member: Member) -> None:
        """Try to link with a member, once."""
        self._connector.dialer(((member.host, PORT),), DialPolicy(rounds=0)).start()

    # --- link.interfaces.Owner ---

    def link_up(self, link: Link) -> None:
        dialer = self._connector.attempt(link)
        if dialer is not None:
            dialer.stop()
        self._connector.settled(link)
        link.deliver_to(lambda frames: 0, lambda: None)
        if link.node.name in self.links:
            link.close(messages.REPLACED)
        else:
            self.links[link.node.name] = link

    def link_failed(self, link: Link, error: PeerError) -> None:
        self._connector.closed(link)

    def link_lost(self, link: Link, error: PeerError) -> None:
        self._connector.closed(link)
        if self.links.get(link.node.name) is link:
            del self.links[link.node.name]

    def inquiry_received(self, link: Link, ids: Sequence[str]) -> None:
        link.conversation.introduce(list(self._liar.answers(ids[: sizes.MAX_INTRODUCED])))


def _nothing(address: object) -> None:
    """It answers no HTTPS."""
