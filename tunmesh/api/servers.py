"""Serves the control socket and the live page, from the privileged start to the end.

A node carries packets without them as well, so when one cannot be bound that is a warning only: on
a read-only root file system there may be no place for a socket, and the port may be in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from tunmesh.api import control, read_only
from tunmesh.api.admission import Admission
from tunmesh.api.page import resource
from tunmesh.errors import OperatorError
from tunmesh.host import unix_port
from tunmesh.logs.observers import RecentEvents
from tunmesh.status.node import Status
from tunmesh.status.traffic import Sample
from tunmesh.tls.cpu_share import CpuTimes

if TYPE_CHECKING:
    from tunmesh.config.keys.serving import Admin


class Node(control.Node, Protocol):
    """The node that they show; node.node.Node is one."""

    def sample(self) -> Sample: ...


class Control:
    """Binds what the config asks for when it is made, which may need root. `notes()` are sentences
    about what is wrong beside the node: with its files."""

    def __init__(
        self,
        reactor: Any,
        config: Admin,
        node: Node,
        drain: Callable[[], None],
        recent: RecentEvents,
        log: Logger,
        cpu: CpuTimes,
        notes: Callable[[], Sequence[str]],
    ) -> None:
        self._node = node
        self._notes = notes
        self._unserved: list[str] = []
        self._sampler = read_only.Sampler(reactor, node.sample)
        self._ports: list[IListeningPort] = []
        history = self._sampler.history
        reports = read_only.Reports(self._status, node.known_nodes, recent, history, time.time)
        if config.socket is not None:
            site = control.site(node, drain, reports, reactor)
            try:
                self._ports.append(unix_port.listen(reactor, config.socket, site))
            except OperatorError as error:
                log.warn("no control socket: {error}", event="no_control_socket", error=str(error))
                self._unserved.append(f"no control socket: {error}")
        if config.http_port is not None:
            # Whoever shares the network namespace may connect.
            admission = Admission(reactor, resource.site(reports, reactor), cpu)
            try:
                ports = resource.listen(reactor, config.http_port, admission)
            except OperatorError as error:
                log.warn("no page: {error}", event="no_page", error=str(error))
                self._unserved.append(f"no page: {error}")
            else:
                admission.opened(*ports)
                self._ports += ports
                url = f"http://localhost:{config.http_port}/"
                log.info("there is a page at {url}", event="page", url=url)

    def _status(self) -> Status:
        """The node's, and what is wrong beside it."""
        status = self._node.status()
        return replace(status, warnings=(*status.warnings, *self._unserved, *self._notes()))

    def start(self) -> None:
        if self._ports:
            self._sampler.start()

    def stop(self) -> None:
        """The node leaves. The ports stay open until the process ends, so that people can watch."""
        self._sampler.stop()
