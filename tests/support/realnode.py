"""Real nodes for tests: `twistd tunmesh` processes, each in a namespace of its own, on one
bridge.

    ground = Ground(case, 2)            # two namespaces, a certificate, a secret
    alice = ground.start(1)             # node1, without a bootstrap node
    bob = ground.start(2)               # node2, which bootstraps from node1
    await bob.logged("linked", peer="node1")
    alice.signal("TERM")
    await alice.ended                   # its exit code

Nodes log JSON, so a test awaits events and never polls. Whatever a test leaves running is killed at
its end, and no node may ever have printed the secret.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import yaml
from pyroute2 import IPRoute
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support.places import short_directory
from tunmesh.cli.client import Client
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.plan import CERTIFICATE, NodePlan, Owner, node_config, write_files
from tunmesh.localmesh.underlay import Underlay

reactor: Any = trial_reactor

OWNER = Owner(65534, 65534)
TUN = "tun1"
PATIENCE = 200.0  # seconds for a node's answer
QUICK_BOOTSTRAP = {"registrations": {"bootstrap_retry_interval": 0.5}}
Event = Mapping[str, Any]

_TWISTD = str(Path(sys.executable).with_name("twistd"))
# On PYTHONPATH, it shortens some intervals of a node: see there.
HASTY = str(Path(__file__).parent.parent / "hasty")
THEN_EXEC = "\nimport os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class RealNode(ProcessProtocol):
    """One node process. `ended` fires with its exit code, or minus the signal that killed it."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.output = {1: b"", 2: b""}
        self.events: list[Event] = []
        self.ended: Deferred[int] = Deferred()
        self.is_running = True
        self._untold: list[Event] = []
        self._awaited: list[tuple[str, Event, Deferred[Event]]] = []
        self._partial = b""

    @property
    def pid(self) -> int:
        assert self.transport is not None
        pid: int = self.transport.pid
        return pid

    @property
    def text(self) -> str:
        """All its output."""
        return (self.output[1] + self.output[2]).decode()

    @property
    def complaint(self) -> str:
        """Its output on standard error."""
        return self.output[2].decode()

    def signal(self, name: str) -> None:
        """Send TERM, INT, STOP, …"""
        assert self.transport is not None
        self.transport.signalProcess(name)

    def logged(self, event: str, **fields: object) -> Deferred[Event]:
        """The first event of that kind with these fields that was not returned before: a past one,
        or a future one. Fails if the node ends before it."""
        answer: Deferred[Event] = Deferred()
        self._awaited.append((event, fields, answer))
        self._tell()
        return answer

    def all_logged(self, event: str) -> list[Event]:
        """All events of that kind so far."""
        return [one for one in self.events if one["event"] == event]

    def outReceived(self, data: bytes) -> None:
        self.output[1] += data
        *lines, self._partial = (self._partial + data).split(b"\n")
        events = [json.loads(line) for line in lines if line.startswith(b"{")]
        self.events += events
        self._untold += events
        self._tell()

    def errReceived(self, data: bytes) -> None:
        self.output[2] += data

    def processEnded(self, reason: Failure) -> None:
        self.is_running = False
        awaited, self._awaited = self._awaited, []
        for event, fields, answer in awaited:
            answer.errback(AssertionError(f"it ended before {event} {fields}:\n{self.text}"))
        ended: Any = reason.value
        self.ended.callback(-ended.signal if ended.signal else ended.exitCode)

    def _tell(self) -> None:
        for one in list(self._awaited):
            event, fields, answer = one
            found = next((e for e in self._untold if _matches(e, event, fields)), None)
            if found is not None:
                self._untold.remove(found)
                self._awaited.remove(one)
                answer.callback(found)


def _matches(candidate: Event, event: str, fields: Event) -> bool:
    return candidate["event"] == event and fields.items() <= candidate.items()


