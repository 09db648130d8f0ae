"""Turn the Kubernetes example into what `podman kube play` can do.

    python adapt.py FILE KEYS ADDRESS,ADDRESS,… CONTAINER=IMAGE… > pods.yaml

podman knows neither StatefulSets nor headless Services, nor native sidecars, nor the address of a
pod before it runs, nor HTTP probes without curl in the image. So each ordinal becomes a Pod that
gets the next address, with two ordinary containers; the environment from `fieldRef` becomes plain
values; the name of the Service becomes an entry of /etc/hosts with the addresses of all pods; and
probes are left out. KEYS is the directory that `kubectl create secret` would be given. All else
stays as it is: the ConfigMap, the volumes, the security context, the commands.
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
    """The Secret, the ConfigMap, and a Pod for each address."""
    kinds = {document["kind"]: document for document in documents}
    pod_template = kinds["StatefulSet"]["spec"]["template"]
    for volume in pod_template["spec"]["volumes"]:
        if "secret" in volume:
            yield secret(volume["secret"]["secretName"], keys)
            volume["secret"]["optional"] = False  # podman 4.3 needs it said
    yield kinds["ConfigMap"]
    for ordinal, address in enumerate(addresses):
        name = f"{kinds['StatefulSet']['metadata']['name']}-{ordinal}"
        made = pod(pod_template, name, ordinal, address, images)
        service = kinds["Service"]["metadata"]["name"]
        made["spec"]["hostAliases"] = [{"ip": each, "hostnames": [service]} for each in addresses]
        yield made


def secret(name: str, directory: Path) -> Document:
    """What `kubectl create secret generic NAME --from-file=DIRECTORY` would make, but as text:
    podman 4.3 would take `data` for the values and not for base64 of them."""
    files = {path.name: path.read_text() for path in sorted(directory.iterdir())}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": files}


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
