"""The control socket of a node, from the privileged start to the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, globalLogPublisher

from tunmesh import admin, unixport
from tunmesh.errors import OperatorError
from tunmesh.log import Recent


class Control:
    """Takes the socket when it is made, which may need privileges.

    A node without it carries packets as well, so that it cannot be had is a warning and no more:
    on a read-only root file system there may be no place for it.
    """

    def __init__(
        self,
        reactor: Any,
        path: Path,
        node: admin.Node,
        drain: Callable[[], None],
        log: Logger,
    ) -> None:
        self._sampler = admin.Sampler(reactor, node.status)
        self._recent = Recent()
        self._port: IListeningPort | None = None
        globalLogPublisher.addObserver(self._recent)
        site = admin.site(node, drain, self._recent, self._sampler.history, time.time, reactor)
        try:
            self._port = unixport.listen(reactor, path, site)
        except OperatorError as error:
            log.warn("no control socket: {error}", event="no_control_socket", error=str(error))

    def start(self) -> None:
        if self._port is not None:
            self._sampler.start()

    def stop(self) -> None:
        """The node leaves. The port stays until the process ends, and goes with it: who waits for
        that can watch."""
        self._sampler.stop()
