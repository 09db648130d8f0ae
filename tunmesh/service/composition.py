"""The composition root of a node: what `twistd tunmesh` runs.

First everything is read and checked; then, below a visible line, the machine is touched, as root;
then privileges are dropped for good, and only then does the reactor run.

Exit codes: 0 after TERM or INT; 1 when something failed at run time; 78 (EX_CONFIG) when the config
is no good, with nothing changed on the machine.
"""

from __future__ import annotations

import atexit
import os
import pickle
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python import usage
from twisted.web.server import Site

import twisted
from tunmesh import __version__
from tunmesh.api import monitor, public
from tunmesh.api.servers import Control
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.config import values
from tunmesh.dataplane import tun
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.dialing.resolver import Resolver
from tunmesh.errors import OperatorError
from tunmesh.host import access, descriptors, heap, privileges, seccomp, stdio
from tunmesh.host.cpu_wait import CpuWait
from tunmesh.host.file_thread import FileThread
from tunmesh.host.helper_process import open_in_child, run_in_child
from tunmesh.host.tcp_ports import Bound
from tunmesh.link.keepalive import Timing
from tunmesh.logs import formatting
from tunmesh.logs.journal import Journal, Output, Recent
from tunmesh.logs.output import Outlet
from tunmesh.netlink.device_state import Unwatched, Watch
from tunmesh.netlink.device_watch import DeviceWatch
from tunmesh.node.node import Node
from tunmesh.node.settings import Host, Reloadable, Settings
from tunmesh.observe import metrics
from tunmesh.observe.systemd import Supervisor
from tunmesh.service import preflight
from tunmesh.service.preflight import Plan
from tunmesh.service.reload import Reading, Reloader
from tunmesh.tls import bulk, certificates
from tunmesh.tls.cpu_share import CpuTimes
from tunmesh.wire.records import NodeRecord

if TYPE_CHECKING:
    from tunmesh.config.keys import process
    from tunmesh.config.loading import Config

EX_CONFIG = 78
TWISTD_PIDFILE = "twistd.pid"  # its default
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_END_SIGNALS, signal.SIGHUP)


_SEED = random.random()  # noqa: S311


def _draw(low: float, high: float) -> float:
    """The value of a range in the config: not another one each time it is read, by whichever
    process."""
    return random.Random(f"{_SEED} {low} {high}").uniform(low, high)  # noqa: S311


