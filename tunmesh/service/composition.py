"""The composition root of a node: what `twistd tunmesh` runs.

First everything is read and checked (service.options, service.load, service.settings); then, below
a visible line, the machine is touched, as root; then privileges are dropped for good, and only then
does the reactor run.

Exit codes: 0 after TERM or INT; 1 when something failed at run time; 78 (EX_CONFIG) when the config
is no good, with nothing changed on the machine.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher
from twisted.web.server import Site

from tunmesh.api import monitor, public
from tunmesh.api.servers import Control
from tunmesh.dataplane.tun import TunDevice
from tunmesh.dialing.resolver import Resolver
from tunmesh.errors import OperatorError
from tunmesh.host import descriptors, heap, iterations, privileges, seccomp
from tunmesh.host.cpu_wait import CpuWait
from tunmesh.host.file_thread import FileThread
from tunmesh.logs.journal import Journal
from tunmesh.logs.observers import LogWriter, RecentEvents
from tunmesh.netlink.address_watch import AddressWatch, HostAddressWatch, NoAddressWatch
from tunmesh.netlink.device_state import Unwatched, Watch
from tunmesh.netlink.device_watch import DeviceWatch
from tunmesh.node.node import Node
from tunmesh.node.settings import Host
from tunmesh.observe import metrics
from tunmesh.observe.systemd import Supervisor
from tunmesh.service import node_name, preflight
from tunmesh.service.load import LoadedConfig, load
from tunmesh.service.node_name import ChosenName
from tunmesh.service.preflight import Plan, Taken
from tunmesh.service.reload import Reloader
from tunmesh.service.settings import address_finder, settings_of
from tunmesh.tls import bulk
from tunmesh.tls.cpu_share import CpuTimes
from tunmesh.udp.port import Port

if TYPE_CHECKING:
    from tunmesh.assigner.assigner import HelpedAssigner

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_END_SIGNALS, signal.SIGHUP)


class NodeService(Service):
    """One node, from the privileged start to the bye."""

    log = Logger(namespace="tunmesh")

    def __init__(
        self, reactor: Any, path: Path, loaded: LoadedConfig, log_writer: LogWriter | None
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._config = loaded.config
        self._plan = Plan.of(loaded.config)
        self._name = self._choose_name()
        self._settings = settings_of(loaded.config, loaded.reloadable, self._name.name)
        self._log_writer = log_writer
        self._reloader = Reloader(
            reactor,
            path,
            loaded,
            partial(load, path),
            self._reload,
            time.time,
            self.log,
            FileThread(reactor, "files"),
        )
        self._supervisor = Supervisor(reactor, os.environ, os.getpid())
        self._node: Node | None = None
        self._control: Control | None = None
        self._assigner: HelpedAssigner | None = None
        self._recent = RecentEvents()
        self._is_leaving = False

    def _choose_name(self) -> ChosenName:
        networking = self._config.networking
        servers = networking.dns.servers if networking.dns is not None else ()
        return node_name.choose(self._config.clustering.node_name, networking.networks, servers)

    def privilegedStartService(self) -> None:
        """Do everything that needs root, and give up root."""
        # Signals wait until the reactor runs. Before that, or while it installs its own handlers,
        # they would end the node without its exit code.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        globalLogPublisher.addObserver(self._recent)  # the control socket shows the start, too
        record = self._settings.record
        self.log.info(
            "{node} starts: tunmesh {version}, config {path}",
            event="starting",
            node=record.name,
            version=record.version,
            path=str(self._path),
        )
        if self._name.why:
            self.log.info(
                "{node} is the name of this node: {why}",
                event="named",
                node=record.name,
                why=self._name.why,
            )
        if bulk.why_stock:
            self.log.warn(
                "links use the stock TLS transport, which is slower: {why}",
                event="stock_transport",
                why=bulk.why_stock,
            )
        # ======== all is read and checked; below this line the machine is touched ========
        descriptors.raise_limit()
        try:
            self._node = self._assemble()
            privileges.drop(self._plan.uid, self._plan.gid)
            unfiltered = seccomp.refuse()
        except OperatorError as error:
            self.log.critical("{error}", event="failed", error=str(error))
            self._supervisor.failed(str(error))
            sys.exit(1)  # closes the tun, and with it go its addresses and routes
        self._log_privileges(unfiltered)

    def _assemble(self) -> Node:
        """Make the device and the node, and bind all that it serves. Raises OperatorError."""
        device, taken = self._open_device_and_ports()
        self._assigner = self._start_helper() if self._plan.has_helper else None
        cpu = CpuTimes(time.thread_time, CpuWait().waited)
        watch, address_watch = self._watch()
        host = Host(
            self._reactor,
            device,
            secrets.token_bytes,
            random.random,
            watch,
            cpu=cpu,
            bootstrap_resolver=Resolver(self._reactor, random.shuffle),
            assigner=self._assigner,
            find_address=address_finder(self._config, self._settings.reloadable.groups),
            datagrams=self._datagrams(taken),
            address_watch=address_watch,
        )
        node = Node(
            self._settings,
            host,
            Journal(self.log, self._reactor.seconds, self._is_debugging),
            self._make_site,
            self._failed,
            self._reloader.before_bootstrap,
        )
        node.listen(taken.tcp)
        self._serve_monitoring(node, cpu)
        self._control = Control(
            self._reactor,
            self._config.admin,
            node,
            self._leave,
            self._recent,
            self.log,
            cpu,
            self._reloader.notes,
        )
        return node

    def _open_device_and_ports(self) -> tuple[TunDevice, Taken]:
        plan = self._plan

        def waits(what: str) -> None:
            text = "{what} is in use, apparently by a process that is ending: waiting for it"
            self.log.info(text, event="predecessor_ends", what=what)

        taken = preflight.take(plan, waits)
        device = TunDevice(self._reactor, taken.tun, plan.device)
        self.log.info(
            "{device} is up: {addresses}; its MTU is {mtu}",
            event="tun_up",
            device=plan.device,
            addresses=", ".join(plan.addresses),
            mtu=plan.mtu,
        )
        return device, taken

    def _datagrams(self, taken: Taken) -> Port | None:
        if taken.udp is None:
            return None
        from tunmesh.udp.sockets.socket_port import UdpPort  # nodes without UDP do not need it

        return UdpPort(self._reactor, taken.udp.socket, secrets.token_bytes)

    def _start_helper(self) -> HelpedAssigner:
        # Most nodes need none of it.
        from tunmesh.assigner.assigner import HelpedAssigner

        helper, unfiltered = preflight.start_helper(self._plan, self._plan.device)
        self.log.info(
            "a helper process keeps NET_ADMIN, to change {device}; system calls {calls}",
            event="helper_started",
            device=self._plan.device,
            calls=f"not filtered: {unfiltered}" if unfiltered else "filtered",
        )
        return HelpedAssigner(self._reactor, helper, self._helper_lost)

    def _helper_lost(self, why: str) -> None:
        if not self._is_leaving:
            self.log.error("{why}", event="helper_lost", why=why)
            self._failed(why)

    def _watch(self) -> tuple[Watch, AddressWatch]:
        """What watches the tun, and the addresses of this host."""
        plan, device = self._plan, self._plan.device
        try:
            watch = DeviceWatch(self._reactor, device, plan.routed, mtu=plan.mtu)
            return watch, HostAddressWatch(self._reactor, device)
        except OSError as error:
            self.log.warn(
                "{device} and the addresses of this host are not watched: {why}",
                event="not_watched",
                device=device,
                why=error.strerror or str(error),
            )
            return Unwatched(), NoAddressWatch()

    def _serve_monitoring(self, node: Node, cpu: CpuTimes) -> None:
        expose = self._expose(node)
        pages = public.site(node.health, expose, self._reactor, explains=True)
        monitor.listen(self._reactor, self._config.monitoring, node, pages, cpu, self.log)
        if expose is not None and self._config.monitoring.listen is None:
            self.log.info(
                "/metrics on port {port} tells strangers the name, version and counts of this "
                "node: monitoring.listen gives it an address of its own",
                event="public_metrics",
                port=self._plan.listen_port,
            )

    def _is_debugging(self) -> bool:
        return self._log_writer is not None and self._log_writer.debugs

    def _make_site(self, node: Node) -> Site:
        """The pages on the mesh's port."""
        is_public = self._config.monitoring.listen is None
        return public.site(node.health, self._expose(node) if is_public else None, self._reactor)

    def _expose(self, node: Node) -> Callable[[], bytes] | None:
        monitoring = self._config.monitoring
        if monitoring.method != "prometheus":
            return None
        return metrics.exposition(
            node.status,
            monitoring.prometheus.base_labels,
            monitoring.enable_node_packet_metrics,
        )

    def _log_privileges(self, unfiltered: str) -> None:
        held = privileges.held()
        capabilities = held.effective | held.permitted | held.inheritable | held.ambient
        kept = "capabilities {capabilities:#x}" if capabilities else "no capabilities"
        self.log.info(
            f"root is gone: uid {{uid}}, gid {{gid}}, {kept}, system calls {{calls}}",
            event="privileges",
            uid=held.uids[0],
            gid=held.gids[0],
            calls=f"not filtered: {unfiltered}" if unfiltered else "filtered",
            capabilities=capabilities,
        )

    def startService(self) -> None:
        super().startService()
        if self._node is not None:
            self._node.start()
            self._reloader.start()
        if self._control is not None:
            self._control.start()
        self._reactor.callWhenRunning(self._take_signals)

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._assigner is not None:
            self._assigner.stop()
        return self._node.stop() if self._node is not None else None

    def _take_signals(self) -> None:
        """TERM and INT make the node leave the mesh. With the reactor's own handlers, which were
        installed when it started, the process would end by the signal."""
        for number in _END_SIGNALS:
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._leave))
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hang_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if self._node is not None:
            self._supervisor.started(self._node.health)

    def _hang_up(self) -> None:
        self._supervisor.reloading()
        self._reloader.hang_up().addCallback(lambda _: self._supervisor.reloaded())

    def _reload(self, new: LoadedConfig) -> None:
        if self._node is not None:
            self._node.reload(new.reloadable)
        if self._log_writer is not None:
            logging = new.config.logging
            self._log_writer.set(logging.level, logging.format, logging.levels.items())

    def _leave(self) -> None:
        """Leave the mesh, once: there may be a second TERM, or the tun may go meanwhile."""
        if self._reactor.running and self._node is not None and not self._is_leaving:
            self._is_leaving = True
            self._supervisor.stopping()
            self._reloader.stop()
            if self._control is not None:
                self._control.stop()
            self._node.stop().addBoth(lambda _: self._finish())

    def _finish(self) -> None:
        self.log.info("gone", event="gone")
        if self._reactor.running:
            # When what is buffered has been sent: whoever follows the events is to see this one.
            self._reactor.callLater(0, self._reactor.callLater, 0, self._reactor.stop)

    def _failed(self, why: str) -> None:
        """The node cannot go on: leave, and exit with 1 so that a supervisor restarts it."""
        atexit.register(os._exit, 1)  # twistd has no other way to set an exit code
        self._leave()


def node_service(path: Path, loaded: LoadedConfig, log_writer: LogWriter | None) -> NodeService:
    """A node that was configured like this, on the reactor that twistd has installed."""
    from twisted.internet import reactor

    heap.share()
    # Timers run on the wall clock by default: setting it back an hour would stop them for an hour.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    iterations.quicken(reactor)
    reactor.installNameResolver(Resolver(reactor, random.shuffle))  # type: ignore[attr-defined]
    return NodeService(reactor, path, loaded, log_writer)
