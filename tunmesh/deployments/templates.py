"""The files of a deployment, made from templates and a few choices.

The templates are in `templates/KIND/`, with the paths that the files will have. `<<word>>` in a
template stands for a choice; a line with a choice that was not made (None) is left out. Everything
else is copied as it is, `${POD_IP}` and `$$NAME` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from ipaddress import IPv4Network, IPv6Network

from tunmesh.addresses import Network

KINDS = ("compose", "kubernetes", "systemd")
DEFAULT_NETWORKS: tuple[Network, ...] = (IPv4Network("10.9.0.0/16"), IPv6Network("fd09::/64"))
CONTAINER_USER = 65532  # belongs to nobody, on the host either

_CHOICE = re.compile(r"<<([a-z_0-9]+)>>")


@dataclass(frozen=True, slots=True)
class Choices:
    """What somebody may choose about a deployment. The defaults work as they are."""

    name: str = "tunmesh"  # of the Compose project, or of the objects in Kubernetes
    networks: tuple[Network, ...] = DEFAULT_NETWORKS  # one of each family at most
    domain: str = "mesh"
    service: str = "web"
    replicas: int = 3
    port: int = 4567
    image: str = "tunmesh"
    group: int = CONTAINER_USER  # the gid that may read the keys
    namespace: str = "default"
    cluster_dns: str = "10.96.0.10"  # kubeadm's, so kind's and minikube's
    cluster_domain: str = "cluster.local"
    bootstrap: tuple[str, ...] = ()  # hosts; none: the name of the mesh

    def words(self) -> Mapping[str, str | None]:
        """What the choices are replaced by."""
        families = {network.version: network for network in self.networks}
        # As networking.dns.address: auto, the last host of each network.
        dns = [str(network[-2 if network.version == 4 else -1]) for network in self.networks]
        urls = [f"https://{_in_url(host)}:{self.port}" for host in self.bootstrap or (self.name,)]
        return {
            "name": self.name,
            "ipv4": _text(families.get(4)),
            "ipv6": _text(families.get(6)),
            "networks": " and ".join(map(str, self.networks)),
            "dns_address": dns[0],
            "dns_addresses": ", ".join(f'"{address}"' for address in dns),
            "domain": self.domain,
            "service": self.service,
            "replicas": str(self.replicas),
            "port": str(self.port),
            "image": self.image,
            "user": str(CONTAINER_USER),
            "group": str(self.group),
            "namespace": self.namespace,
            "cluster_dns": self.cluster_dns,
            "cluster_domain": self.cluster_domain,
            "bootstrap_urls": ", ".join(map(_quoted, urls)),
            # At the beginning of lines that are for one of the two cases.
            "by_hosts": "" if self.bootstrap else None,
            "by_name": None if self.bootstrap else "",
        }


def render(kind: str, choices: Choices) -> Mapping[str, str]:
    """The content of each file of a deployment, by its path."""
    words = choices.words()
    found = _walk(files(__package__) / "templates" / kind, "")
    return {path: _fill(template.read_text("utf-8"), words) for path, template in sorted(found)}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}", each


def _fill(template: str, words: Mapping[str, str | None]) -> str:
    lines = []
    for line in template.splitlines(keepends=True):
        if all(words[word] is not None for word in _CHOICE.findall(line)):
            lines.append(_CHOICE.sub(lambda found: str(words[found[1]]), line))
    return "".join(lines)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quoted(url: str) -> str:
    """A URL in a YAML list in brackets."""
    return f'"{url}"' if "[" in url else url


def _text(network: Network | None) -> str | None:
    return None if network is None else str(network)
