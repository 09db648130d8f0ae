"""The lint: what is wrong or doubtful about a config file, everything at once.

An error is what a node would refuse to start with: everything that `load` finds, unusable
certificates, a host name that is no valid node name, a mesh that overlaps this machine's networks.
A warning is for what a node starts with but somebody should look at.

Each check concerns one section and runs whenever that section is valid, so a misspelt key elsewhere
does not hide a certificate that does not match its key.

Nothing is changed, and no privilege is needed beyond reading the files that are named.
"""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from tunmesh.config import loading
from tunmesh.config.file import Document, Loc, Problem, printable
from tunmesh.config.keys.clustering import Auth, Clustering
from tunmesh.config.keys.networking import Networking
from tunmesh.config.keys.process import LocalRegistration, MeshRegistration
from tunmesh.config.keys.root import Config, has_effect, section_around, section_in
from tunmesh.config.keys.serving import ControlApi, Monitoring, Ssl
from tunmesh.config.secrecy import weakness
from tunmesh.config.section import Loading, SecretFile, Section, shown
from tunmesh.config.types import NODE_NAME_FORM, is_node_name
from tunmesh.config.values import AUTO, Automatic, Endpoint
from tunmesh.errors import OperatorError
from tunmesh.host import holders, tcp_ports
from tunmesh.link.keepalive import PING_INTERVAL, SILENCE
from tunmesh.names.labels import NODES, SERVER, labels_of
from tunmesh.netlink.overlaps import Overlay
from tunmesh.pki import pem
from tunmesh.tls import certificates
from tunmesh.wire.sizes import MAX_LABEL

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")  # the host name that Docker and podman give
MIN_PATIENCE = 3  # stale_threshold by reregistration_interval, as the original advised


@dataclass(frozen=True)
class Findings:
    """What the lint found, in the order of the file. Without errors there is a config. `doubts`
    are those of the warnings that a node logs when it starts."""

    config: Config | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    doubts: tuple[Problem, ...]


@dataclass(frozen=True)
class _Remark:
    """A check's result for its section, or for a key in it."""

    key: Loc
    text: str
    is_error: bool = False
    is_logged: bool = False


def lint(
    path: Path,
    environ: Mapping[str, str],
    draw: Callable[[float, float], float],
    now: float,
    with_networks: bool = True,
    with_port: bool = True,
) -> Findings:
    """Check a file; the arguments are those of `config.load`, and the time in seconds since the
    epoch. To compare it `with_networks` of this machine takes memory that a node has no use for;
    `with_port`: who has it here. Raises ConfigError when the file cannot be read at all."""
    loaded, document = loading.examine(path, environ, draw)
    errors, warnings = list(document.problems), list(_without_effect(document))
    doubts = []
    for loc, kind, check in (
        *_CHECKS,
        *_NETWORK_CHECKS * with_networks,
        *_PORT_CHECKS * with_port,
    ):
        section = _alone(kind, document.part(loc), loading.loading(path, draw))
        for remark in check(section, now) if section is not None else ():
            problem = document.problem((*loc, *remark.key), remark.text)
            (errors if remark.is_error else warnings).append(problem)
            doubts += [problem] * remark.is_logged
    return Findings(
        config=None if errors else loaded,
        errors=tuple(sorted(errors)),
        warnings=tuple(sorted(warnings)),
        doubts=tuple(sorted(doubts)),
    )


def _alone(kind: type[Section], tree: object, loading: Loading) -> Section | None:
    """One section by itself; None when it is wrong, of which `config.examine` has told."""
    try:
        return kind.model_validate(tree, context=loading)
    except ValidationError:
        return None


def _without_effect(document: Document) -> Iterator[Problem]:
    for loc in document.lines:
        key = section_around(loc).model_fields.get(str(loc[-1])) if loc else None
        if key is not None and not has_effect(key) and section_in(key.annotation) is None:
            yield document.problem(loc, "has no effect here; it can be removed")


def _name(clustering: Clustering, _now: float) -> Iterator[_Remark]:
    host = socket.gethostname()
    if clustering.node_name in (None, AUTO) and not is_node_name(host):
        given = "is not given" if clustering.node_name is None else "is auto"
        text = f"{given}, and the host name {shown(host)} cannot be a node's name; set it to "
        yield _Remark(("node_name",), f"{text}{NODE_NAME_FORM}", is_error=True)


def _passing_name(whole: Config, _now: float) -> Iterator[_Remark]:
    """A name that is another one at the next start, where the address follows from it."""
    families = (whole.networking.ipv4, whole.networking.ipv6)
    is_automatic = any(
        family is not None and isinstance(family.node_address_cidr, Automatic)
        for family in families
    )
    host = socket.gethostname()
    if is_automatic and whole.clustering.node_name is None and _CONTAINER_ID.fullmatch(host):
        text = f"is not given, and the host name {host} is that of a container, which is another "
        yield _Remark(
            ("clustering", "node_name"),
            f"{text}one in its successor: its automatic address would be, too; auto takes the "
            "container's name from the DNS",
            is_logged=True,
        )


