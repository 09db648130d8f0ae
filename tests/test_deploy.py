"""The files in deploy/ for Prometheus, Grafana and systemd. What `tunmesh init` writes, and
containers, have their own tests (tests/deployments, tests/container)."""

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
SIDECAR = ROOT / "deploy" / "kubernetes" / "sidecar" / "sidecar.yaml"
UNIT = ROOT / "deploy" / "systemd" / "tunmesh.service"


class Deployed(unittest.TestCase):
    """The files, and the tools of the programs that read them."""

    async def accepts(self, tool: str, *arguments: str) -> str:
        """The tool, if it is installed, accepts the file; returns its output."""
        found = shutil.which(tool)
        if found is None:
            raise unittest.SkipTest(f"{tool} is not installed")
        out, err, code = await getProcessOutputAndValue(found, arguments, reactor=reactor)
        text: str = (out + err).decode()
        self.assertEqual(code, 0, text)
        return text

    def assert_exposed(self, query: str) -> None:
        """A query names only metrics and reasons that nodes expose."""
        for name in re.findall(r"\btunmesh_\w+", query):
            self.assertIn(name, ALWAYS | BY_NODE)
        for reasons in re.findall(r'reason=~?"([^"]*)"', query):
            known = {*DropReason, *HANDSHAKE_FAILURES}
            self.assertEqual(set(reasons.split("|")) - known, set())


class MonitoringTests(unittest.SynchronousTestCase):
    """The address of the metrics in the shipped configs, and where Prometheus scrapes them."""

    def configs(self) -> Iterator[dict[str, Any]]:
        for path in (ROOT / "deploy").glob("*/**/config.yaml"):
            yield yaml.safe_load(path.read_text())["tun_mesh"]

    def test_not_for_strangers(self) -> None:
        """The metrics have their own address, at the port that Prometheus is given, and not the
        port for peers and probes."""
        prometheus = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
        scraped = {target.rpartition(":")[2] for target in targets}
        configs = list(self.configs())
        self.assertEqual(len(configs), 3)
        for config in configs:
            self.assertEqual(config["monitoring"]["method"], "prometheus")
            self.assertEqual({config["monitoring"]["listen"].rpartition(":")[2]}, scraped)

    def test_container_port(self) -> None:
        """The pod declares the port."""
        pod = yaml.safe_load(SIDECAR.read_text())["spec"]["template"]["spec"]
        ports = {port["name"]: port["containerPort"] for port in pod["initContainers"][0]["ports"]}
        self.assertEqual(ports, {"tunmesh": 4567, "tunmesh-metrics": 9464})


class PrometheusTests(Deployed):
    """The alerts, and the example scrape config."""

    def alerts(self) -> list[dict[str, Any]]:
        (group,) = yaml.safe_load(RULES.read_text())["groups"]
        alerts: list[dict[str, Any]] = group["rules"]
        return alerts

    def test_metrics_exist(self) -> None:
        """Every alert uses only metrics that nodes expose."""
        for alert in self.alerts():
            self.assert_exposed(alert["expr"])

    def test_every_alert_is_explained(self) -> None:
        """docs/operating.md explains every alert, and no other."""
        text = (ROOT / "docs" / "operating.md").read_text()
        explained = re.findall(r"(?m)^\*\*`(Tunmesh\w+)`", text)
        self.assertEqual(explained, [alert["alert"] for alert in self.alerts()])

    def test_every_alert_is_tested(self) -> None:
        """Each alert has a test case in which it fires."""
        cases = yaml.safe_load((PROMETHEUS / "tunmesh.rules.test.yml").read_text())["tests"]
        tests = [test for case in cases for test in case.get("alert_rule_test", ())]
        fire = {test["alertname"] for test in tests if test.get("exp_alerts")}
        self.assertEqual(fire, {alert["alert"] for alert in self.alerts()})

    async def test_cases(self) -> None:
        """According to Prometheus itself, the alerts fire when they should, and not before."""
        cases = PROMETHEUS / "tunmesh.rules.test.yml"
        self.assertIn("SUCCESS", await self.accepts("promtool", "test", "rules", str(cases)))

    async def test_config(self) -> None:
        """Prometheus accepts the example config with the alerts."""
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
        """Every panel uses only metrics that exist."""
        for query in (*self.queries(), self.dashboard["templating"]["list"][1]["definition"]):
            self.assert_exposed(query)

    def test_any_data_source(self) -> None:
        """The dashboard can be imported for any Prometheus: its data source is a variable."""
        source, *_ = self.dashboard["templating"]["list"]
        self.assertEqual((source["type"], source["query"]), ("datasource", "prometheus"))
        for panel in self.dashboard["panels"]:
            for each in (panel, *panel["targets"]):
                self.assertEqual(each["datasource"]["uid"], f"${{{source['name']}}}")

    def test_layout(self) -> None:
        """Panels do not overlap, and each has a unique name and number."""
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
        """Prometheus accepts every query."""
        rules = [
            {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
            for number, query in enumerate(self.queries())
        ]
        path = Path(self.mktemp())
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        text = await self.accepts("promtool", "check", "rules", str(path))
        self.assertIn(f"{len(rules)} rules found", text)


class SystemdTests(Deployed):
    """The systemd unit."""

    def unit(self) -> Path:
        """The unit, with the twistd of these tests."""
        path = Path(self.mktemp()).absolute() / UNIT.name
        path.parent.mkdir()
        twistd = str(Path(sys.executable).with_name("twistd"))
        path.write_text(UNIT.read_text().replace("/opt/tunmesh/bin/twistd", twistd))
        return path

    async def test_verified(self) -> None:
        """systemd-analyze accepts every line."""
        self.assertEqual(await self.accepts("systemd-analyze", "verify", str(self.unit())), "")

    async def test_exposure(self) -> None:
        """systemd's own exposure score is low; the exact value differs between releases."""
        text = await self.accepts(
            "systemd-analyze", "security", "--offline=true", "--threshold=35", str(self.unit())
        )
        self.assertIn("Overall exposure level", text)
