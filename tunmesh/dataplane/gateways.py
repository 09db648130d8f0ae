"""Networks outside the mesh, which some nodes lead to.

A node *advertises* networks that it forwards packets to: it is a gateway to them. Another node
*accepts* networks: what is in them it sends to the gateways, and believes them that a packet comes
from there.

    accepted here      10.20.0.0/16          10.30.0.0/16 via 10.77.0.9
    advertised         10.20.0.0/16 by A     10.20.5.0/24 by B and C     0.0.0.0/0 by D
    10.20.1.1          A                     it is in the /16 only
    10.20.5.1          B or C, by its flow   the longest prefix decides
    10.30.1.1          nobody                only the node that has 10.77.0.9 may lead there

Only an advertised network that is in an accepted one is used; the longest accepted network that it
is in says who may lead there, and that of an address says who may lead to the address. So a member
that advertises the default route, the mesh's networks or a name server's address is not heard: none
of that is accepted.

Which gateways a packet may go to and which peers a packet may come from is one question, as it is
with addresses: both have the same answer (WireGuard's allowed IPs).

**Several gateways.** Each flow (packets.flow_key) goes by one of them: the one with the highest
number that is mixed of flow and gateway (rendezvous hashing, Thaler and Ravishankar 1998). If a
gateway parts, its flows are taken over by the others at once, and no other flow moves. A flow that
is known stays with its gateway as long as that is linked, also when another one comes back:
gateways that translate addresses know their own connections only.

The mesh's networks are in no accepted one: the config is refused otherwise.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tunmesh.addresses import Address, Network, overlap
from tunmesh.dataplane.prefixes import Prefixes
from tunmesh.packets.flow_key import flow_key

MAX_CACHED = 4096  # addresses of which it is remembered what leads there
MAX_FLOWS = 8192  # of which the gateway is remembered; the oldest half is forgotten when it is full
MAX_SHARING = 16  # gateways among which the flows to one network are shared; more wait
_MASK = 0xFFFFFFFF

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A network that packets are sent to through gateways. `via`: only the nodes that have one of
    these addresses of the mesh may lead there; empty: any node."""

    network: Network
    via: tuple[Address, ...] = ()

    def __str__(self) -> str:
        return " via ".join(filter(None, (str(self.network), ", ".join(map(str, self.via)))))


@dataclass(slots=True)
class Ways(Generic[P]):
    """The gateways to one advertised network, by the order in which they came."""

    network: Network
    peers: tuple[P, ...] = ()
    is_shared: bool = False  # there have been several: flows are told apart

    def add(self, peer: P) -> None:
        if peer not in self.peers:
            self.peers = (*self.peers, peer)
            self.is_shared = self.is_shared or len(self.peers) > 1

    def remove(self, peer: P) -> None:
        self.peers = tuple(each for each in self.peers if each is not peer)

    @property
    def sharing(self) -> tuple[P, ...]:
        """Those that packets are sent to."""
        return self.peers[:MAX_SHARING]


