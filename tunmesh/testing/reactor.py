"""The reactor of one host of a network in memory: its clock, its connections, its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import address, error, interfaces
from zope.interface import implementer

from tunmesh.testing.network import Dialing, Network


@implementer(interfaces.IListeningPort)
class _Port:
    numberAccepts = 100

    def __init__(self, network: Network, place: tuple[str, int]) -> None:
        self._network = network
        self._place = place

    def startListening(self) -> None:
        """It listens from the start."""

    def stopListening(self) -> None:
        self._network.listeners.pop(self._place, None)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._network.backlogs.setdefault(self._place, [])

    def resumeProducing(self) -> None:
        for dialing in self._network.backlogs.pop(self._place, []):
            self._network.clock.callLater(0, dialing.arrive)

    def getHost(self) -> address.IPv4Address:
        return address.IPv4Address("TCP", *self._place)


@implementer(interfaces.IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """The lookup is over at once: there is nothing to cancel."""


@implementer(interfaces.IHostnameResolver)
class _Names:
    """Resolves names from the network's table, which a test may change at any time."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def resolveHostName(
        self,
        resolutionReceiver: interfaces.IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> interfaces.IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for host in self._network.lookup(hostName):
            found = address.IPv4Address("TCP", host, portNumber)
            resolutionReceiver.addressResolved(found)
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(
    interfaces.IReactorTCP, interfaces.IReactorTime, interfaces.IReactorPluggableNameResolver
)
class MemoryReactor:
    """The reactor of one host: the clock of all, its own connections."""

    def __init__(self, network: Network, host: str) -> None:
        self.host = host
        self._network = network
        self.nameResolver = _Names(network)
        self.is_dead = False

    def installNameResolver(self, resolver: Any) -> Any:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def seconds(self) -> float:
        return self._network.clock.seconds()

    def callLater(
        self,
        delay: float,
        callable: Callable[..., Any],  # noqa: A002 (the interface names it so)
        *args: object,
        **kwargs: object,
    ) -> interfaces.IDelayedCall:
        return self._network.clock.callLater(delay, self._call, callable, *args, **kwargs)

    def _call(self, call: Any, *args: Any, **kwargs: Any) -> None:
        if not self.is_dead:
            call(*args, **kwargs)

    def getDelayedCalls(self) -> list[Any]:
        return list(self._network.clock.getDelayedCalls())

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> Dialing:
        return self._network.connect(self.host, host, port, factory, timeout)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        place = (self.host, port)
        if place in self._network.listeners:
            raise error.CannotListenError(interface, port, OSError("Address already in use"))
        self._network.listeners[place] = factory
        return _Port(self._network, place)


@dataclass(frozen=True)
class MemoryPlace:
    """Where a node listens on a host in memory; host.tcp_ports.Bound is the real one."""

    port: int
    address: None = None

    @property
    def where(self) -> str:
        return f"TCP port {self.port}"

    def listen(self, reactor: Any, factory: Any) -> Any:
        return reactor.listenTCP(self.port, factory)
