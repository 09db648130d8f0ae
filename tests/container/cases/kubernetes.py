"""Turn the Kubernetes example into what `podman kube play` can do.

    python adapt.py FILE KEYS ADDRESS,ADDRESS,… CONTAINER=IMAGE… > pods.yaml

What podman cannot do, and what becomes of it:

    StatefulSet                a Pod for each ordinal, with the next of the addresses
    headless Service           its name in /etc/hosts, with the addresses of all pods
    native sidecar             an ordinary container, the first
    environment by fieldRef    plain values
    probes over HTTPS          left out: podman would run curl in the container
    containerPort              left out: podman would take the port of the host
    Secret                     KEYS, the directory that it would be made of: podman 4.3 does not
                               decode the files in it

All else stays as it is: the ConfigMap, the other volumes, the security context, the commands.
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


def adapted(
    documents: Sequence[Document], keys: Path, addresses: Sequence[str], images: Mapping[str, str]
) -> Iterator[Document]:
    """The ConfigMap, and a Pod for each address."""
    kinds = {document["kind"]: document for document in documents}
    yield kinds["ConfigMap"]
    template = kinds["StatefulSet"]["spec"]["template"]
    service = kinds["Service"]["metadata"]["name"]
    template["spec"]["hostAliases"] = [{"ip": each, "hostnames": [service]} for each in addresses]
    for volume in template["spec"]["volumes"]:
        if volume.pop("secret", None):
            volume["hostPath"] = {"path": str(keys.absolute()), "type": "Directory"}
    for ordinal, address in enumerate(addresses):
        name = f"{kinds['StatefulSet']['metadata']['name']}-{ordinal}"
        yield pod(template, name, ordinal, address, images)


def pod(
    template: Document, name: str, ordinal: int, address: str, images: Mapping[str, str]
) -> Document:
    """One pod of the set."""
    made = copy.deepcopy(template)
    made["metadata"]["name"] = name
    spec = made["spec"]
    spec["containers"] = spec.pop("initContainers") + spec["containers"]
    fields = {
        "metadata.name": name,
        "status.podIP": address,
        "metadata.labels['apps.kubernetes.io/pod-index']": str(ordinal),
    }
    for container in spec["containers"]:
        container["image"] = images[container["name"]]
        for key in ("restartPolicy", "ports", *PROBES):
            container.pop(key, None)
        for variable in container.get("env", ()):
            variable["value"] = fields[variable.pop("valueFrom")["fieldRef"]["fieldPath"]]
    return {"apiVersion": "v1", "kind": "Pod", **made}


def main(file: str, keys: str, addresses: str, *images: str) -> None:
    documents = list(yaml.safe_load_all(Path(file).read_text()))
    made = adapted(
        documents, Path(keys), addresses.split(","), dict(image.split("=", 1) for image in images)
    )
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