class Ground:
    """Namespaces that can reach each other at 10.99.0.1, .2, …, each with a node's config; the mesh
    addresses are 10.77.0.1, fd77::1, and so on. Or all have one config, and choose their addresses
    (`automatic`). All of it ends with the test."""

    def __init__(self, case: unittest.TestCase, count: int = 1, automatic: bool = False) -> None:
        self._case = case
        self.plans = [NodePlan(number, automatic) for number in range(1, count + 1)]
        self._underlay = Underlay.create([plan.underlay for plan in self.plans])
        case.addCleanup(self._underlay.close)
        self._namespaces = list(self._underlay.namespaces)
        self.directory = short_directory(case)
        write_files(self.directory, self.plans, OWNER)
        for plan in self.plans:
            self.change(plan.number)
        self.secret = (self.directory / "secret").read_text()

    def namespace(self, number: int = 1) -> Namespace:
        return self._namespaces[number - 1]

    def move(self, number: int, namespace: Namespace) -> Namespace:
        """Move a node to another namespace; returns its previous one."""
        before, self._namespaces[number - 1] = self.namespace(number), namespace
        return before

    def change(self, number: int = 1, **changes: object) -> None:
        """Change the node's config: keys are paths such as `networking__tun_device_id`. Without a
        change of `process__timing` it looks for a bootstrap node that is not there at short
        intervals."""
        config: Any = node_config(self.plans[number - 1], self.plans[0], OWNER)
        config["tun_mesh"]["process"]["timing"] = QUICK_BOOTSTRAP
        for path, value in changes.items():
            *sections, key = path.split("__")
            section = config["tun_mesh"]
            for name in sections:
                section = section.setdefault(name, {})
            section[key] = value
        self.config(number).write_text(yaml.safe_dump(config))

    def config(self, number: int = 1) -> Path:
        return self.directory / self.plans[number - 1].config_file

    def start(self, number: int = 1, before: str = "", **environ: str) -> RealNode:
        """Start a node on its config. `before` is Python that its process runs before twistd."""
        environment = {**os.environ, **self.plans[number - 1].environ, **environ}
        path = str(self.config(number))
        return self.run(number, "--config", path, before=before, environ=environment)

    def run(
        self,
        number: int,
        *arguments: str,
        before: str = "",
        environ: Mapping[str, str] = os.environ,
        through: Sequence[str] = (),
        options: Sequence[str] = ("--nodaemon", "--pidfile="),
    ) -> RealNode:
        """Run `twistd tunmesh` with these arguments of tunmesh and options of twistd; if given,
        `through` is a command that runs the rest of its line."""
        namespace = self.namespace(number)
        node = RealNode(namespace)
        command = [_TWISTD, *options, "tunmesh", *arguments]
        if before:
            command = [sys.executable, "-c", before + THEN_EXEC, *command]
        command = [*through, *command]
        with namespace:
            reactor.spawnProcess(node, command[0], command, env=environ)
        self._case.addCleanup(self._end, node)
        return node

    async def linked(self, count: int, **environ: str) -> list[RealNode]:
        """Start the first `count` nodes, and wait until each is linked with all others."""
        nodes = [self.start(number, **environ) for number in range(1, count + 1)]
        for node in nodes:
            for plan, peer in zip(self.plans, nodes, strict=False):
                if peer is not node:
                    await node.logged("linked", peer=plan.name)
        return nodes

    async def get(
        self,
        path: str,
        number: int = 1,
        tls: str = "TLSv1_3",
        alpn: str = "http/1.1",
    ) -> tuple[int, str]:
        """Status and body of one of the node's pages, fetched in its namespace; status 0 and an
        empty body if the connection ends without an answer."""
        context = ssl.create_default_context(cafile=str(self.directory / CERTIFICATE))
        context.check_hostname = False
        context.minimum_version = context.maximum_version = ssl.TLSVersion[tls]
        context.set_alpn_protocols([alpn])
        # An object of its own: several threads may be in the namespace.
        namespace = Namespace(self.namespace(number).fd)
        return await deferToThread(_get, namespace, context, path)

    async def reasons(self, number: int = 1) -> str:
        """Why the node is ready or not, from its control socket: the port gives only a word."""
        checks = (await self.status(number))["checks"]
        return "; ".join(check["reason"] for check in checks)

    async def status(self, number: int = 1) -> dict[str, Any]:
        """The output of `tunmesh status -o json`."""
        client = Client(self.directory / self.plans[number - 1].socket)
        return await deferToThread(client.get, "/v1/status", PATIENCE)

    async def metrics(self, number: int = 1) -> dict[str, float]:
        """The node's metrics by name with labels, in the exposition format."""
        _, text = await self.get("/metrics", number)
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    async def _end(self, node: RealNode) -> None:
        if node.is_running:
            node.signal("KILL")
            await node.ended
        self._case.assertNotIn(self.secret, node.text)


def interfaces(namespace: Namespace) -> set[str]:
    """The names of all interfaces in a namespace."""
    with namespace:
        return {name for _, name in socket.if_nameindex()}


def state(namespace: Namespace) -> tuple[set[object], ...]:
    """Interfaces, IPv4 addresses, routes and listening ports of a namespace, for comparison. IPv6
    of the cables is left out, as it settles at an unpredictable time."""
    with namespace, IPRoute() as ip:
        return (
            {link.get_attr("IFLA_IFNAME") for link in ip.get_links()},
            {address.get_attr("IFA_ADDRESS") for address in ip.get_addr(family=socket.AF_INET)},
            {route.get_attr("RTA_DST") for route in ip.get_routes(family=socket.AF_INET)},
            set(Path("/proc/thread-self/net/tcp6").read_text().splitlines()),
        )


def _get(namespace: Namespace, context: ssl.SSLContext, path: str) -> tuple[int, str]:
    """In a thread."""
    connection = HTTPSConnection("127.0.0.1", 4567, context=context, timeout=PATIENCE)
    try:
        with namespace:
            connection.connect()
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
