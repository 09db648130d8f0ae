"""A way into a node's namespace: what connects to a port here is connected to one there."""

from __future__ import annotations

from typing import Any

from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tunmesh.host.namespaces import Namespace


class _Passage(ProxyServer):
    """One connection, and its continuation, whose socket is made inside."""

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
    """A port of loopback here that leads to this port of loopback there."""
    return reactor.listenTCP(0, _Entrance(namespace, port), interface="127.0.0.1")
