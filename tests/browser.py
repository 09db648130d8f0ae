"""The live page in a real browser, over a mesh of real nodes: `make test-browser`, not `make test`.

Debian's chromium runs in the namespace of node1, where the page is; selenium steers it from a
thread that visits that namespace. With TUNMESH_PICTURES=DIRECTORY the pictures of the documentation
are taken as well.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support import netns
from tests.support.control import command
from tests.support.nameservers import query
from tests.support.realnode import Ground, RealNode
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.plan import PAGE_PORT

PATIENCE = 20.0
PHONE = (360, 740)
T = TypeVar("T")

# Packets from one node to the others, more and fewer in the course of half a minute.
_CHATTER = """
import math, socket, sys, time
targets = sys.argv[1:]
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for tick in range(100000):
    for number, target in enumerate(targets):
        for _ in range(int(12 + 10 * math.sin(tick / 31 / (number + 1)) + tick % 7)):
            sender.sendto(bytes(1200), (target, 9))
    time.sleep(0.05)
"""

# Between node1 and node3 nothing gets through.
_WALL = """
table inet wall {
    chain in { type filter hook input priority 0; ip saddr 10.99.0.3 drop; }
    chain out { type filter hook output priority 0; ip daddr 10.99.0.3 drop; }
}
"""


def missing() -> str | None:
    """What this machine lacks, in a line."""
    absent = [name for name in ("chromium", "chromedriver", "nft") if not shutil.which(name)]
    if absent:
        return f"no {' and no '.join(absent)}: apt-get install chromium chromium-driver nftables"
    return netns.skip_reason()


class Browser:
    """A headless chromium in a namespace. All of its methods are called by `see`, in a thread."""

    def __init__(self, namespace: Namespace, *flags: str, javascript: bool = True) -> None:
        self.namespace = namespace
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not javascript:
            content = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", content)
        # With both paths given, selenium looks for neither and downloads nothing.
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options, service)

    def open(self) -> None:
        self.driver.get(f"http://127.0.0.1:{PAGE_PORT}/")

    def one(self, selector: str) -> str:
        """The text of an element."""
        text: str = self.driver.find_element(By.CSS_SELECTOR, selector).text
        return text

    def all(self, selector: str, attribute: str = "textContent") -> list[str]:
        elements = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return [element.get_attribute(attribute) or "" for element in elements]

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until it holds."""
        waiting = WebDriverWait(
            self.driver, PATIENCE, 0.1, ignored_exceptions=[StaleElementReferenceException]
        )
        waiting.until(lambda _: holds())

    def resize(self, width: int, height: int) -> None:
        """A window narrower than 500 pixels is not to be had, a screen is."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def style(self, selector: str, name: str) -> str:
        """A property of an element as it is drawn."""
        return str(self.driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(name))

    def picture(self, path: Path, scheme: str, width: int) -> None:
        """Save the whole page as a browser of this width shows it."""
        self.prefer(scheme)
        self.resize(width, 800)
        height = "return document.documentElement.scrollHeight"
        self.resize(width, self.driver.execute_script(height))
        taken = Image.open(BytesIO(self.driver.get_screenshot_as_png()))
        small = taken.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE)
        small.save(path, optimize=True)

    def complaints(self) -> list[str]:
        """What the console says, but for a server that was not there for a while."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        return [
            entry["message"]
            for entry in entries
            if not (entry["source"] == "network" and "/v1/stream" in entry["message"])
        ]


class Looking(unittest.TestCase):
    """A mesh, and a browser in it."""

    skip = missing()

    async def mesh(self, count: int) -> list[RealNode]:
        self.ground = Ground(self, count)
        return await self.ground.linked(count)

    async def browser(self, *flags: str, javascript: bool = True) -> Browser:
        namespace = self.ground.namespace(1)
        made = await self.inside(lambda: Browser(namespace, *flags, javascript=javascript))
        self.addCleanup(self.inside, made.driver.quit)
        return made

    def inside(self, step: Callable[[], T]) -> Deferred[T]:
        """Do this in a thread that visits the namespace of node1."""

        def visit() -> T:
            with self.ground.namespace(1):
                return step()

        return deferToThread(visit)


