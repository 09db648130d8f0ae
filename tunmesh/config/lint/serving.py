"""Remarks on certificates, ports and monitoring."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.file import Loc
from tunmesh.config.keys.root import Config
from tunmesh.config.keys.serving import ControlApi, Monitoring, Ssl
from tunmesh.config.lint.remarks import Checks, Remark
from tunmesh.config.values import Endpoint
from tunmesh.errors import OperatorError
from tunmesh.host import holders, tcp_ports
from tunmesh.pki import pem
from tunmesh.tls import certificates


def _certificate(ssl: Ssl, now: float) -> Iterator[Remark]:
    files = (ssl.cert_file_path, ssl.key_file_path, ssl.ca_file_path)
    try:
        credentials = certificates.read(*files, ssl.verify_hostname)
        way = certificates.prove(credentials, ssl.cert_file_path, ssl.ca_file_path)
    except OperatorError as error:
        yield Remark((_key_of_file(ssl, str(error)),), str(error), is_error=True)
        return
    has_begun = way[0].not_valid_before_utc.timestamp() <= now
    for depth, text in certificates.untimely(way, now):
        # The node itself logs when its certificate is about to expire: observe.expiry.
        yield Remark(("cert_file_path",), text, is_logged=depth > 0 or not has_begun)


def _key_of_file(ssl: Ssl, error: str) -> str:
    """The config key of the file that the error message begins with."""
    keys = ("cert_file_path", "key_file_path", "ca_file_path")
    return next((key for key in keys if error.startswith(f"{getattr(ssl, key)}:")), keys[0])


def _named(whole: Config, _now: float) -> Iterator[Remark]:
    ssl, url = whole.control_api.ssl, whole.clustering.control_api_advertise_url
    if not ssl.verify_hostname or url.is_auto:
        return
    try:
        (own, *_) = pem.read_certificates(ssl.cert_file_path)
    except OperatorError:
        return  # reported by _certificate
    if not certificates.is_for(own, url.host):
        text = f"is not for {url.host}, the host of control_api_advertise_url; peers that "
        yield Remark(
            ("control_api", "ssl", "cert_file_path"),
            f"{text}verify_hostname, as this node does, refuse it",
            is_logged=True,
        )


def _port(api: ControlApi, _now: float) -> Iterator[Remark]:
    """A warning only: a file may be checked on another machine."""
    yield from _taken(api, "TCP", ("listen_port",), "")


def _udp_port(whole: Config, _now: float) -> Iterator[Remark]:
    if whole.networking.transport != "tcp":
        key = ("control_api", "listen_port")
        yield from _taken(whole.control_api, "UDP", key, "; networking/transport: tcp needs none")


def _taken(api: ControlApi, protocol: holders.Protocol, key: Loc, helps: str) -> Iterator[Remark]:
    others = tcp_ports.taken_by_others(api.listen_address, api.listen_port, protocol)
    if others:
        whose = "; ".join(map(str, others))
        yield Remark(
            key,
            f"{protocol} port {api.listen_port} is taken here by {whose}; end that, choose another "
            f"port, or have each listen on an address of its own (listen_address){helps}",
        )


def _ports_of_others(whole: Config, _now: float) -> Iterator[Remark]:
    """URLs of nodes with a port at which this node, and so probably the others, serves something
    else than the mesh."""
    listen = whole.monitoring.listen
    served = {
        whole.admin.http_port: "admin/http_port",
        None if listen is None else listen.port: "monitoring/listen",
    }
    clustering = whole.clustering
    urls: list[tuple[Loc, Endpoint]] = [
        (("control_api_advertise_url",), clustering.control_api_advertise_url)
    ]
    for name, group in clustering.bootstrap_groups.items():
        for index, url in enumerate(group.bootstrap_node_urls):
            urls.append((("bootstrap_groups", name, "bootstrap_node_urls", index), url))
    port = whole.control_api.listen_port
    for key, url in urls:
        if url.port in served and url.port != port:
            text = f"has port {url.port}, which is that of {served[url.port]} here; the mesh's is "
            yield Remark(
                ("clustering", *key), f"{text}{port} (control_api/listen_port)", is_logged=True
            )


def _monitoring(monitoring: Monitoring, _now: float) -> Iterator[Remark]:
    if monitoring.method == "prometheus" and monitoring.listen is None:
        names = ", and the names of its peers" * monitoring.enable_node_packet_metrics
        yield Remark(
            ("method",),
            f"shows /metrics to strangers on the mesh's port: name, version and counts of this node"
            f"{names}; give it an address of its own with monitoring/listen",
        )


CHECKS: Checks = (
    (("tun_mesh", "control_api", "ssl"), Ssl, _certificate),
    (("tun_mesh",), Config, _named),
    (("tun_mesh",), Config, _ports_of_others),
    (("tun_mesh", "monitoring"), Monitoring, _monitoring),
)
PORT_CHECKS: Checks = (
    (("tun_mesh", "control_api"), ControlApi, _port),
    (("tun_mesh",), Config, _udp_port),
)
