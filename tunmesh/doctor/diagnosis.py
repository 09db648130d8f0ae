"""What may keep a node from working on this machine, checked in the order in which a start would
meet it.

Checked are the config (all lint findings), every step of a start (service.preflight; except what a
running node holds already), and the path to every bootstrap URL. Nothing is changed: a port and a
tun are taken and released, and a child process changes its user.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunmesh.auth.handshake import Key
from tunmesh.config.lint.lint import lint
from tunmesh.config.loading import Config
from tunmesh.config.values import Endpoint
from tunmesh.dataplane import tun
from tunmesh.doctor.probe import addresses_of, reach
from tunmesh.errors import OperatorError
from tunmesh.host import access
from tunmesh.names import resolv_conf
from tunmesh.netlink import forwarding, own_address
from tunmesh.service import preflight
from tunmesh.service.preflight import Plan
from tunmesh.service.settings import names_of
from tunmesh.tls import certificates
from tunmesh.tls.underlay import Outside

OK, DOUBT, BAD = "ok", "?", "NO"


@dataclass(frozen=True, slots=True)
class Running:
    """What the node that runs here reports."""

    device: str
    port: int
    peers: int  # how many nodes it is linked with


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict` is OK, DOUBT or BAD; `text` says what was found and, unless OK, what helps."""

    part: str
    verdict: str
    text: str


def examine(
    path: Path,
    environ: Mapping[str, str],
    draw: Callable[[float, float], float],
    now: float,
    running: Running | None,
) -> Iterator[Finding]:
    """All checks. `running`: a node answers here, so it had what it needed at its start."""
    findings = lint(path, environ, draw, now, with_port=False)
    for problem in findings.errors:
        yield Finding("config", BAD, problem.at(path))
    for problem in findings.warnings:
        yield Finding("config", DOUBT, problem.at(path))
    if not findings.errors:
        # An expired certificate is no config error, but nobody accepts it.
        too = "" if findings.warnings else ", and so can its certificate"
        yield Finding("config", OK, f"{path} can be used{too}")
    if findings.config is not None:
        yield from _machine(Plan.of(findings.config), running)
    elif running is None:
        yield _any_device()
    if findings.config is not None:
        yield from _names(findings.config)
        yield from _forwarding(findings.config)
        yield from _gateway(findings.config)
        yield from _urls(findings.config, running)


def _machine(plan: Plan, running: Running | None) -> Iterator[Finding]:
    """What a start needs, checked by doing what a start does."""
    for step in preflight.STEPS:
        if running is not None:
            ours = {"port": running.port == plan.listen_port, "tun": running.device == plan.device}
            if ours.get(step.name, True):
                continue  # it has that, or has had it at its start
        try:
            said = step.attempt(plan)
        except OperatorError as error:
            is_node = any(holder.is_node for holder in preflight.holders_of(step.name, plan))
            hint = "; if that is the node that you ask about, all is well" if is_node else ""
            yield Finding(step.name, DOUBT if is_node else BAD, f"{error}{hint}")
        else:
            if said:
                yield Finding(step.name, OK, said)


def _any_device() -> Finding:
    """What can be checked without a valid config."""
    try:
        os.close(tun.open_tun("tmdoctor"))
    except OperatorError as error:
        return Finding("tun", BAD, str(error))
    return Finding("tun", OK, "a tun device can be made")


def _own_url(own: Endpoint, outside: Outside) -> Iterator[Finding]:
    """The one fault of the node's own URL that can be seen from here: its name resolves to an
    address inside the mesh. A name that does not resolve here may well resolve at the peers."""
    with contextlib.suppress(OSError):
        for why in map(outside.why_not, addresses_of(own.host, own.port)):
            if why:
                yield Finding(str(own), BAD, f"advertised by this node: {why}")


def _found_url(own: Endpoint) -> Finding:
    """The node's own URL, whose host it finds out."""
    if own.address is not None and own.address.is_loopback:
        text = "it has no other address that peers could reach: is the network up?"
        return Finding(str(own), DOUBT, f"this machine would advertise it: {text}")
    text = "at its start; from where it reaches the first other node may be another address"
    return Finding(str(own), OK, f"this machine would advertise it {text}")


