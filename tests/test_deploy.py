"""The files of deploy/ that others read: Prometheus, Grafana and systemd. Containers and Kubernetes
have a test of their own (tests/container)."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor as trial_reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.observe.test_metrics import ALWAYS, BY_NODE
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import HANDSHAKE_FAILURES

reactor: Any = trial_reactor

ROOT = Path(__file__).parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "tunmesh.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tunmesh.json"
KUBERNETES = ROOT / "deploy" / "kubernetes" / "tunmesh.yaml"
UNIT = ROOT / "deploy" / "systemd" / "tunmesh.service"


class Deployed(unittest.TestCase):
    """Files, and the tools of those who read them."""

    timeout = 60

    async def accepts(self, tool: str, *arguments: str) -> str:
        """The tool, where it is installed, has no objection; returns what it prints."""
        found = shutil.which(tool)
        if found is None:
            raise unittest.SkipTest(f"{tool} is not installed")
        out, err, code = await getProcessOutputAndValue(found, arguments, reactor=reactor)
        text: str = (out + err).decode()
        self.assertEqual(code, 0, text)
        return text

    def assert_exposed(self, query: str) -> None:
        """A query names only metrics and reasons that nodes have."""
        for name in re.findall(r"\btunmesh_\w+", query):
            self.assertIn(name, ALWAYS | BY_NODE)
        for reasons in re.findall(r'reason=~?"([^"]*)"', query):
            known = {*DropReason, *HANDSHAKE_FAILURES}
            self.assertEqual(set(reasons.split("|")) - known, set())


class MonitoringTests(unittest.SynchronousTestCase):
    """Where metrics are, in the configs that are shipped, and where Prometheus looks for them."""

    def configs(self) -> Iterator[dict[str, Any]]:
        yield yaml.safe_load((ROOT / "deploy" / "compose" / "config.yaml").read_text())["tun_mesh"]
        for document in yaml.safe_load_all(KUBERNETES.read_text()):
            if document["kind"] == "ConfigMap":
                yield yaml.safe_load(document["data"]["config.yaml"])["tun_mesh"]

    def test_not_for_strangers(self) -> None:
        """They have an address of their own, at the port that Prometheus is told, and not the one
        that peers and probes come to."""
        prometheus = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
        scraped = {target.rpartition(":")[2] for target in targets}
        configs = list(self.configs())
        self.assertEqual(len(configs), 2)
        for config in configs:
            self.assertEqual(config["monitoring"]["method"], "prometheus")
            self.assertEqual({config["monitoring"]["listen"].rpartition(":")[2]}, scraped)

    def test_container_port(self) -> None:
        """The pod names it."""
        (stateful,) = (
            document
            for document in yaml.safe_load_all(KUBERNETES.read_text())
            if document["kind"] == "StatefulSet"
        )
        sidecar = stateful["spec"]["template"]["spec"]["initContainers"][0]
        ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
        self.assertEqual(ports, {"tunmesh": 4567, "metrics": 9464})


class PrometheusTests(Deployed):
    """The alerts, and the example of how nodes are read."""

    def alerts(self) -> list[dict[str, Any]]:
        (group,) = yaml.safe_load(RULES.read_text())["groups"]
        alerts: list[dict[str, Any]] = group["rules"]
        return alerts

    def test_metrics_exist(self) -> None:
        """No alert waits for something that no node says."""
        for alert in self.alerts():
            self.assert_exposed(alert["expr"])

    def test_everyone_is_explained(self) -> None:
        """docs/operating.md says what to do at each alert, and explains none that there is not."""
        text = (ROOT / "docs" / "operating.md").read_text()
        explained = re.findall(r"(?m)^\*\*`(Tunmesh\w+)`", text)
        self.assertEqual(explained, [alert["alert"] for alert in self.alerts()])

    def test_everyone_is_tested(self) -> None:
        """Each alert has a case in which it fires."""
        cases = yaml.safe_load((PROMETHEUS / "tunmesh.rules.test.yml").read_text())["tests"]
        tests = [test for case in cases for test in case.get("alert_rule_test", ())]
        fire = {test["alertname"] for test in tests if test.get("exp_alerts")}
        self.assertEqual(fire, {alert["alert"] for alert in self.alerts()})

    async def test_cases(self) -> None:
        """The alerts fire when they should, and not before, says Prometheus itself."""
        cases = PROMETHEUS / "tunmesh.rules.test.yml"
        self.assertIn("SUCCESS", await self.accepts("promtool", "test", "rules", str(cases)))

    async def test_config(self) -> None:
        """Prometheus takes the example config with the alerts."""
        config = str(PROMETHEUS / "prometheus.yml")
        found = await self.accepts("promtool", "check", "config", config)
        self.assertIn(f"{len(self.alerts())} rules found", found)


class GrafanaTests(Deployed):
    """The dashboard."""

    def setUp(self) -> None:
        self.dashboard = json.loads(DASHBOARD.read_text())

    def queries(self) -> Iterator[str]:
        for panel in self.dashboard["panels"]:
            yield from (target["expr"] for target in panel["targets"])

    def test_metrics_exist(self) -> None:
        """No panel stays empty for want of a metric."""
        for query in (*self.queries(), self.dashboard["templating"]["list"][1]["definition"]):
            self.assert_exposed(query)

    def test_any_data_source(self) -> None:
        """It can be imported beside any Prometheus: the data source is chosen in it."""
        source, *_ = self.dashboard["templating"]["list"]
        self.assertEqual((source["type"], source["query"]), ("datasource", "prometheus"))
        for panel in self.dashboard["panels"]:
            for each in (panel, *panel["targets"]):
                self.assertEqual(each["datasource"]["uid"], f"${{{source['name']}}}")

    def test_layout(self) -> None:
        """No panel covers another, and each has a name and a number of its own."""
        panels = self.dashboard["panels"]
        for key in ("id", "title"):
            self.assertEqual(len({panel[key] for panel in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in panels):
            self.assertLessEqual(place["x"] + place["w"], 24)
            columns = range(place["x"], place["x"] + place["w"])
            cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
            self.assertEqual(cells & taken, set())
            taken |= cells

    async def test_queries(self) -> None:
        """Every query is one, says Prometheus itself."""
        rules = [
            {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
            for number, query in enumerate(self.queries())
        ]
        path = Path(self.mktemp())
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        text = await self.accepts("promtool", "check", "rules", str(path))
        self.assertIn(f"{len(rules)} rules found", text)


class SystemdTests(Deployed):
    """The unit."""

    def unit(self) -> Path:
        """The unit, with the twistd of these tests."""
        path = Path(self.mktemp()).absolute() / UNIT.name
        path.parent.mkdir()
        twistd = str(Path(sys.executable).with_name("twistd"))
        path.write_text(UNIT.read_text().replace("/opt/tunmesh/bin/twistd", twistd))
        return path

    async def test_verified(self) -> None:
        """systemd has no objection to any line."""
        self.assertEqual(await self.accepts("systemd-analyze", "verify", str(self.unit())), "")

    async def test_exposure(self) -> None:
        """By systemd's own marks it exposes little; how much exactly differs between releases."""
        text = await self.accepts(
            "systemd-analyze", "security", "--offline=true", "--threshold=35", str(self.unit())
        )
        self.assertIn("Overall exposure level", text)
