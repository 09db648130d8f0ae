"""The gauges that a soak reads of its nodes from outside, and whether they grow.

Memory and open files from /proc, delayed calls from the node's own metrics. Growth is the rise of a
straight line fitted to the second half of the readings; the first half may fill caches and pools.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.web.client import URI, Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from bench.realmesh import RealMesh, descriptors, resident
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.plan import LISTEN_PORT
from tunmesh.localmesh.transfers import NamespaceEndpoint

PATIENCE = 10.0
_CALLS = re.compile(rb"^tunmesh_delayed_calls (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Reading:
    """One node at one moment of the soak."""

    at: float  # seconds since the start
    node: str
    rss: int  # bytes
    files: int
    delayed_calls: int


GAUGES = {"rss": 2 * 2**20, "files": 3, "delayed_calls": 5}
"""The gauges, and how much each may rise: the scatter of the readings."""
WARM = 1200.0
"""Seconds until caches are filled. In a shorter soak the limits are twice as high."""


async def read_node(mesh: RealMesh, number: int, at: float) -> Reading:
    """Raises OSError if its process is gone, and what an Agent raises if it does not answer."""
    pid = mesh.pid(number)
    rss, files = resident(pid), descriptors(pid)
    plan = mesh.plans[number - 1]
    there = _Local(mesh.reactor, mesh.namespace(number))
    agent = Agent.usingEndpointFactory(mesh.reactor, there)
    url = f"https://{plan.underlay}:{LISTEN_PORT}/metrics"
    response = await agent.request(b"GET", url.encode()).addTimeout(PATIENCE, mesh.reactor)
    page = await readBody(response).addTimeout(PATIENCE, mesh.reactor)
    found = _CALLS.search(page)
    return Reading(at, plan.name, rss, files, int(float(found[1])) if found else -1)


def growth(readings: Sequence[Reading], node: str, gauge: str) -> float:
    """How much a gauge of a node rose over the second half of its readings; 0 if there are too
    few."""
    mine = [reading for reading in readings if reading.node == node]
    late = mine[len(mine) // 2 :]
    if len(late) < 3:
        return 0.0
    times = [reading.at for reading in late]
    line = linear_regression(times, [float(getattr(reading, gauge)) for reading in late])
    return line.slope * (times[-1] - times[0])


@implementer(IOpenSSLClientConnectionCreator)
class _AnyCertificate:
    """The page is our own node's in our own namespace, so no other server can answer."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        connection.set_connect_state()
        return connection


@implementer(IAgentEndpointFactory)
class _Local:
    def __init__(self, reactor: Any, namespace: Namespace) -> None:
        self._reactor = reactor
        self._namespace = namespace

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        plain = NamespaceEndpoint(self._reactor, self._namespace, uri.host.decode(), uri.port)
        return wrapClientTLS(_AnyCertificate(), plain)
