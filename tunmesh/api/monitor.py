"""The address for monitoring only (`monitoring.listen`): metrics, and health with reasons.

It is bound before root is given up, so it may be any port, and stays until the process ends, so
that monitoring sees the node leave. With TLS it shows the node's certificate, also a renewed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.web.server import Site

from tunmesh.api.admission import Admission
from tunmesh.host import tcp_ports
from tunmesh.node.node import Node
from tunmesh.tls.admission import MAX_VISIT
from tunmesh.tls.cpu_share import CpuTimes

if TYPE_CHECKING:
    from tunmesh.config.keys.serving import Monitoring


def listen(
    reactor: Any,
    config: Monitoring,
    node: Node,
    site: Site,
    cpu: CpuTimes,
    log: Logger,
) -> None:
    """Serve the site at the address in the config. Raises OperatorError when it cannot be bound."""
    wanted = config.listen
    if wanted is None:
        return
    factory = node.over_tls(site) if config.tls else site
    admission = Admission(reactor, factory, cpu, MAX_VISIT)
    bound = tcp_ports.bind(wanted.address, wanted.port, tcp_ports.MONITORING)
    admission.opened(bound.listen(reactor, admission))
    url = f"http{'s' * config.tls}://{wanted}"
    log.info("health and metrics with details at {url}", event="monitoring", url=url)
