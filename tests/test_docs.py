"""The documentation keeps up with the code."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests.observe.test_metrics
from tunmesh.dataplane.drops import DropReason
from tunmesh.node.node import HANDSHAKE_FAILURES

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


class DocsTests(SynchronousTestCase):
    """What a reader relies on."""

    def test_every_metric_is_documented(self) -> None:
        """docs/monitoring.md names every metric, and none that does not exist."""
        promised = tests.observe.test_metrics.ALWAYS | tests.observe.test_metrics.BY_NODE
        names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in promised}
        documented = set(re.findall(r"`(tunmesh_\w+)`", self.read("docs/monitoring.md")))
        self.assertEqual(documented, names)

    def test_every_reason_is_documented(self) -> None:
        """docs/monitoring.md explains every reason to refuse a connection."""
        text = self.read("docs/monitoring.md")
        for reason in HANDSHAKE_FAILURES:
            self.assertIn(f"`{reason}`", text)

    def test_drop_reasons(self) -> None:
        """docs/monitoring.md has a row for each reason to drop a packet, as the code has it."""
        section = self.read("docs/monitoring.md").partition("### Why packets are dropped\n")[2]
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", section.partition("###")[0], re.M)
        self.assertEqual(rows[1:], [(each.value, each.where, each.meaning) for each in DropReason])

    def test_links_lead_somewhere(self) -> None:
        """Every relative link in the documentation leads to a file."""
        for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
            for target in LINK.findall(page.read_text(encoding="utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_every_module_is_in_the_house(self) -> None:
        """docs/architecture.md names every file of the node."""
        text = self.read("docs/architecture.md")
        for path in (ROOT / "tunmesh").glob("[a-z]*.py"):
            self.assertIn(path.name, text)

    def test_named_tests_exist(self) -> None:
        """docs/security.md names what shows a claim: each such test is there."""
        named = set(re.findall(r"[\w/]*\btest_\w+\.py", self.read("docs/security.md")))
        self.assertGreater(len(named), 20)
        self.assertEqual([name for name in named if not (ROOT / "tests" / name).exists()], [])

    def read(self, name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8")