class PageInABrowser(Looking):
    """What somebody sees."""

    async def test_a_life(self) -> None:
        """The nodes are there; one that is killed turns red and is a problem; the page outlives its
        server; and nothing that it does is against its own policy."""
        first, _, third = await self.mesh(3)
        browser = await self.browser()

        def loads() -> None:
            browser.open()
            browser.until(lambda: len(browser.all("#picture .node")) == 3)
            self.assertEqual(browser.all("#picture text:not(.sub)"), ["node1", "node2", "node3"])
            self.assertEqual(len(browser.all("#picture .link.good")), 2)
            self.assertEqual(len(browser.all("#picture .link.heard")), 1)
            self.assertEqual(browser.one("#state"), "ready")
            self.assertEqual(
                browser.all("#peers tbody th"),
                ["node210.77.0.2, fd77::2", "node310.77.0.3, fd77::3"],
            )
            browser.until(lambda: len(browser.all("#peers .rx polyline", "points")[0].split()) > 2)
            browser.until(lambda: "linked with node3" in browser.one("#log"))

        def has_keys() -> None:
            """Everything that the mouse shows, the keyboard shows."""
            body = browser.driver.find_element(By.TAG_NAME, "body")
            body.send_keys(Keys.TAB, Keys.TAB)
            browser.until(lambda: "node2" in browser.one("#details"))
            self.assertIn("round trip", browser.one("#details"))

        def turns_red() -> None:
            browser.until(lambda: len(browser.all("#picture .node.gone")) == 1)
            (label,) = browser.all("#picture .gone", "aria-label")
            self.assertIn("node3, 10.77.0.3: gone", label)
            browser.until(lambda: "node3" in browser.one("#peers tr.gone"))

        def is_off() -> None:
            browser.until(lambda: browser.one("#state") == "disconnected")
            self.assertIn("node2", browser.one("#peers"))

        def is_back() -> None:
            browser.until(lambda: browser.one("#state") == "ready")
            browser.until(lambda: browser.all("#peers tr:not(.gone) th")[1:] != [])
            browser.until(lambda: not browser.all("#picture .gone"))
            self.assertEqual(browser.complaints(), [])

        await self.inside(loads)
        await self.inside(has_keys)
        third.signal("KILL")
        await self.inside(turns_red)
        first.signal("KILL")
        await self.inside(is_off)
        self.ground.start(1)
        self.ground.start(3)
        await self.inside(is_back)

    async def test_phone(self) -> None:
        """On a narrow screen nothing is wider than it, and no heading of a column is broken."""
        await self.mesh(3)
        browser = await self.browser()

        def fits() -> None:
            browser.resize(*PHONE)
            browser.open()
            browser.until(lambda: len(browser.all("#picture .node")) == 3)
            width = "return document.documentElement.scrollWidth"
            self.assertEqual(browser.driver.execute_script(width), PHONE[0])
            heights = {
                each for each in browser.all("#peers thead th", "offsetHeight") if each != "0"
            }
            self.assertEqual(len(heights), 1)
            self.assertLess(int(heights.pop()), 30)

        await self.inside(fits)

    async def test_transport(self) -> None:
        """What carries packets to a peer, and why, with and without JavaScript."""
        self.ground = Ground(self, 2)
        self.ground.change(1, networking__transport="udp")
        await self.ground.linked(2)
        why = "networking.transport is udp"
        for javascript in (True, False):
            browser = await self.browser(javascript=javascript)

            def shows(browser: Any = browser, javascript: bool = javascript) -> None:
                browser.open()
                browser.until(lambda: "UDP" in browser.all("#peers tbody td"))
                if javascript:
                    self.assertIn(why, browser.all("#peers tbody td", "title"))
                    body = browser.driver.find_element(By.TAG_NAME, "body")
                    body.send_keys(Keys.TAB, Keys.TAB)
                    browser.until(lambda: f"over UDP ({why})" in browser.one("#details"))

            await self.inside(shows)

    async def test_names(self) -> None:
        """Which names the node answers, and how often it was asked, with and without JavaScript; a
        node that answers none shows nothing of that."""
        dns: dict[str, Any] = {
            "networking__dns": {"domain": "mesh"},
            "clustering__node_groups": ["web"],
        }
        self.ground = Ground(self, 2)
        self.ground.change(1, **dns)
        await self.ground.linked(2)
        for javascript in (True, False):
            browser = await self.browser(javascript=javascript)

            def sees(browser: Browser = browser) -> None:
                browser.open()
                said = "below mesh, at 10.77.255.254, fd77::ffff:ffff:ffff:ffff"
                browser.until(lambda: browser.one("#domain") == f"{said}; groups of this node: web")
                with self.ground.namespace(1):
                    client = socket.socket(type=socket.SOCK_DGRAM)
                with client:
                    client.sendto(query("node2.mesh"), ("10.77.255.254", 53))
                browser.until(lambda: "answered" in browser.one("#names tbody"))
                self.assertEqual(browser.complaints(), [])

            await self.inside(sees)

    async def test_groups(self) -> None:
        """Which multicast groups who is in, while programs join and leave, with and without
        JavaScript."""
        self.ground = Ground(self, 2)
        for number in (1, 2):
            self.ground.change(number, networking__ipv4__enable_multicast=True)
        await self.ground.linked(2)
        for javascript in (True, False):
            browser = await self.browser(javascript=javascript)

            def sees(browser: Browser = browser) -> None:
                browser.open()
                browser.until(lambda: not browser.one("#multicast tbody"))
                with self.ground.namespace(2):
                    member = socket.socket(type=socket.SOCK_DGRAM)
                with member:
                    group = socket.inet_aton("239.1.2.3") + socket.inet_aton("10.77.0.2")
                    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
                    browser.until(lambda: "node2" in browser.one("#multicast tbody"))
                browser.until(lambda: "node2" not in browser.one("#multicast tbody"))
                self.assertEqual(browser.complaints(), [])

            await self.inside(sees)

    async def test_ways(self) -> None:
        """A node that is linked through another one has a dashed line, which the legend explains;
        networks outside the mesh and floating addresses have the names of those who have them; with
        and without JavaScript."""
        self.ground = Ground(self, 3)
        lan, vips = "192.0.2.0/24", ["10.77.0.100", "10.77.0.101"]
        self.ground.change(1, networking__accept_routes=[lan], networking__floating=vips)
        second = {"second": {"bootstrap_node_urls": ["https://10.99.0.2:4567"]}}
        self.ground.change(
            3,
            clustering__bootstrap_groups=second,
            networking__advertise=[lan],
            networking__floating=vips,
        )
        with self.ground.namespace(1):
            subprocess.run(["nft", "-f", "-"], input=_WALL, text=True, check=True)
        await self.ground.linked(3)
        for number, vip in ((1, vips[0]), (3, vips[1])):
            path = self.ground.directory / self.ground.plans[number - 1].socket
            claimed = await command(path, "address", "claim", vip, "--wait", "10")
            self.assertEqual(claimed.exit_code, 0, claimed.output)
        for javascript in (True, False):
            browser = await self.browser("--hide-scrollbars", javascript=javascript)

            def sees(browser: Browser = browser, javascript: bool = javascript) -> None:
                browser.resize(1200, 800)
                browser.open()
                browser.until(lambda: "192.0.2.0/24node3" in browser.all("#routes tbody tr"))
                browser.until(lambda: "node310.77.0.3, fd77::3, 10.77.0.101" in browser.all("th"))
                self.assertIn("via node2", browser.all("#peers tbody td"))
                self.assertIn("10.77.0.100", browser.one("#addresses"))
                if javascript:
                    browser.until(lambda: len(browser.all("#picture .link.good.relayed")) == 1)
                    self.assertEqual(
                        browser.style("#legend .relayed", "border-top-style"), "dashed"
                    )
                self.assertEqual(browser.complaints(), [])
                if Pictures.where:
                    kind = "" if javascript else "-plain"
                    browser.picture(Path(Pictures.where) / f"ways{kind}.png", "light", 1200)
                    browser.picture(
                        Path(Pictures.where) / f"ways{kind}-phone.png", "dark", PHONE[0]
                    )

            await self.inside(sees)

    async def test_without_javascript(self) -> None:
        """There is a table of the peers and no picture, and it is fresh a few seconds later."""
        await self.mesh(2)
        browser = await self.browser(javascript=False)

        def reads() -> None:
            browser.open()
            self.assertIn("node2", browser.one("#peers tbody"))
            self.assertFalse(browser.driver.find_element(By.ID, "mesh").is_displayed())
            before = browser.one("#about")
            browser.until(lambda: browser.one("#about") != before)
            self.assertEqual(browser.complaints(), [])

        await self.inside(reads)


