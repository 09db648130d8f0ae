"""The plan of a local mesh: names, addresses, and the files that its nodes read.

Node K is called nodeK, is reached by its peers at 10.99.0.K, and has 10.77.0.K and fd77::K in the
mesh. All nodes share one self-signed certificate and one secret, and bootstrap from the first node
only: they must learn of the others from each other.

Automatic nodes share their config as well, to the byte. Only their names differ, as containers' do;
each chooses its addresses by its name, and since the network is theirs alone it is known which.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import yaml

from tunmesh.membership.candidates import Candidates
from tunmesh.pki import issue, write

LISTEN_PORT = 4567
PAGE_PORT = 8600
IPV4_NETWORK = "10.77.0.0/16"
IPV6_NETWORK = "fd77::/64"
NAME_VARIABLE = "NODE_NAME"
CERTIFICATE, KEY, SECRET = "certificate.pem", "key.pem", "secret"


@dataclass(frozen=True)
class NodePlan:
    """One node, by its number from 1 on. `automatic`: it chooses its addresses itself."""

    number: int
    automatic: bool = False

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def underlay(self) -> str:
        """Where its peers reach it: an IPv4 address."""
        return f"10.99.0.{self.number}"

    @property
    def ipv4(self) -> str:
        """Its address in the mesh."""
        return self._first_choice(IPV4_NETWORK) if self.automatic else f"10.77.0.{self.number}"

    @property
    def ipv6(self) -> str:
        """Its other address in the mesh."""
        return self._first_choice(IPV6_NETWORK) if self.automatic else f"fd77::{self.number:x}"

    def _first_choice(self, cidr: str) -> str:
        network = ip_network(cidr)
        _, first = next(iter(Candidates(network, network.prefixlen, self.name)))
        return str(first.ip)

    @property
    def url(self) -> str:
        return f"https://{self.underlay}:{LISTEN_PORT}"

    @property
    def config_file(self) -> str:
        return "mesh.yaml" if self.automatic else f"{self.name}.yaml"

    @property
    def environ(self) -> dict[str, str]:
        """What its process has in its environment: in a container, what the container's name is."""
        return {NAME_VARIABLE: self.name} if self.automatic else {}

    @property
    def socket(self) -> str:
        return f"{self.name}.sock"

    @property
    def log_file(self) -> str:
        return f"{self.name}.log"


@dataclass(frozen=True)
class Owner:
    """The user that the nodes run as, who may therefore read their files."""

    uid: int
    gid: int


def write_files(directory: Path, plans: Sequence[NodePlan], owner: Owner) -> None:
    """Certificate, key, secret and a config per node, for `owner` alone, into `directory`."""
    certificate, key = self_signed_certificate()
    contents = {CERTIFICATE: certificate, KEY: key, SECRET: write.new_secret().encode()}
    for plan in plans:
        config = yaml.safe_dump(node_config(plan, plans[0], owner), sort_keys=False)
        contents[plan.config_file] = config.encode()
        contents[plan.log_file] = b""
    for name, content in contents.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        os.chown(path, owner.uid, owner.gid)
    os.chown(directory, owner.uid, owner.gid)


def node_config(plan: NodePlan, first: NodePlan, owner: Owner) -> dict[str, object]:
    """The config of one node as YAML-able data; file names are relative to the config file."""
    if plan.automatic:  # the same for all: also the first one is told its own URL
        name, url, known = f"${{{NAME_VARIABLE}}}", f"https://auto:{LISTEN_PORT}", [first.url]
        ipv4 = ipv6 = "auto"
    else:
        name, url, known = plan.name, plan.url, [] if plan == first else [first.url]
        ipv4, ipv6 = f"{plan.ipv4}/16", f"{plan.ipv6}/64"
    return {
        "tun_mesh": {
            "config_version": 1.1,
            "clustering": {
                "node_name": name,
                "control_api_advertise_url": url,
                "auth": {"secret_file": SECRET},
                "bootstrap_groups": {"first": {"bootstrap_node_urls": known}},
            },
            "control_api": {
                "listen_port": LISTEN_PORT,
                "ssl": {"cert_file_path": CERTIFICATE, "key_file_path": KEY},
            },
            "logging": {"level": "info", "format": "json"},
            "monitoring": {"method": "prometheus"},
            "admin": {"socket": f"{name}.sock", "http_port": PAGE_PORT},
            "networking": {
                "ipv4": {"network_cidr": IPV4_NETWORK, "node_address_cidr": ipv4},
                "ipv6": {"network_cidr": IPV6_NETWORK, "node_address_cidr": ipv6},
            },
            "process": {"uid": owner.uid, "gid": owner.gid},
        }
    }


def self_signed_certificate() -> tuple[bytes, bytes]:
    """A certificate that is good for two months and its private key, both PEM."""
    made = issue.issue([], 60, datetime.datetime.now(datetime.UTC))
    return made.certificate_pem, made.key_pem
