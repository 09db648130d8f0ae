"""What may keep a node from working here, looked at in the order in which it would hit it.

The config (all that the lint finds), the tun device, privileges, the control socket of a node that
runs already, and the way to every bootstrap URL. Nothing is changed: a tun is opened and closed
again, without a name that anybody uses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunmesh import access, certificates, privileges, tun
from tunmesh.config import Config
from tunmesh.config.lint import lint
from tunmesh.configured import Endpoint
from tunmesh.errors import OperatorError
from tunmesh.handshake import Key
from tunmesh.outside import Outside
from tunmesh.reaching import addresses_of, reach

OK, DOUBT, BAD = "ok", "?", "NO"
_NEEDED = {"NET_ADMIN": 12, "SETUID": 7, "SETGID": 6}  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict`: OK, DOUBT or BAD. `text` says what is, and if that is not good, what helps."""

    part: str
    verdict: str
    text: str


def examine(
    path: Path,
    environ: Mapping[str, str],
    draw: Callable[[float, float], float],
    now: float,
    is_running: bool,
) -> Iterator[Finding]:
    """Everything. `is_running`: a node answers here, so what it needed at its start it had."""
    findings = lint(path, environ, draw, now)
    for problem in findings.errors:
        yield Finding("config", BAD, problem.at(path))
    for problem in findings.warnings:
        yield Finding("config", DOUBT, problem.at(path))
    if not findings.errors:
        # A certificate that has expired is no error of the config, but it is of no use.
        too = "" if findings.warnings else ", and so can its certificate"
        yield Finding("config", OK, f"{path} can be used{too}")
    if not is_running:
        yield from _machine(findings.config)
    if findings.config is not None:
        yield from _names(findings.config)
        yield from _urls(findings.config, is_running)


def _machine(config: Config | None) -> Iterator[Finding]:
    """What a start needs."""
    held = privileges.held()
    missing = [name for name, bit in _NEEDED.items() if not held.effective >> bit & 1]
    as_itself = config is not None and held.uids[0] == config.process.uid
    if "NET_ADMIN" in missing or (missing and not as_itself):
        text = f"missing: {', '.join(missing)}; give them to the container (cap_add"
        yield Finding("privileges", BAD, f"{text}, capabilities.add), or start as root")
    else:
        yield Finding("privileges", OK, "all that a start needs is there")
    try:
        os.close(tun.open_tun("tmdoctor"))
    except OperatorError as error:
        yield Finding("tun", BAD, str(error))
    else:
        yield Finding("tun", OK, "a tun device can be made")


def _own_url(own: Endpoint, outside: Outside) -> Iterator[Finding]:
    """What can be said of it from here: that its name resolves to addresses inside the mesh. A name
    that does not resolve here may do so at the peers."""
    with contextlib.suppress(OSError):
        for why in map(outside.why_not, addresses_of(own.host, own.port)):
            if why:
                yield Finding(str(own), BAD, f"advertised by this node: {why}")


def _names(config: Config) -> Iterator[Finding]:
    """Whether the node, which is another user than root by then, may look names up."""
    uid, gid = config.process.uid, config.process.gid
    groups = config.clustering.bootstrap_groups.values()
    urls = [url for group in groups for url in group.bootstrap_node_urls]
    if any(url.address is None for url in urls):
        for file in access.locked_lookups(can=access.as_user(uid, gid)):
            text = f"the node's uid {uid} may not read {file}, so names do not resolve: chmod 644"
            yield Finding("names", BAD, text)


def _urls(config: Config, is_running: bool) -> Iterator[Finding]:
    """Each bootstrap URL, step by step."""
    ssl, clustering = config.control_api.ssl, config.clustering
    try:
        credentials = certificates.load(
            ssl.cert_file_path, ssl.key_file_path, ssl.ca_file_path, ssl.verify_hostname
        )
    except OperatorError:
        return  # the lint has said so
    keys = tuple(Key.derive(secret) for secret in clustering.auth.accepted)
    own = clustering.control_api_advertise_url
    families = (config.networking.ipv4, config.networking.ipv6)
    outside = Outside([family.network_cidr for family in families if family is not None])
    yield from _own_url(own, outside)
    groups = clustering.bootstrap_groups.values()
    is_alone = all(url == own for group in groups for url in group.bootstrap_node_urls)
    for name, group in clustering.bootstrap_groups.items():
        if not group.bootstrap_node_urls:
            yield Finding(name, OK, "an empty group: this may be the first node of its mesh")
        for url in group.bootstrap_node_urls:
            if url == own:
                is_answered = not is_running and all(
                    stage.ok for stage in reach(url.host, url.port, credentials, keys, outside)
                )
                yield _at_own_url(str(url), is_alone, is_answered)
                continue
            for stage in reach(url.host, url.port, credentials, keys, outside):
                yield Finding(str(url), OK if stage.ok else BAD, f"{stage.name}: {stage.text}")


def _at_own_url(url: str, is_alone: bool, is_answered: bool) -> Finding:
    """A bootstrap URL that is what the node advertises. `is_answered`: by another node."""
    if is_answered:
        text = "it is what this node advertises, but no node runs here and one answers there: "
        return Finding(url, BAD, f"{text}give this node a control_api_advertise_url of its own")
    if is_alone:
        text = "the bootstrap list leads only to this node: one of it and control_api_advertise_url"
        return Finding(url, BAD, f"{text} is wrong; on the first node of a mesh leave it empty")
    return Finding(url, OK, "it is what this node advertises")
