"""Turn what `tunmesh init kubernetes` writes into what `podman kube play` can do.

    python kubernetes.py DIRECTORY ADDRESS,ADDRESS,… CONTAINER=IMAGE… > pods.yaml

The StatefulSet gets the sidecar as kustomize would add it. What podman cannot do, and what becomes
of it:

    StatefulSet                a Pod for each ordinal, with the next of the addresses
    headless Service           its name in /etc/hosts, with the addresses of all pods
    native sidecar             an ordinary container, the first
    environment by fieldRef    plain values
    probes over HTTPS          left out: podman would run curl in the container
    containerPort              left out: podman would take the port of the host
    ConfigMap and Secret       the directory that they would be made of
    the cluster's name server  left out: there is none

All else stays as it is: the other volumes, the security context, the commands, the DNS settings.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def pods(
    directory: Path, addresses: Sequence[str], images: Mapping[str, str]
) -> Iterator[Document]:
    """A Pod for each address."""
    base = directory.absolute() / "base"
    service = _read(base / "service.yaml")["metadata"]["name"]
    (labels,) = _read(directory / "statefulset" / "kustomization.yaml")["labels"]
    app = _read(directory / "statefulset" / "app.yaml")
    template = app["spec"]["template"]
    sidecar = _read(directory / "sidecar" / "sidecar.yaml")["spec"]["template"]
    template["metadata"]["labels"] |= sidecar["metadata"]["labels"] | labels["pairs"]
    spec = template["spec"] | sidecar["spec"]
    spec["hostAliases"] = [{"ip": each, "hostnames": [service]} for each in addresses]
    spec["containers"] = spec.pop("initContainers") + spec["containers"]
    del spec["dnsConfig"]["nameservers"][1:]
    for volume in spec["volumes"]:
        if volume.pop("projected", None):
            volume["hostPath"] = {"path": str(base / "config"), "type": "Directory"}
    template["spec"] = spec
    for ordinal, address in enumerate(addresses):
        yield _pod(template, f"{app['metadata']['name']}-{ordinal}", address, images)


def _pod(template: Document, name: str, address: str, images: Mapping[str, str]) -> Document:
    """One pod of the set."""
    made = copy.deepcopy(template)
    made["metadata"]["name"] = name
    fields = {"metadata.name": name, "status.podIP": address}
    for label, value in made["metadata"]["labels"].items():
        fields[f"metadata.labels['{label}']"] = value
    for container in made["spec"]["containers"]:
        container["image"] = images[container["name"]]
        for key in ("restartPolicy", "ports", *PROBES):
            container.pop(key, None)
        for variable in container.get("env", ()):
            variable["value"] = fields[variable.pop("valueFrom")["fieldRef"]["fieldPath"]]
    return {"apiVersion": "v1", "kind": "Pod", **made}


def _read(file: Path) -> Document:
    document: Document = yaml.safe_load(file.read_text())
    return document


def main(directory: str, addresses: str, *images: str) -> None:
    named = dict(image.split("=", 1) for image in images)
    made = pods(Path(directory), addresses.split(","), named)
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