def _in_dns(whole: Config, _now: float) -> Iterator[_Remark]:
    dns, name = whole.networking.dns, whole.clustering.node_name
    if dns is not None and name is not None and labels_of(name) is None:
        text = f"is {shown(name)}, which cannot be looked up in {dns.domain}: it needs labels of 1 "
        yield _Remark(
            ("clustering", "node_name"),
            f"{text}to {MAX_LABEL} characters between dots, and the last one is not {NODES} or "
            f"{SERVER}",
            is_logged=True,
        )


def _urls(clustering: Clustering, _now: float) -> Iterator[_Remark]:
    own = clustering.control_api_advertise_url
    if _is_loopback(own):
        yield _Remark(
            ("control_api_advertise_url",),
            f"is {own}, at which each machine reaches only itself; give the host name or address "
            "at which other nodes reach this one",
            is_logged=True,
        )
    groups = clustering.bootstrap_groups
    urls = [url for group in groups.values() for url in group.bootstrap_node_urls]
    if urls and all(url == own for url in urls):
        name = next(name for name, group in groups.items() if group.bootstrap_node_urls)
        yield _Remark(
            ("bootstrap_groups", name, "bootstrap_node_urls"),
            f"leads only to this node: {own} is its control_api_advertise_url, too. One of the two "
            "is wrong; on the first node of a mesh leave the list empty",
        )


def _dial_allow(clustering: Clustering, _now: float) -> Iterator[_Remark]:
    allowed, own = clustering.dial_allow, clustering.control_api_advertise_url
    if allowed is None or own.address is None:
        return
    if not any(own.address in network for network in allowed):
        text = f"does not have {own.address}, which is this node's own address"
        yield _Remark(("dial_allow",), f"{text}: nodes with the same list do not dial this one")


def _is_loopback(url: Endpoint) -> bool:
    """RFC 6761, section 6.3, for the name."""
    if url.address is not None:
        return url.address.is_loopback
    return f".{url.host.rstrip('.')}".endswith(".localhost")


def _secrets(auth: Auth, _now: float) -> Iterator[_Remark]:
    if auth.secret is not None:
        yield from _variety(("secret",), auth.secret.get_secret_value())
    for index, secret in enumerate(auth.secrets):
        yield from _variety(("secrets", index), secret.get_secret_value())
    if auth.secret_file is not None:
        yield from _secret_file(("secret_file",), auth.secret_file)
    for index, file in enumerate(auth.secret_files):
        yield from _secret_file(("secret_files", index), file)


def _secret_file(key: Loc, file: SecretFile) -> Iterator[_Remark]:
    yield from _variety(key, file.text)
    mode = stat.S_IMODE(file.path.stat().st_mode)
    if mode & stat.S_IROTH:
        text = f"can be read by everybody on this machine (mode {mode:04o}); take that away, "
        yield _Remark(key, f"{text}as with chmod o= {printable(str(file), 200)}")


def _variety(key: Loc, secret: str) -> Iterator[_Remark]:
    weak = weakness(secret)
    if weak:
        yield _Remark(key, f"{weak}; make a random one, as with tunmesh secret", is_logged=True)


def _certificate(ssl: Ssl, now: float) -> Iterator[_Remark]:
    files = (ssl.cert_file_path, ssl.key_file_path, ssl.ca_file_path)
    try:
        credentials = certificates.read(*files, ssl.verify_hostname)
        way = certificates.prove(credentials, ssl.cert_file_path, ssl.ca_file_path)
    except OperatorError as error:
        yield _Remark((_key_of_file(ssl, str(error)),), str(error), is_error=True)
        return
    has_begun = way[0].not_valid_before_utc.timestamp() <= now
    for depth, text in certificates.untimely(way, now):
        # The node itself logs when its certificate is about to expire: observe.expiry.
        yield _Remark(("cert_file_path",), text, is_logged=depth > 0 or not has_begun)


def _key_of_file(ssl: Ssl, error: str) -> str:
    """The config key of the file that the error message begins with."""
    keys = ("cert_file_path", "key_file_path", "ca_file_path")
    return next((key for key in keys if error.startswith(f"{getattr(ssl, key)}:")), keys[0])