class Options(usage.Options):
    """twistd's options for a node."""

    observer: ClassVar[Callable[[], ILogObserver]]
    output: Output | None = None  # unless twistd was told to log elsewhere

    optParameters = [  # noqa: RUF012 (usage.Options wants a list)
        [
            "config",
            "c",
            None,
            f"the config file; default $TUNMESH_CONFIG_PATH, else {values.DEFAULT_PATH}",
        ]
    ]

    def opt_version(self) -> None:
        """Display the versions of tunmesh and Twisted, and exit."""
        sys.stdout.write(f"tunmesh {__version__} (Twisted {twisted.__version__})\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read and check the config, before twistd does anything else. It decides the log too."""
        closed = stdio.open_closed()
        self.path = values.path_of(self["config"], os.environ)
        try:
            self.reading = read_apart(self.path)
        except OperatorError as error:
            sys.stderr.writelines(f"{line}\n" for line in complaints(self.path, error))
            sys.exit(EX_CONFIG)
        twistd = self.parent
        if twistd is None:
            return
        if "nodaemon" not in twistd:
            sys.stderr.write("start it with twistd: twist does not let a node begin as root\n")
            sys.exit(EX_CONFIG)
        if twistd.get("pidfile") == TWISTD_PIDFILE:
            # Where nobody asked for one: a node could not remove it, having given up root, and the
            # next start might take whoever has its number by then for another node.
            twistd["pidfile"] = ""
        if not any(twistd.get(option) for option in ("logger", "logfile", "syslog")):
            if why := no_place_for_a_log(twistd, closed):
                sys.stderr.write(f"the log would go nowhere, as {why}\n")
                sys.exit(EX_CONFIG)
            # twistd takes the *name* of a function without arguments.
            logging = self.reading.config.logging
            self.output = output = Output(
                Outlet(sys.stdout.fileno()).write,
                logging.level,
                logging.format,
                logging.levels.items(),
                text_for(sys.stdout.isatty(), os.environ, os.fstat(sys.stdout.fileno())),
            )
            Options.observer = lambda: output
            twistd["logger"] = "tunmesh.service.composition.Options.observer"


def no_place_for_a_log(twistd: Mapping[str, object], closed: Collection[int]) -> str:
    """Why standard output is of no use to a node, and what to do; empty if it is."""
    if twistd.get("nodaemon") == 0 and not twistd.get("debug"):
        return (
            "twistd goes to the background: start it with twistd --nodaemon, "
            "or with --logfile FILE or --syslog"
        )
    if stdio.OUTPUT in closed:
        return "standard output is closed: redirect it to a file, or give twistd --logfile FILE"
    return ""


def read(path: Path) -> Reading:
    """Read the config and the files it names. Raises OperatorError when they are no good."""
    return _reading(*_checked(path))


def _reading(loaded: Config, doubts: tuple[str, ...]) -> Reading:
    reading = Reading(loaded, reloadable_of(loaded), doubts)
    heap.trim()
    return reading


class _UnusableError(OperatorError):
    """All that a child process found wrong."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self._lines = lines

    def lines(self) -> list[str]:
        return self._lines


def read_apart(path: Path) -> Reading:
    """The same, without what it takes to check a config: that is imported by a child process, and
    here at the first reload. What could not be imported then, as root will be gone, is now."""
    made = run_in_child(partial(_pickled, path))
    if not made:  # what the child died of shows here
        return read(path)
    found = pickle.loads(made)  # noqa: S301 (a child of ours made it)
    if isinstance(found, list):
        raise _UnusableError(found)
    loaded, doubts, unreadable = found
    for name in unreadable:
        import_module(name)
    return _reading(loaded, doubts)


def _checked(path: Path) -> tuple[Config, tuple[str, ...]]:
    """The config, as plain values, and what is doubtful in it."""
    from tunmesh.config.lint import lint
    from tunmesh.config.loading import ConfigError
    from tunmesh.config.plain import plain

    findings = lint(path, os.environ, _draw, time.time(), with_networks=False, with_port=False)
    if findings.config is None:
        raise ConfigError(path, findings.errors)
    return plain(findings.config), tuple(problem.at(path) for problem in findings.doubts)


def _pickled(path: Path) -> bytes:
    """The config, its doubts, and the modules that were imported for it and could not be by the uid
    and gid that the node becomes; or all that is wrong with it, as lines. For the process that this
    one is a child of."""
    known = set(sys.modules)
    try:
        loaded, doubts = _checked(path)
    except OperatorError as error:
        return pickle.dumps(complaints(path, error))
    import tunmesh.config.changes  # noqa: F401 (a reload needs it)

    can = access.as_user(loaded.process.uid, loaded.process.gid)
    unreadable = [name for name in sys.modules.keys() - known if not _can_import(name, can)]
    return pickle.dumps((loaded, doubts, sorted(unreadable)))


def _can_import(name: str, can: access.Can) -> bool:
    file = getattr(sys.modules[name], "__file__", None)
    if file is None:
        return True
    path = Path(file)
    return _can_look_into(path.parent, can) and can(path, os.R_OK)


@cache  # there are hundreds of modules in some directories
def _can_look_into(directory: Path, can: access.Can) -> bool:
    return access.obstacle(directory, can) is None and can(directory, os.X_OK)


def complaints(path: Path, error: OperatorError) -> list[str]:
    """All that is wrong with files that cannot be read for that error, as `tunmesh config check`
    has it."""
    if isinstance(error, _UnusableError):
        return error.lines()
    from tunmesh.config.lint import lint

    try:
        findings = lint(path, os.environ, _draw, time.time())
    except OperatorError as all_there_is:
        return all_there_is.lines()
    return [problem.at(path) for problem in findings.errors] or error.lines()


def text_for(
    is_terminal: bool, environ: Mapping[str, str], output: os.stat_result
) -> Callable[[LogEvent], str]:
    """What a line for people looks like where it goes. For NO_COLOR see https://no-color.org, for
    JOURNAL_STREAM systemd.exec(5): who inherits it may have another output."""
    if environ.get("JOURNAL_STREAM") == f"{output.st_dev}:{output.st_ino}":
        return formatting.journal_line
    if not is_terminal:
        return formatting.text_line
    is_plain = environ.get("NO_COLOR") or environ.get("TERM") == "dumb"
    return formatting.terminal_line if is_plain else formatting.coloured_line


def reloadable_of(loaded: Config) -> Reloadable:
    """What of the config may change while the node runs, in the node's terms. Raises OperatorError
    for certificates that are no good."""
    clustering, ssl = loaded.clustering, loaded.control_api.ssl
    return Reloadable(
        keys=tuple(Key.derive(secret) for secret in clustering.auth.accepted),
        credentials=certificates.load(
            ssl.cert_file_path, ssl.key_file_path, ssl.ca_file_path, ssl.verify_hostname
        ),
        groups=tuple(
            GroupSettings(
                name,
                tuple((url.host, url.port) for url in group.bootstrap_node_urls),
                group.bootstrap_retries,
            )
            for name, group in clustering.bootstrap_groups.items()
        ),
        expected_nodes=loaded.monitoring.expected_nodes,
    )


def settings_of(reading: Reading) -> Settings:
    """The config in the node's terms."""
    loaded = reading.config
    clustering = loaded.clustering
    timing = loaded.process.timing
    node_key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
    families = [f for f in (loaded.networking.ipv4, loaded.networking.ipv6) if f is not None]
    return Settings(
        record=NodeRecord(
            id=node_key.id,
            name=clustering.node_name or socket.gethostname(),
            started=int(time.time() * 1000),
            url=str(clustering.control_api_advertise_url),
            addresses=tuple(family.node_address_cidr for family in families),
            version=__version__,
            networks=tuple(family.network_cidr for family in families),
        ),
        node_key=node_key,
        networks=tuple(family.network_cidr for family in families),
        reloadable=reading.reloadable,
        enable_broadcast=_broadcasts(loaded),
        bootstrap_retry_interval=timing.registrations.bootstrap_retry_interval,
        startup_grace=timing.registrations.startup_grace,
        session_max_age=timing.auth.session_max_age,
        groom_interval=timing.registrations.groom_interval,
        metric_ttl=loaded.monitoring.metric_ttl,
        memory_budget=loaded.process.memory_budget,
        max_nodes_per_source=clustering.max_nodes_per_source,
        dial_allow=clustering.dial_allow,
        local=_timing(timing, timing.registrations.local, timing.network.local),
        mesh=_timing(timing, timing.registrations.mesh, timing.network.mesh),
    )


def _timing(
    timing: process.Timing,
    contact: process.LocalRegistration,
    network: process.PacketTiming,
) -> Timing:
    """The patience of links. The original's defaults would be too patient by far (a peer in the
    mesh is given up after two minutes), so a config can only make a link less patient than ours."""
    ours = Timing()
    return Timing(
        ping_interval=min(contact.reregistration_interval, ours.ping_interval),
        silence=min(contact.stale_threshold, ours.silence),
        probe_timeout=timing.request_timeout,
        packet_expiration=network.packet_expiration,
    )


def _broadcasts(loaded: Config) -> bool:
    ipv4 = loaded.networking.ipv4
    return ipv4 is not None and ipv4.enable_broadcast


def _take(plan: Plan) -> Sequence[int]:
    """The descriptors of the tun device and of the port."""
    fd, bound = preflight.take(plan)
    return fd, bound.socket.detach()


class NodeService(Service):
    """One node, from the privileged start to the bye."""

    log = Logger(namespace="tunmesh")

    def __init__(self, reactor: Any, path: Path, reading: Reading, output: Output | None) -> None:
        self._reactor = reactor
        self._path = path
        self._config = reading.config
        self._settings = settings_of(reading)
        self._output = output
        self._reloader = Reloader(
            reactor,
            path,
            reading,
            partial(read, path),
            self._reload,
            time.time,
            self.log,
            FileThread(reactor, "files"),
        )
        self._supervisor = Supervisor(reactor, os.environ, os.getpid())
        self._node: Node | None = None
        self._control: Control | None = None
        self._recent = Recent()
        self._is_leaving = False

    def privilegedStartService(self) -> None:
        """Everything that needs root, and at the end of it root is gone."""
        # They wait until the reactor runs: before that, or while it brings its own handlers, the
        # node would end by the signal and not with its exit code.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        globalLogPublisher.addObserver(self._recent)  # who asks later hears of the start, too
        record = self._settings.record
        self.log.info(
            "{node} starts: tunmesh {version}, config {path}",
            event="starting",
            node=record.name,
            version=record.version,
            path=str(self._path),
        )
        if bulk.why_stock:
            self.log.warn(
                "links use the stock TLS transport, which is slower: {why}",
                event="stock_transport",
                why=bulk.why_stock,
            )
        descriptors.raise_limit()
        try:
            self._node = self._set_up()
            privileges.drop(self._config.process.uid, self._config.process.gid)
            unfiltered = seccomp.refuse()
        except OperatorError as error:
            self.log.critical("{error}", event="failed", error=str(error))
            self._supervisor.failed(str(error))
            sys.exit(1)  # closes the tun, and with it all that was made
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

    def _set_up(self) -> Node:
        plan = Plan.of(self._config)
        # ---- from here on the machine is touched ----
        fd, port = open_in_child(partial(_take, plan))
        bound = Bound(socket.socket(fileno=port), plan.listen_address, plan.listen_port)
        device = tun.TunDevice(self._reactor, fd, plan.device)
        self.log.info(
            "{device} is up: {addresses}",
            event="tun_up",
            device=plan.device,
            addresses=", ".join(map(str, self._settings.record.addresses)),
        )
        cpu = CpuTimes(time.thread_time, CpuWait().waited)
        watch: Watch = Unwatched()
        try:
            watch = DeviceWatch(self._reactor, plan.device, plan.overlays)
        except OSError as error:
            self.log.warn(
                "{device} is not watched: {why}",
                event="not_watched",
                device=plan.device,
                why=error.strerror or str(error),
            )
        host = Host(
            self._reactor,
            device,
            secrets.token_bytes,
            random.random,
            watch,
            cpu=cpu,
            bootstrap_resolver=Resolver(self._reactor, random.shuffle),
        )
        node = Node(
            self._settings,
            host,
            Journal(self.log, self._reactor.seconds, self._is_debugging),
            self._make_site,
            self._failed,
            self._reloader.before_bootstrap,
        )
        node.listen(bound)
        monitoring, expose = self._config.monitoring, self._expose(node)
        pages = public.details(node.health, expose, self._reactor)
        monitor.listen(self._reactor, monitoring, node, pages, cpu, self.log)
        if expose is not None and monitoring.listen is None:
            self.log.info(
                "/metrics on port {port} tells strangers the name, version and counts of this "
                "node: monitoring.listen gives it an address of its own",
                event="public_metrics",
                port=bound.port,
            )
        self._control = Control(
            self._reactor,
            self._config.admin,
            node,
            self._leave,
            self._recent,
            self.log,
            cpu,
        )
        return node

    def _is_debugging(self) -> bool:
        return self._output is not None and self._output.debugs

    def _make_site(self, node: Node) -> Site:
        """What strangers see."""
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
        return self._node.stop() if self._node is not None else None

    def _take_signals(self) -> None:
        """TERM and INT make the node leave. The reactor's own handlers, set when it started, would
        make it end by the signal."""
        for number in _END_SIGNALS:
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._leave))
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hang_up))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if self._node is not None:
            self._supervisor.started(self._node.health)

    def _hang_up(self) -> None:
        self._supervisor.reloading()
        self._reloader.hang_up().addCallback(lambda _: self._supervisor.reloaded())

    def _reload(self, new: Reading) -> None:
        if self._node is not None:
            self._node.reload(new.reloadable)
        if self._output is not None:
            logging = new.config.logging
            self._output.set(logging.level, logging.format, logging.levels.items())

    def _leave(self) -> None:
        """Once: there may be a second TERM, or a tun that goes while the node leaves."""
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
            # Not before what is buffered went out: who follows the events is to hear that, too.
            self._reactor.callLater(0, self._reactor.callLater, 0, self._reactor.stop)

    def _failed(self, why: str) -> None:
        """The node is of no more use: leave, and exit with 1 so that somebody starts it anew."""
        atexit.register(os._exit, 1)  # twistd knows no other way to a code of one's own
        self._leave()


def makeService(options: Options) -> NodeService:
    """What twistd calls."""
    from twisted.internet import reactor

    heap.share()
    # Timers run on the wall clock by default: setting it back an hour would stop them for an hour.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    reactor.installNameResolver(Resolver(reactor, random.shuffle))  # type: ignore[attr-defined]
    return NodeService(reactor, options.path, options.reading, options.output)
