"""The config in the node's terms."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from tunmesh import __version__
from tunmesh.auth.handshake import Key
from tunmesh.auth.node_key import SEED_SIZE, NodeKey
from tunmesh.config.values import Automatic, Endpoint
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.link.keepalive import Timing
from tunmesh.names import resolv_conf
from tunmesh.names.settings import NamesSettings
from tunmesh.netlink import own_address
from tunmesh.node.settings import DeviceSettings, Reloadable, Settings
from tunmesh.tls import certificates
from tunmesh.wire.records import NodeRecord

if TYPE_CHECKING:
    from tunmesh.config.keys import process
    from tunmesh.config.keys.networking import Networking
    from tunmesh.config.loading import Config


def reloadable_of(config: Config) -> Reloadable:
    """What of the config may change while the node runs, in the node's terms. Raises OperatorError
    for certificates that are no good."""
    clustering, ssl = config.clustering, config.control_api.ssl
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
        expected_nodes=config.monitoring.expected_nodes,
        node_groups=clustering.node_groups,
        device=DeviceSettings(
            config.networking.static_addresses,
            config.networking.mtu,
            config.networking.txqueuelen or 0,
        ),
        advertise=config.networking.advertise,
        relay=config.networking.relay,
    )


def settings_of(config: Config, reloadable: Reloadable, name: str) -> Settings:
    """The config in the node's terms. `name` is the node's (service.node_name)."""
    clustering = config.clustering
    url = config.advertised_url
    find_address = address_finder(config, reloadable.groups)
    timing = config.process.timing
    node_key = NodeKey.of(secrets.token_bytes(SEED_SIZE))
    networking = config.networking
    automatic = tuple(
        (family.network_cidr, family.node_address_cidr.prefix)
        for family in networking.families
        if isinstance(family.node_address_cidr, Automatic)
    )
    return Settings(
        record=NodeRecord(
            id=node_key.id,
            name=name,
            started=int(time.time() * 1000),
            url=str(Endpoint(find_address(), url.port) if find_address else url),
            addresses=networking.static_addresses,
            version=__version__,
            networks=networking.networks,
            automatic=tuple(network.version for network, _ in automatic),
            groups=clustering.node_groups,
            udp=networking.transport != "tcp",
            mtu=networking.mtu,
            routes=reloadable.advertise,
        ),
        node_key=node_key,
        networks=networking.networks,
        reloadable=reloadable,
        automatic=automatic,
        auto_port=url.port if find_address else None,
        enable_broadcast=networking.has_broadcast,
        accept_routes=networking.accept_routes,
        allow_overlap=networking.allow_overlap,
        multicast=tuple(
            family.network_cidr.version for family in networking.families if family.enable_multicast
        ),
        bootstrap_retry_interval=timing.registrations.bootstrap_retry_interval,
        startup_grace=timing.registrations.startup_grace,
        session_max_age=timing.auth.session_max_age,
        groom_interval=timing.registrations.groom_interval,
        metric_ttl=config.monitoring.metric_ttl,
        memory_budget=config.process.memory_budget,
        max_nodes_per_source=clustering.max_nodes_per_source,
        dial_allow=clustering.dial_allow,
        transport=networking.transport,
        reserved=networking.dns_addresses,
        floating=networking.floating,
        names=names_of(networking),
        local=_timing(timing, timing.registrations.local, timing.network.local),
        mesh=_timing(timing, timing.registrations.mesh, timing.network.mesh),
    )


def names_of(networking: Networking) -> NamesSettings | None:
    """Reads which name servers this machine has, if other names are to be forwarded to them."""
    dns = networking.dns
    if dns is None:
        return None
    addresses = networking.dns_addresses
    servers = tuple(map(str, dns.servers))
    if dns.forward is True:
        servers = resolv_conf.read(addresses)
    return NamesSettings(dns.domain, addresses, servers)


def address_finder(config: Config, groups: Iterable[GroupSettings]) -> Callable[[], str] | None:
    """What guesses the host of the URL that the node advertises; None if the config has it."""
    if not config.advertised_url.is_auto:
        return None
    targets = [target for group in groups for target in group.targets]
    return partial(own_address.guess, config.networking.networks, targets)


def _timing(
    timing: process.Timing,
    contact: process.LocalRegistration,
    network: process.PacketTiming,
) -> Timing:
    """The intervals and timeouts of links. The original's defaults would be far too long (a peer is
    given up after two minutes), so a config can only make them shorter than ours."""
    ours = Timing()
    return Timing(
        ping_interval=min(contact.reregistration_interval, ours.ping_interval),
        silence=min(contact.stale_threshold, ours.silence),
        probe_timeout=timing.request_timeout,
        packet_expiration=network.packet_expiration,
    )
