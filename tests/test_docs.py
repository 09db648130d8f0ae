"""The documentation keeps up with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests.observe.test_metrics
from tunmesh.dataplane.drops import DropReason
from tunmesh.errors import HANDSHAKE_FAILURES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tunmesh"
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
CODE = re.compile(r"(?ms)^```.*?^```$")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub generates them."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


class DocsTests(SynchronousTestCase):
    """What readers rely on."""

    def test_every_metric_is_documented(self) -> None:
        """docs/monitoring.md names every metric, and none that does not exist."""
        promised = tests.observe.test_metrics.ALWAYS | tests.observe.test_metrics.BY_NODE
        names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in promised}
        documented = set(re.findall(r"`(tunmesh_\w+)`", self.read("docs/monitoring.md")))
        self.assertEqual(documented, names)

    def test_failure_reasons(self) -> None:
        """docs/monitoring.md has a row for each failure reason, which may end in a link."""
        section = self.read("docs/monitoring.md").partition("## Why connections fail\n")[2]
        rows = re.findall(
            r"^\| `(\w+)` \| (.*?)(?: \(\[.*)? \|$", section.partition("\n## ")[0], re.M
        )
        self.assertEqual(rows[1:], [(each.value, each.meaning) for each in HANDSHAKE_FAILURES])

    def test_drop_reasons(self) -> None:
        """docs/monitoring.md has a row for each drop reason in the code."""
        section = self.read("docs/monitoring.md").partition("## Why packets are dropped\n")[2]
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", section.partition("\n## ")[0], re.M)
        self.assertEqual(rows[1:], [(each.value, each.where, each.meaning) for each in DropReason])

    def test_links_lead_somewhere(self) -> None:
        """Every relative link in the documentation leads to a file and, within a page, to a
        heading."""
        for page in self.pages():
            for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
                path = page.parent / target if target else page
                self.assertTrue(path.exists(), f"{page.name}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(path), f"{page.name}: {target}#{anchor}")

    def test_every_folder_is_in_the_picture(self) -> None:
        """docs/architecture.md names every folder of the package."""
        text = self.read("docs/architecture.md")
        for init in PACKAGE.glob("*/__init__.py"):
            self.assertIn(f"`{init.parent.name}/`", text)

    def test_named_modules_exist(self) -> None:
        """docs/architecture.md names modules as folder/module: each of them exists."""
        folders = "|".join(init.parent.name for init in PACKAGE.glob("*/__init__.py"))
        text = self.read("docs/architecture.md")
        named = set(re.findall(rf"(?<![\w/.])(?:{folders})/\w+", text))
        self.assertGreater(len(named), 50)
        there = {
            name
            for name in named
            for path in (PACKAGE / name, PACKAGE / f"{name}.py")
            if path.exists()
        }
        self.assertEqual(named, there)

    def test_width(self) -> None:
        """Prose is no wider than 120 columns; tables, what programs print and the record of
        decisions may be."""
        for page in (ROOT / "docs").glob("[a-ce-z]*.md"):
            text = CODE.sub("", page.read_text(encoding="utf-8"))
            wide = [line for line in text.splitlines() if len(line) > 120 and line[0] != "|"]
            self.assertEqual(wide, [], page.name)

    def test_every_page_is_in_the_index(self) -> None:
        """docs/README.md links to every page."""
        text = self.read("docs/README.md")
        for page in (ROOT / "docs").glob("[a-z]*.md"):
            self.assertIn(f"]({page.name})", text)

    def test_named_tests_exist(self) -> None:
        """docs/security.md names the tests that support its claims: each of them exists."""
        named = set(re.findall(r"[\w/]*\btest_\w+\.py", self.read("docs/security.md")))
        self.assertGreater(len(named), 20)
        self.assertEqual([name for name in named if not (ROOT / "tests" / name).exists()], [])

    def pages(self) -> Iterator[Path]:
        yield from ROOT.glob("*.md")
        yield from (ROOT / "docs").glob("*.md")

    def read(self, name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8")