def _named(whole: Config, _now: float) -> Iterator[_Remark]:
    ssl, url = whole.control_api.ssl, whole.clustering.control_api_advertise_url
    if not ssl.verify_hostname or url.is_auto:
        return
    try:
        (own, *_) = pem.read_certificates(ssl.cert_file_path)
    except OperatorError:
        return  # reported by _certificate
    if not certificates.is_for(own, url.host):
        text = f"is not for {url.host}, the host of control_api_advertise_url; peers that "
        yield _Remark(
            ("control_api", "ssl", "cert_file_path"),
            f"{text}verify_hostname, as this node does, refuse it",
            is_logged=True,
        )


def _room(networking: Networking, _now: float) -> Iterator[_Remark]:
    from tunmesh.netlink import setup

    families = {"ipv4": networking.ipv4, "ipv6": networking.ipv6}
    for name, family in families.items():
        if family is None:
            continue
        own = family.node_address_cidr
        overlay = Overlay(
            family.network_cidr,
            None if isinstance(own, Automatic) else own,
            allowed=networking.allow_overlap,
        )
        try:
            clash = setup.clash(networking.tun_device_id, overlay)
            remark = setup.remark(networking.tun_device_id, overlay)
        except OperatorError as error:
            text = f"could not be compared with the networks of this machine: {error}"
            yield _Remark((name, "network_cidr"), text)
        else:
            if clash is not None:
                yield _Remark((name, "network_cidr"), clash, is_error=True)
            elif remark is not None:
                yield _Remark((name, "network_cidr"), remark)


def _port(api: ControlApi, _now: float) -> Iterator[_Remark]:
    """A warning only: a file may be checked on another machine."""
    yield from _taken(api, "TCP", ("listen_port",), "")


def _udp_port(whole: Config, _now: float) -> Iterator[_Remark]:
    if whole.networking.transport != "tcp":
        key = ("control_api", "listen_port")
        yield from _taken(whole.control_api, "UDP", key, "; networking/transport: tcp needs none")


def _taken(api: ControlApi, protocol: holders.Protocol, key: Loc, helps: str) -> Iterator[_Remark]:
    others = tcp_ports.taken_by_others(api.listen_address, api.listen_port, protocol)
    if others:
        whose = "; ".join(map(str, others))
        yield _Remark(
            key,
            f"{protocol} port {api.listen_port} is taken here by {whose}; end that, choose another "
            f"port, or have each listen on an address of its own (listen_address){helps}",
        )


def _patience(timing: LocalRegistration, _now: float) -> Iterator[_Remark]:
    for key, most in (("reregistration_interval", PING_INTERVAL), ("stale_threshold", SILENCE)):
        asked = getattr(timing, key)
        if key in timing.model_fields_set and asked > most:
            text = f"is {asked:g} s and counts as {most:g} s: links are not more patient than that"
            yield _Remark((key,), text)
    interval = min(timing.reregistration_interval, PING_INTERVAL)
    threshold = min(timing.stale_threshold, SILENCE)
    if threshold < MIN_PATIENCE * interval:
        yield _Remark(
            ("stale_threshold",),
            f"is {threshold:g} s, less than {MIN_PATIENCE} times reregistration_interval "
            f"({interval:g} s), so a peer that is slow once may be given up; make it "
            f"{MIN_PATIENCE * interval:g} or more",
        )


def _monitoring(monitoring: Monitoring, _now: float) -> Iterator[_Remark]:
    if monitoring.method == "prometheus" and monitoring.listen is None:
        names = ", and the names of its peers" * monitoring.enable_node_packet_metrics
        yield _Remark(
            ("method",),
            f"shows /metrics to strangers on the mesh's port: name, version and counts of this node"
            f"{names}; give it an address of its own with monitoring/listen",
        )


_TIMING: Loc = ("tun_mesh", "process", "timing", "registrations")
_Checks: TypeAlias = tuple[
    tuple[Loc, type[Section], Callable[[Any, float], Iterator[_Remark]]], ...
]
_CHECKS: _Checks = (
    (("tun_mesh", "clustering"), Clustering, _name),
    (("tun_mesh", "clustering"), Clustering, _urls),
    (("tun_mesh", "clustering"), Clustering, _dial_allow),
    (("tun_mesh", "clustering", "auth"), Auth, _secrets),
    (("tun_mesh", "control_api", "ssl"), Ssl, _certificate),
    (("tun_mesh",), Config, _named),
    (("tun_mesh",), Config, _passing_name),
    (("tun_mesh",), Config, _in_dns),
    (("tun_mesh", "monitoring"), Monitoring, _monitoring),
    ((*_TIMING, "local"), LocalRegistration, _patience),
    ((*_TIMING, "mesh"), MeshRegistration, _patience),
)
_NETWORK_CHECKS: _Checks = ((("tun_mesh", "networking"), Networking, _room),)
_PORT_CHECKS: _Checks = (
    (("tun_mesh", "control_api"), ControlApi, _port),
    (("tun_mesh",), Config, _udp_port),
)