def _forwarding(config: Config) -> Iterator[Finding]:
    """Whether there is anybody to forward other names to (networking/dns)."""
    dns, names = config.networking.dns, names_of(config.networking)
    if dns is None or names is None or dns.forward is False:
        return
    others = f"names outside {names.domain}"
    if names.servers:
        yield Finding("dns", OK, f"{others} are forwarded to {', '.join(names.servers)}")
    else:
        why = f"{resolv_conf.PATH} has no name server, or only the DNS address of the mesh"
        text = f"{others} are refused: {why}; list others in networking/dns/forward"
        yield Finding("dns", DOUBT, text)


def _gateway(config: Config) -> Iterator[Finding]:
    """Whether this machine forwards to what it advertises. If not, the lint has said so."""
    networking = config.networking
    meshes = networking.networks
    advertised = networking.advertise
    with contextlib.suppress(OperatorError):
        if advertised and not forwarding.obstacles(networking.tun_device_id, advertised, meshes):
            names = ", ".join(map(str, advertised))
            text = f"this machine forwards to {names}, unless its firewall refuses it"
            yield Finding("routes", OK, text)


def _names(config: Config) -> Iterator[Finding]:
    """Whether the node may resolve names once it runs as its own user."""
    uid, gid = config.process.uid, config.process.gid
    groups = config.clustering.bootstrap_groups.values()
    urls = [url for group in groups for url in group.bootstrap_node_urls]
    if any(url.address is None for url in urls):
        for file in access.locked_lookups(can=access.as_user(uid, gid)):
            text = f"the node's uid {uid} may not read {file}: chmod 644. Until then, names that "
            yield Finding("names", BAD, f"{text}resolve below may not resolve for the node")


def _urls(config: Config, running: Running | None) -> Iterator[Finding]:
    """Each bootstrap URL, step by step."""
    ssl, clustering = config.control_api.ssl, config.clustering
    try:
        credentials = certificates.load(
            ssl.cert_file_path, ssl.key_file_path, ssl.ca_file_path, ssl.verify_hostname
        )
    except OperatorError:
        return  # the lint has said so
    keys = tuple(Key.derive(secret) for secret in clustering.auth.accepted)
    own = config.advertised_url
    networks = config.networking.networks
    behind = [route.network for route in config.networking.accept_routes]
    outside = Outside(networks, behind, config.networking.allow_overlap)
    groups = clustering.bootstrap_groups.values()
    if own.is_auto:
        urls = [(url.host, url.port) for group in groups for url in group.bootstrap_node_urls]
        host = own_address.guess(networks, urls)
        own = Endpoint(host, own.port)
        yield _found_url(own)
    else:
        yield from _own_url(own, outside)
    is_alone = all(url == own for group in groups for url in group.bootstrap_node_urls)
    for name, group in clustering.bootstrap_groups.items():
        if not group.bootstrap_node_urls:
            yield Finding(name, OK, "an empty group: this may be the first node of its mesh")
        for url in group.bootstrap_node_urls:
            if url == own:
                is_answered = running is None and all(
                    stage.ok for stage in reach(url.host, url.port, credentials, keys, outside)
                )
                others = 0 if running is None else running.peers
                if is_answered:
                    yield _copied(str(url))
                elif is_alone and not others:
                    yield _alone(str(url), config.networking.is_automatic, running is not None)
                else:
                    yield Finding(str(url), OK, "it is what this node advertises")
                continue
            for stage in reach(url.host, url.port, credentials, keys, outside):
                yield Finding(str(url), OK if stage.ok else BAD, f"{stage.name}: {stage.text}")


def _copied(url: str) -> Finding:
    """What this node is to advertise leads to another node, which runs."""
    text = "it is what this node advertises, but no node runs here and one answers there: "
    return Finding(url, BAD, f"{text}give this node a control_api_advertise_url of its own")


def _alone(url: str, is_automatic: bool, is_running: bool) -> Finding:
    """Each bootstrap URL is the node's own, and it is linked with nobody. On the first of the nodes
    that share a config that is as it should be; a node with a static address then counts as ready
    once another one has found it (observe.health)."""
    text = "it is what this node advertises, and no other node is in the bootstrap list: "
    if is_automatic:
        return Finding(url, OK, f"{text}this is the first node of its mesh, as it seems")
    wrong = "the list or control_api_advertise_url is wrong"
    if is_running:
        return Finding(url, BAD, f"{text}unless another node is to find this one, {wrong}")
    first = "on the first node of a mesh all is well, and it is ready once another one has joined"
    return Finding(url, DOUBT, f"{text}{first}; elsewhere {wrong}")
