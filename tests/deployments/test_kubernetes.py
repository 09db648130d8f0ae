"""The deployment for Kubernetes, as kustomize builds it and as an API server would check it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.deployments.templates import Choices, render
from tunmesh.deployments.write import write_deployment

Manifest = dict[str, Any]

# The overlays, with what each of them deploys.
OVERLAYS = {
    "deployment": ("Deployment", "web"),
    "statefulset": ("StatefulSet", "db"),
    "existing": ("Deployment", "shop"),
}
OLDEST = (1, 29)  # the first with native sidecars by default
CURRENT = 3  # releases are maintained at a time
LONGEST_PORT_NAME = 15  # IANA_SVC_NAME
MOST_NAME_SERVERS = 3


def builder() -> list[str] | None:
    """The command that builds a kustomization here."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


@cache
def built(overlay: str, *components: str) -> tuple[Manifest, ...]:
    """The objects of an overlay, with further components."""
    command = builder()
    assert command is not None
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        write_deployment(where, render("kubernetes", Choices()), datetime.now(UTC), None)
        file = where / overlay / "kustomization.yaml"
        tree = yaml.safe_load(file.read_text())
        tree["components"] += components
        file.write_text(yaml.safe_dump(tree))
        done = subprocess.run([*command, str(file.parent)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def all_built() -> Iterator[tuple[str, tuple[Manifest, ...]]]:
    """Every overlay, as it is and in user namespaces."""
    for overlay in OVERLAYS:
        yield overlay, built(overlay)
        yield overlay, built(overlay, "../user-namespace")


class BuiltTests(SynchronousTestCase):
    """What the API server is given."""

    skip = None if builder() else "neither kustomize nor kubectl is installed"

    def only(self, overlay: str, kind: str, name: str, *components: str) -> Manifest:
        """The one object of this kind and name."""
        (found,) = (
            each
            for each in built(overlay, *components)
            if (each["kind"], each["metadata"]["name"]) == (kind, name)
        )
        return found

    def pod(self, overlay: str, *components: str) -> Manifest:
        """The template of the pods."""
        workload = self.only(overlay, *OVERLAYS[overlay], *components)
        template: Manifest = workload["spec"]["template"]
        return template

    def sidecar(self, overlay: str, *components: str) -> Manifest:
        (found,) = (
            each
            for each in self.pod(overlay, *components)["spec"]["initContainers"]
            if each["name"] == "tunmesh"
        )
        sidecar: Manifest = found
        return sidecar

    def test_native_sidecar(self) -> None:
        """The node is the first init container, restarts by itself, and the application waits for
        its startup probe. No probe asks for something that a restart would not mend, but for
        readiness."""
        for overlay in OVERLAYS:
            first = self.pod(overlay)["spec"]["initContainers"][0]
            self.assertEqual((first["name"], first["restartPolicy"]), ("tunmesh", "Always"))
            wait = first["startupProbe"]
            self.assertEqual(wait["exec"]["command"][:3], ["tunmesh", "wait", "--for"])
            patience = float(wait["exec"]["command"][-1])
            self.assertLess(patience, wait["timeoutSeconds"])
            for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
                asked = first[probe]["httpGet"]
                self.assertEqual(
                    (asked["path"], asked["scheme"], asked["port"]), (path, "HTTPS", "tunmesh")
                )

    def test_privileges(self) -> None:
        """The sidecar has three capabilities and nothing else; the pod shares nothing with the
        host but the device."""
        for overlay, objects in all_built():
            for workload in objects:
                if workload["kind"] not in ("Deployment", "StatefulSet"):
                    continue
                spec = workload["spec"]["template"]["spec"]
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(spec), overlay)
                (node,) = (one for one in spec["initContainers"] if one["name"] == "tunmesh")
                context = node["securityContext"]
                self.assertEqual(
                    context["capabilities"],
                    {"drop": ["ALL"], "add": ["NET_ADMIN", "SETUID", "SETGID"]},
                )
                self.assertFalse(context["privileged"] or context["allowPrivilegeEscalation"])
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
                paths = [one["hostPath"] for one in spec["volumes"] if "hostPath" in one]
                own = {"path": "/dev/net/tun", "type": "CharDevice"}
                self.assertEqual(paths, [] if "hostUsers" in spec else [own])

    def test_user_namespace(self) -> None:
        """In a user namespace the device comes from a device plugin, and is no volume."""
        for overlay in OVERLAYS:
            spec = self.pod(overlay, "../user-namespace")["spec"]
            self.assertFalse(spec["hostUsers"])
            node = self.sidecar(overlay, "../user-namespace")
            self.assertEqual(node["resources"]["limits"], {"memory": "256Mi", "squat.ai/tun": 1})
            self.assertNotIn("/dev/net/tun", [one["mountPath"] for one in node["volumeMounts"]])

    def test_dns(self) -> None:
        """Pods ask the node only, which forwards to the cluster's name server; searches and ndots
        are those of the cluster."""
        for overlay in OVERLAYS:
            spec = self.pod(overlay)["spec"]
            self.assertEqual(spec["dnsPolicy"], "None")
            dns = spec["dnsConfig"]
            self.assertEqual(dns["nameservers"], ["10.9.255.254", "fd09::ffff:ffff:ffff:ffff"])
            self.assertEqual(
                dns["searches"], ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
            )
            self.assertIn({"name": "ndots", "value": "5"}, dns["options"])
            text = self.only(overlay, "ConfigMap", "tunmesh-config")["data"]["config.yaml"]
            mesh = yaml.safe_load(text)["tun_mesh"]["networking"]["dns"]
            self.assertEqual(mesh, {"domain": "mesh", "forward": ["10.96.0.10"]})

    def test_bootstrap(self) -> None:
        """The headless Service leads to all pods, before they are ready, and is what the config
        names; the bootstrap list is of the same port that the container has."""
        for overlay in OVERLAYS:
            service = self.only(overlay, "Service", "tunmesh")
            self.assertEqual(service["spec"]["clusterIP"], "None")
            self.assertTrue(service["spec"]["publishNotReadyAddresses"])
            labels = self.pod(overlay)["metadata"]["labels"]
            self.assertLessEqual(service["spec"]["selector"].items(), labels.items())
            text = self.only(overlay, "ConfigMap", "tunmesh-config")["data"]["config.yaml"]
            tree = yaml.safe_load(text)["tun_mesh"]
            (group,) = tree["clustering"]["bootstrap_groups"].values()
            self.assertEqual(group["bootstrap_node_urls"], ["https://tunmesh:4567"])
            self.assertEqual(tree["control_api"]["listen_port"], 4567)
            self.assertEqual(service["spec"]["ports"][0]["port"], 4567)

    def test_references(self) -> None:
        """What a manifest refers to is there: volumes, config, keys, ports, labels."""
        for overlay, objects in all_built():
            names = {(one["kind"], one["metadata"]["name"]) for one in objects}
            self.assertEqual(len(names), len(objects))
            for each in objects:
                self.assertEqual(each["metadata"]["namespace"], "default", overlay)
                if "template" in each.get("spec", {}):
                    self.check_workload(each, names)

    def check_workload(self, workload: Manifest, names: set[tuple[str, str]]) -> None:
        template = workload["spec"]["template"]
        spec, labels = template["spec"], template["metadata"]["labels"]
        selector = workload["spec"]["selector"]["matchLabels"]
        self.assertLessEqual(selector.items(), labels.items())
        self.assertLessEqual(len(spec["dnsConfig"]["nameservers"]), MOST_NAME_SERVERS)
        if "serviceName" in workload["spec"]:
            self.assertIn(("Service", workload["spec"]["serviceName"]), names)
        volumes = [volume["name"] for volume in spec["volumes"]]
        self.assertEqual(len(set(volumes)), len(volumes))
        for source in next(one for one in spec["volumes"] if "projected" in one)["projected"][
            "sources"
        ]:
            ((kind, reference),) = source.items()
            kind = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
            self.assertIn((kind, reference["name"]), names)
        containers = spec["initContainers"] + spec["containers"]
        ports = [port for each in containers for port in each.get("ports", ())]
        self.assertEqual(len({port["containerPort"] for port in ports}), len(ports))
        for port in ports:
            self.assertLessEqual(len(port["name"]), LONGEST_PORT_NAME)
        for each in containers:
            mounts = [mount["name"] for mount in each.get("volumeMounts", ())]
            self.assertLessEqual(set(mounts), set(volumes))
            for variable in each.get("env", ()):
                path = variable["valueFrom"]["fieldRef"]["fieldPath"]
                if path.startswith("metadata.labels"):
                    self.assertIn(path.split("'")[1], labels)

    def test_keys(self) -> None:
        """Config, secret, certificate and key are files of one directory, where the config expects
        them; only the sidecar sees it, and the pod's group is left alone."""
        for overlay in OVERLAYS:
            keys = self.only(overlay, "Secret", "tunmesh-keys")["data"]
            self.assertEqual(sorted(keys), ["cert.pem", "key.pem", "secret"])
            spec = self.pod(overlay)["spec"]
            for container in (*spec["containers"], *spec["initContainers"][1:]):
                names = {mount["name"] for mount in container.get("volumeMounts", ())}
                self.assertEqual({name for name in names if name.startswith("tunmesh")}, set())

    def test_somebody_elses(self) -> None:
        """The containers, volumes and Service of an application that is not ours are unchanged, and
        no policy closes its ports."""
        theirs = yaml.safe_load_all(render("kubernetes", Choices())["existing/theirs.yaml"])
        service, workload = theirs
        spec = workload["spec"]["template"]["spec"]
        now = self.pod("existing")["spec"]
        for key in ("containers", "securityContext", "automountServiceAccountToken"):
            self.assertEqual(now[key], spec[key])
        self.assertEqual(now["initContainers"][1:], spec["initContainers"])
        self.assertEqual(now["volumes"][-1:], spec["volumes"])
        served = self.only("existing", "Service", "shop")["spec"]
        self.assertEqual(served["selector"], service["spec"]["selector"])
        self.assertNotIn("NetworkPolicy", [each["kind"] for each in built("existing")])

    def test_network_policy(self) -> None:
        """Ours accept mesh connections from each other and scrapes from Prometheus."""
        for overlay in ("deployment", "statefulset"):
            policy = self.only(overlay, "NetworkPolicy", "tunmesh")["spec"]
            labels = self.pod(overlay)["metadata"]["labels"]
            self.assertLessEqual(policy["podSelector"]["matchLabels"].items(), labels.items())
            mesh, metrics = policy["ingress"]
            both = [{"protocol": protocol, "port": 4567} for protocol in ("TCP", "UDP")]
            self.assertEqual(mesh["ports"], both)
            self.assertEqual(mesh["from"], [{"podSelector": policy["podSelector"]}])
            self.assertEqual(metrics["ports"], [{"protocol": "TCP", "port": 9464}])

    def test_together(self) -> None:
        """All pods of a StatefulSet start at once: none is ready before it is linked."""
        spec = self.only("statefulset", "StatefulSet", "db")["spec"]
        self.assertEqual(spec["podManagementPolicy"], "Parallel")


class SchemaTests(SynchronousTestCase):
    """The schemas of the releases of Kubernetes."""

    skip = BuiltTests.skip
    if importlib.util.find_spec("kubernetes_validate") is None:
        skip = "kubernetes-validate is not installed (pip install 'tunmesh[kubernetes]')"

    def test_schemas(self) -> None:
        """Every object is valid in the oldest release that has native sidecars and in the newest
        ones, without unknown keys."""
        from kubernetes_validate import utils

        releases = {tuple(map(int, one.split(".")[:2])) for one in utils.all_versions()}
        self.assertIn(OLDEST, releases)
        for major, minor in (OLDEST, *sorted(releases)[-CURRENT:]):
            for overlay, objects in all_built():
                for each in objects:
                    try:
                        utils.validate(each, f"{major}.{minor}", strict=True)
                    except utils.ValidationError as error:
                        where = f"1.{minor}: {overlay}: {each['kind']} {each['metadata']['name']}"
                        self.fail(f"{where}: {list(error.path)}: {error.message}")

    def test_they_find_something(self) -> None:
        """A misspelt key is found."""
        from kubernetes_validate import utils

        (policy,) = (one for one in built("deployment") if one["kind"] == "NetworkPolicy")
        wrong = {**policy, "spec": {**policy["spec"], "podSelectors": {}}}
        with self.assertRaises(utils.ValidationError):
            utils.validate(wrong, utils.latest_version(), strict=True)