class Gateways(Generic[P]):
    """What this node accepts and advertises, and who leads where. `holder(address)` is the peer
    that has an address of the mesh. Peers are compared by identity.

    Whoever changes something is told whether an address may lead elsewhere now."""

    def __init__(
        self,
        accepted: Iterable[Accepted] = (),
        own: Sequence[Network] = (),
        holder: Callable[[bytes], P | None] = lambda _: None,
    ) -> None:
        self.accepted = tuple(accepted)
        self._accepted: Prefixes[frozenset[bytes]] = Prefixes()
        for each in self.accepted:
            self._accepted.put(each.network, frozenset(one.packed for one in each.via))
        self._named = frozenset(one.packed for each in self.accepted for one in each.via)
        self._has_named: dict[bytes, P] = {}  # the peers that have these addresses
        self._holder = holder
        self._offers: dict[P, tuple[Network, ...]] = {}
        self._seeds: dict[P, int] = {}
        self._ways: Prefixes[Ways[P]] = Prefixes()
        # How many networks that are used are in each accepted one.
        self._used_in: Counter[Network] = Counter()
        self._found: dict[bytes, Ways[P] | None] = {}  # what `ways` has found
        self._flows: dict[bytes, P] = {}
        self.own: tuple[Network, ...] = ()
        self.advertise(own)

    # --- who leads where ---

    def advertise(self, own: Sequence[Network]) -> None:
        """This node leads to these networks from now on, and to no others."""
        self.own = tuple(own)
        self._own: Prefixes[None] = Prefixes()
        for network in self.own:
            self._own.put(network, None)
        self._is_own: dict[bytes, bool] = {}  # what `is_own` has found

    def offer(self, peer: P, networks: Iterable[Network], seed: bytes) -> bool:
        """This peer advertises these networks, and no others. `seed` tells it from other gateways,
        also after it was started again."""
        before, offered = self._offers.get(peer, ()), tuple(networks)
        self._offers[peer] = offered
        self._seeds[peer] = zlib.crc32(seed)
        gone = [network for network in before if network not in offered]
        return self._settle(peer, gone, is_gone=True) | self._settle(peer, offered)

    def part(self, peer: P) -> bool:
        """This peer leads nowhere any more."""
        gone = self._offers.pop(peer, ())
        self._seeds.pop(peer, None)
        return self._settle(peer, gone, is_gone=True)

    def moved(self, address: bytes) -> bool:
        """Another peer, or none, has this address of the mesh."""
        if address not in self._named:
            return False
        # What all others advertise is not affected: a member may cause this, and have hundreds of
        # identities that advertise as much as they can.
        before, after = self._has_named.pop(address, None), self._holder(address)
        if after is not None:
            self._has_named[address] = after
        for peer in (before, after):
            if peer is not None:
                self._settle(peer, self._offers.get(peer, ()))
        self._found.clear()
        return True

    def _settle(self, peer: P, networks: Iterable[Network], is_gone: bool = False) -> bool:
        """Send packets to these networks by this peer, or do not, as is accepted now. Whether that
        is a change."""
        is_changed = False
        for network in networks:
            ways = self._ways.get(network)
            leads = ways is not None and peer in ways.peers
            if leads == (not is_gone and self._is_accepted_of(peer, network)):
                continue
            is_changed = True
            if ways is None:
                ways = Ways(network)
                self._ways.put(network, ways)
                self._used_in[self._around(network)] += 1
            if leads:
                ways.remove(peer)
            else:
                ways.add(peer)
            if not ways.peers:
                self._ways.remove(network)
                self._used_in[self._around(network)] -= 1
        if is_changed:
            self._found.clear()
        return is_changed

    def _around(self, network: Network) -> Network:
        """The longest accepted network that has all of this one, which is used, in it."""
        found = self._accepted.around(network)
        return network if found is None else found[0]

    def _is_accepted_of(self, peer: P, network: Network) -> bool:
        around = self._accepted.around(network)
        if around is None:
            return False
        return not around[1] or self._is_one_of(peer, around[1])

    def _is_one_of(self, peer: P, named: Iterable[bytes]) -> bool:
        """Whether this peer has one of these addresses."""
        return any(self._holder(address) is peer for address in named)

    def leaders(self) -> tuple[P | None, ...]:
        """The peers that have the addresses which are named as the only ones that may lead
        somewhere."""
        return tuple(map(self._holder, sorted(self._named)))

    # --- packets ---

    def ways(self, address: bytes) -> Ways[P] | None:
        """The gateways that lead to this address; None if none does."""
        try:
            return self._found[address]
        except KeyError:
            pass
        ways = self._look_up(address)
        if len(self._found) >= MAX_CACHED:
            self._found.clear()
        self._found[address] = ways
        return ways

    def _look_up(self, address: bytes) -> Ways[P] | None:
        found, accepted = self._ways.find(address), self._accepted.find(address)
        if found is None or accepted is None:
            return None
        (network, ways), (around, named) = found, accepted
        if not named or around.prefixlen <= network.prefixlen:
            return ways
        # The address is in a part of the advertised network that only some may lead to.
        peers = tuple(peer for peer in ways.peers if self._is_one_of(peer, named))
        return Ways(around, peers, ways.is_shared) if peers else None

    def choose(self, ways: Ways[P], frame: bytes) -> P:
        """The one that this packet goes by."""
        peers = ways.sharing
        if len(peers) == 1 and not ways.is_shared:
            return peers[0]
        key = flow_key(frame)
        known = self._flows.get(key)
        if known is not None and known in peers:
            return known
        if len(self._flows) >= MAX_FLOWS:
            for old in list(self._flows)[: MAX_FLOWS // 2]:
                del self._flows[old]
        number, seeds = zlib.crc32(key), self._seeds
        chosen = max(peers, key=lambda peer: _mixed(number ^ seeds[peer]))
        self._flows.pop(key, None)  # so that it is the newest
        self._flows[key] = chosen
        return chosen

    def leads(self, peer: P, address: bytes) -> bool:
        """Whether this peer is one of the gateways to an address."""
        ways = self.ways(address)
        return ways is not None and peer in ways.peers

    def is_own(self, address: bytes) -> bool:
        """Whether this node leads to an address: it advertises a network that this is in, and does
        not itself send it to gateways."""
        try:
            return self._is_own[address]
        except KeyError:
            pass
        own, accepted = self._own.find(address), self._accepted.find(address)
        is_own = own is not None and (accepted is None or own[0].prefixlen > accepted[0].prefixlen)
        if len(self._is_own) >= MAX_CACHED:
            self._is_own.clear()
        self._is_own[address] = is_own
        return is_own

    def is_accepted(self, address: bytes) -> bool:
        """Whether an address is in an accepted network, whoever leads there."""
        return self._accepted.find(address) is not None

    # --- questions ---

    @property
    def used(self) -> Mapping[Network, Sequence[tuple[Network, tuple[P, ...]]]]:
        """The advertised networks that packets are sent to, and the gateways to each, by the
        longest accepted network that has all of it in it."""
        found: dict[Network, list[tuple[Network, tuple[P, ...]]]] = {}
        for network, ways in self._ways:
            found.setdefault(self._around(network), []).append((network, ways.peers))
        return found

    def is_reached(self, accepted: Network) -> bool:
        """Whether any gateway leads to this accepted network, or to a part of it."""
        return self._used_in[accepted] > 0

    def network_of(self, address: bytes) -> Network | None:
        """The accepted network that an address is in; None: it is in none."""
        found = self._accepted.find(address)
        return None if found is None else found[0]

    def why_not(self, peer: P, network: Network) -> str:
        """Why packets to a network that this peer advertises do not go by it; empty if they do."""
        if self._is_accepted_of(peer, network):
            return ""
        around = self._accepted.around(network)
        if around is not None:
            named = next(each for each in self.accepted if each.network == around[0])
            return f"it is accepted from others only ({named})"
        if any(overlap(network, each.network) for each in self.accepted):
            return "it is larger than what is accepted"
        return "it is not accepted"


def _mixed(number: int) -> int:
    """A 32-bit number of which every bit depends on all bits of another one: the last step of
    MurmurHash3. The same on all machines and after every start, unlike `hash`."""
    number ^= number >> 16
    number = number * 0x85EBCA6B & _MASK
    number ^= number >> 13
    number = number * 0xC2B2AE35 & _MASK
    return number ^ number >> 16