class Pictures(Looking):
    """Those of the documentation, which are taken when somebody says where they shall go."""

    where = os.environ.get("TUNMESH_PICTURES", "")
    skip = missing() if where else "TUNMESH_PICTURES does not say where the pictures shall go"

    async def test_pictures(self) -> None:
        """Light, dark, and on a phone: a mesh with some traffic, of which a node just went."""
        *_, last = await self.mesh(6)
        browser = await self.browser("--hide-scrollbars", "--lang=en-GB")
        targets = [plan.ipv4 for plan in self.ground.plans[1:]]
        with self.ground.namespace(1):
            chatter = subprocess.Popen([sys.executable, "-c", _CHATTER, *targets])
        self.addCleanup(chatter.wait)
        self.addCleanup(chatter.kill)

        def sees_all() -> None:
            browser.resize(1200, 960)
            browser.open()
            browser.until(lambda: len(browser.all("#picture .node")) == 6)
            waiting = WebDriverWait(browser.driver, 150, 0.5)
            enough = 60  # samples
            waiting.until(
                lambda _: len(browser.all("#peers .rtt polyline", "points")[0].split()) > enough
            )

        def takes() -> None:
            browser.until(lambda: browser.all("#picture .node.gone"))
            for name, scheme, width in (
                ("light", "light", 1200),
                ("dark", "dark", 1200),
                ("phone", "light", PHONE[0]),
            ):
                browser.picture(Path(self.where) / f"{name}.png", scheme, width)

        await self.inside(sees_all)
        last.signal("KILL")
        await self.inside(takes)
