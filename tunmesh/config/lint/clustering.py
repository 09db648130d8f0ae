"""Remarks on the keys under `clustering`: names, URLs, secrets."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Iterator

from tunmesh.config.file import Loc, printable
from tunmesh.config.keys.clustering import Auth, Clustering
from tunmesh.config.keys.root import Config
from tunmesh.config.lint.remarks import Checks, Remark
from tunmesh.config.secrecy import weakness
from tunmesh.config.section import SecretFile, shown
from tunmesh.config.types import NODE_NAME_FORM, is_node_name
from tunmesh.config.values import AUTO, Endpoint
from tunmesh.names.labels import NODES, SERVER, labels_of
from tunmesh.wire.sizes import MAX_LABEL

_NAMES_OF_MANY = frozenset({"localhost", "debian", "ubuntu", "alpine", "raspberrypi"})
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")  # the host name that Docker and podman give


def _name(clustering: Clustering, _now: float) -> Iterator[Remark]:
    host = socket.gethostname()
    if clustering.node_name in (None, AUTO) and not is_node_name(host):
        given = "is not given" if clustering.node_name is None else "is auto"
        text = f"{given}, and the host name {shown(host)} cannot be a node's name; set it to "
        yield Remark(("node_name",), f"{text}{NODE_NAME_FORM}", is_error=True)


def _passing_name(whole: Config, _now: float) -> Iterator[Remark]:
    """A name that is another one at the next start, where the address follows from it."""
    host = socket.gethostname()
    is_open = whole.networking.is_automatic and whole.clustering.node_name is None
    if is_open and _CONTAINER_ID.fullmatch(host):
        text = f"is not given, and the host name {host} is that of a container, which is another "
        yield Remark(
            ("clustering", "node_name"),
            f"{text}one in its successor: its automatic address would be, too; auto takes the "
            "container's name from the DNS",
            is_logged=True,
        )


def _name_of_many(whole: Config, _now: float) -> Iterator[Remark]:
    """A host name that every machine has until somebody gives it one."""
    host = socket.gethostname()
    if whole.clustering.node_name is None and host.partition(".")[0] in _NAMES_OF_MANY:
        yield Remark(
            ("clustering", "node_name"),
            f"is not given, and the host name is {host}, as on many machines: nodes of one name "
            "cannot be told apart, and compete for its addresses; give each its own",
            is_logged=True,
        )


def _in_dns(whole: Config, _now: float) -> Iterator[Remark]:
    dns, name = whole.networking.dns, whole.clustering.node_name
    if dns is not None and name is not None and labels_of(name) is None:
        text = f"is {shown(name)}, which cannot be looked up in {dns.domain}: it needs labels of 1 "
        yield Remark(
            ("clustering", "node_name"),
            f"{text}to {MAX_LABEL} characters between dots, and the last one is not {NODES} or "
            f"{SERVER}",
            is_logged=True,
        )


def _urls(clustering: Clustering, _now: float) -> Iterator[Remark]:
    own = clustering.control_api_advertise_url
    if _is_loopback(own):
        yield Remark(
            ("control_api_advertise_url",),
            f"is {own}, at which each machine reaches only itself; give the host name or address "
            "at which other nodes reach this one",
            is_logged=True,
        )
    groups = clustering.bootstrap_groups
    urls = [url for group in groups.values() for url in group.bootstrap_node_urls]
    if urls and all(url == own for url in urls):
        name = next(name for name, group in groups.items() if group.bootstrap_node_urls)
        yield Remark(
            ("bootstrap_groups", name, "bootstrap_node_urls"),
            f"leads only to this node: {own} is its control_api_advertise_url, too. On the first "
            "node of a mesh all is well, and it is ready once another one has joined; elsewhere "
            "one of the two is wrong",
        )


def _dial_allow(clustering: Clustering, _now: float) -> Iterator[Remark]:
    allowed, own = clustering.dial_allow, clustering.control_api_advertise_url
    if allowed is None or own.address is None:
        return
    if not any(own.address in network for network in allowed):
        text = f"does not have {own.address}, which is this node's own address"
        yield Remark(("dial_allow",), f"{text}: nodes with the same list do not dial this one")


def _is_loopback(url: Endpoint) -> bool:
    """RFC 6761, section 6.3, for the name."""
    if url.address is not None:
        return url.address.is_loopback
    return f".{url.host.rstrip('.')}".endswith(".localhost")


def _secrets(auth: Auth, _now: float) -> Iterator[Remark]:
    if auth.secret is not None:
        yield from _variety(("secret",), auth.secret.get_secret_value())
    for index, secret in enumerate(auth.secrets):
        yield from _variety(("secrets", index), secret.get_secret_value())
    if auth.secret_file is not None:
        yield from _secret_file(("secret_file",), auth.secret_file)
    for index, file in enumerate(auth.secret_files):
        yield from _secret_file(("secret_files", index), file)


def _secret_file(key: Loc, file: SecretFile) -> Iterator[Remark]:
    yield from _variety(key, file.text)
    mode = stat.S_IMODE(file.path.stat().st_mode)
    if mode & stat.S_IROTH:
        text = f"can be read by everybody on this machine (mode {mode:04o}); take that away, "
        yield Remark(key, f"{text}as with chmod o= {printable(str(file), 200)}")


def _variety(key: Loc, secret: str) -> Iterator[Remark]:
    weak = weakness(secret)
    if weak:
        yield Remark(key, f"{weak}; make a random one, as with tunmesh secret", is_logged=True)


CHECKS: Checks = (
    (("tun_mesh", "clustering"), Clustering, _name),
    (("tun_mesh", "clustering"), Clustering, _urls),
    (("tun_mesh", "clustering"), Clustering, _dial_allow),
    (("tun_mesh", "clustering", "auth"), Auth, _secrets),
    (("tun_mesh",), Config, _passing_name),
    (("tun_mesh",), Config, _name_of_many),
    (("tun_mesh",), Config, _in_dns),
)
