"""The steps of a scenario: what may happen to a simulated mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunmesh.simulator.floating.steps import Claim, Held, Release, StopHolder

# How a process ends. Crash: its kernel closes its connections. Vanish: the machine is gone, nothing
# is closed and nothing answers. Leave: it is asked to, and says bye.
End = Literal["crash", "vanish", "leave"]


@dataclass(frozen=True, slots=True)
class Start:
    """Start all nodes that have not run yet, at random times."""

    over: float = 0.5


@dataclass(frozen=True, slots=True)
class Add:
    """New nodes, as many as a share of those that run, start at random times."""

    share: float
    over: float = 0.5


@dataclass(frozen=True, slots=True)
class Stop:
    """End some nodes, all at once."""

    share: float
    how: End


@dataclass(frozen=True, slots=True)
class StopSeeds:
    """End the nodes that all bootstrap from, for good."""

    how: End


@dataclass(frozen=True, slots=True)
class Restart:
    """Some nodes end at once, and start again after `pause`, at random times. Moved: with other
    addresses, in the network and in the mesh. Behind: with clocks that are so many seconds behind.
    """

    share: float
    how: End = "crash"
    pause: float = 0.5
    over: float = 0.5
    moved: bool = False
    behind: float = 0.0


@dataclass(frozen=True, slots=True)
class Readdress:
    """Some hosts, or the first one, get another address while their processes go on. From now on
    they can be dialed by nobody, since they say what they said before; they can dial."""

    share: float = 0.0
    first: bool = False


@dataclass(frozen=True, slots=True)
class Hide:
    """Of the nodes that nobody bootstraps from this share is behind NATs: from their next start on,
    nobody can dial them where they say that they are."""

    share: float


@dataclass(frozen=True, slots=True)
class Divide:
    """Partition the hosts into two parts."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Scatter:
    """Partition the hosts into so many parts."""

    parts: int


@dataclass(frozen=True, slots=True)
class CutOneWay:
    """Of this share of all pairs of hosts, nothing gets from the one to the other; what the other
    one sends arrives."""

    share: float


@dataclass(frozen=True, slots=True)
class Block:
    """Of this share of all pairs of hosts, nothing gets from the one to the other, or back.
    `leaves_seeds`: but for pairs whose way is the last one of an end to a host that nodes bootstrap
    from. A node that has none, and has not been linked yet, is known to nobody."""

    share: float
    leaves_seeds: bool = False


@dataclass(frozen=True, slots=True)
class Direct:
    """Within so many seconds all links have to be direct where they can be, and all others relayed;
    at least `relayed` of these."""

    within: float
    relayed: int = 0


@dataclass(frozen=True, slots=True)
class Heal:
    """End all partitions."""


@dataclass(frozen=True, slots=True)
class FailDials:
    """Make this share of dials fail from now on: refused, or not answered."""

    share: float


@dataclass(frozen=True, slots=True)
class LoseNames:
    """From now on no name resolves."""


@dataclass(frozen=True, slots=True)
class FindNames:
    """Names resolve again."""


@dataclass(frozen=True, slots=True)
class ReadSlowly:
    """For a while some nodes read only `rate` bytes a second from each connection, and everybody
    sends them `offered` bytes a second. Packets between the others have to arrive meanwhile."""

    share: float
    seconds: float
    rate: float
    offered: float


@dataclass(frozen=True, slots=True)
class Impair:
    """From now on these shares of all datagrams are lost, come twice, and come late; and packets of
    more than `mtu` bytes are lost on all paths."""

    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class BlockDatagrams:
    """Of this share of all pairs of hosts, no datagram gets from the one to the other; nor back,
    unless it is `one_way`. All others are not blocked any more."""

    share: float
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Rebind:
    """The NATs in front of some nodes forget them, and give them other UDP ports."""

    share: float


@dataclass(frozen=True, slots=True)
class Carried:
    """Within so many seconds all packets have to go over `by`, and over TCP where datagrams do not
    get there and back."""

    by: Literal["tcp", "udp"]
    within: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """For a while packets of all sizes are sent from anybody to anybody. At least this share has to
    arrive."""

    seconds: float
    least: float = 1.0


@dataclass(frozen=True, slots=True)
class Regroup:
    """In each of a few multicast groups programs on this share of the nodes are from now on, and on
    no others: they join and leave at random times. This share of what their kernels report gets
    lost."""

    share: float
    over: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Grouped:
    """Within so many seconds each node knows who is in which group; packets to groups then arrive
    where they are wanted, and go to nobody else."""

    within: float


@dataclass(frozen=True, slots=True)
class Intrude:
    """A new node claims the address of one that runs, which is to keep it."""


@dataclass(frozen=True, slots=True)
class Misconfigure:
    """A new node starts whose config has other networks than that of all others: another one, a
    part of the right one, or no IPv6."""


@dataclass(frozen=True, slots=True)
class Lie:
    """A machine that holds the secret begins to lie (tunmesh.simulator.liar). From now on `Whole`
    is about all others: each pair of them that can be is linked, whatever else they believe."""


@dataclass(frozen=True, slots=True)
class Expose:
    """Switch the liar off."""


@dataclass(frozen=True, slots=True)
class Part:
    """Every second host is cut off from the others. Each half bootstraps from its first host, and
    looks for the other half. Namesakes: each node of one half has the name of one of the other."""

    namesakes: bool = False


@dataclass(frozen=True, slots=True)
class Contend:
    """In each half a newcomer starts; the two have the same name, and so choose the same address.
    Static: to one of them it is assigned."""

    static: bool = False


@dataclass(frozen=True, slots=True)
class Roll:
    """Every node is ended and started again, one after the other, at other hosts."""

    how: End = "leave"
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Fill:
    """New nodes start until the network has no address left, and so many more."""

    more: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Within so many seconds every node has to have an address of each family that it chooses
    itself, except for those that are `left_over`: no two the same, and every other node routes it
    there. Same: each has the one that a node of its name had before."""

    within: float
    same: bool = False
    left_over: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Whole:
    """The mesh has to be whole within so many seconds: each pair of nodes of which one can reach
    the other is linked, once, and nobody knows of a node that is not there."""

    within: float


Step = (
    Start
    | Add
    | Stop
    | StopSeeds
    | Restart
    | Readdress
    | Hide
    | Divide
    | Scatter
    | CutOneWay
    | Block
    | Direct
    | Heal
    | FailDials
    | LoseNames
    | FindNames
    | ReadSlowly
    | Impair
    | BlockDatagrams
    | Rebind
    | Carried
    | Exchange
    | Regroup
    | Grouped
    | Intrude
    | Misconfigure
    | Lie
    | Expose
    | Part
    | Contend
    | Roll
    | Fill
    | Chosen
    | Claim
    | Release
    | StopHolder
    | Held
    | Wait
    | Whole
)
