"""Port forwarding into a node's namespace."""

from __future__ import annotations

from typing import Any

from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tunmesh.host.namespaces import Namespace


class _Passage(ProxyServer):
    """One forwarded connection; the outgoing socket is created inside the namespace."""

    factory: _Entrance

    def connectionMade(self) -> None:
        with self.factory.namespace:
            super().connectionMade()


class _Entrance(ProxyFactory):
    protocol = _Passage
    noisy = False

    def __init__(self, namespace: Namespace, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.namespace = namespace


def forward(reactor: Any, namespace: Namespace, port: int) -> Any:
    """Open a loopback port here that leads to this loopback port in the namespace."""
    return reactor.listenTCP(0, _Entrance(namespace, port), interface="127.0.0.1")
