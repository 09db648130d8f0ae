"""Real nodes whose files change while they run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import deferLater

from tests.real.test_mesh import PATIENCE, MeshCase
from tests.support.certificates import DAY, Holder
from tests.support.realnode import OWNER, TUN, interfaces, reactor
from tunmesh.localmesh.pinger import Pinger
from tunmesh.localmesh.plan import CERTIFICATE, KEY
from tunmesh.service.reload import LOOK

NEW = "a new secret, which is long enough as well"
SHORT_SESSIONS: dict[str, Any] = {
    "process__timing": {
        "auth": {"session_max_age": 0.5},
        "registrations": {"groom_interval": 0.25},
    }
}


class ReloadTests(MeshCase):
    """Two linked nodes."""

    async def test_secret_and_certificate_under_traffic(self) -> None:
        """Secret and certificate are replaced step by step on both nodes, by HUP; once, one of them
        notices the change by itself. Sessions are short, so that links are renewed constantly, and
        every ping is answered."""
        old = self.ground.secret
        for number in (1, 2):
            self.ground.change(number, **SHORT_SESSIONS)
        nodes = await self.ground.linked(2)
        pinger = Pinger(reactor, self.ground.namespace(1), 4)
        self.addCleanup(pinger.close)
        renewed = Holder("mesh", end=90 * DAY)
        (self.ground.directory / "ca.pem").write_bytes(
            (self.ground.directory / CERTIFICATE).read_bytes() + renewed.pem()
        )
        for secrets, said in (
            ([old, NEW], "secret (offers the same one, also accepts 1 new)"),
            ([NEW, old], "secret (offers one that was accepted before, still accepts 1 other)"),
            ([NEW], "secret (offers the same one, revokes 1)"),
        ):
            for number, node in enumerate(nodes, start=1):
                self.ground.change(
                    number,
                    clustering__auth={"secrets": secrets},
                    control_api__ssl__ca_file_path="ca.pem",
                    **SHORT_SESSIONS,
                )
                if number == 1 or secrets[0] == NEW:
                    node.signal("HUP")
                self.assertTrue(await pinger.ping_once(self.address(2), PATIENCE))
                changed = (await node.logged("reloaded"))["changed"]
                self.assertIn(said, changed)
        (self.ground.directory / KEY).write_bytes(renewed.key_pem())
        (self.ground.directory / CERTIFICATE).write_bytes(renewed.pem())
        for node in nodes:
            node.signal("HUP")
            self.assertIn("certificate", (await node.logged("reloaded"))["changed"])
        for number, node in enumerate(nodes, start=1):
            metrics: Mapping[str, float] = {}
            while by_key(metrics) != {"1": 1}:
                self.assertTrue(await pinger.ping_once(self.address(2), PATIENCE))
                metrics = await self.ground.metrics(number)
            self.assertEqual(
                metrics["tunmesh_certificate_expiry_timestamp_seconds"],
                renewed.certificate.not_valid_after_utc.timestamp(),
            )
            self.assertEqual(node.all_logged("unlinked"), [], node.text)
            self.assertNotIn(NEW, node.text)

    async def test_bootstrap_list(self) -> None:
        """A node with a wrong bootstrap list finds its mesh once the list is corrected; with
        reload_config_on_bootstrap it checks before each attempt. The log level is reloaded too."""
        wrong = {"first": {"bootstrap_node_urls": ["https://10.99.0.77:4567"]}}
        quick = {"registrations": {"bootstrap_retry_interval": 0.1}}
        lost: dict[str, Any] = {
            "clustering__reload_config_on_bootstrap": True,
            "process__timing": quick,
            "logging": {"level": "warn", "format": "json"},
        }
        self.ground.change(2, clustering__bootstrap_groups=wrong, **lost)
        first, second = self.ground.start(1), self.ground.start(2)
        await second.logged("unreachable", host="10.99.0.77")
        self.assertEqual(second.all_logged("ready"), [])
        lost["logging"] = {"level": "info", "format": "json"}
        self.ground.change(2, **lost)
        await first.logged("linked", peer="node2")
        await second.logged("linked", peer="node1")
        self.assertTrue(await self.ping(1, 2))

    async def test_not_allowed(self) -> None:
        """If only root may read a secret file, it works at the start, and the node warns that it
        cannot be reloaded. When the file changes, the line names the file, the user who must read
        it and what to do; after that, the change is applied."""
        file = self.ground.directory / "secret"
        os.chown(file, 0, 0)
        node = self.ground.start(1)
        self.assertEqual((await node.logged("not_reloadable"))["files"], str(file))
        await node.logged("ready")
        file.write_text(NEW)
        node.signal("HUP")
        text = (await node.logged("reload_failed"))["text"]
        for piece in ("everything stays as it was", f"{file} cannot be read", "uid 65534"):
            self.assertIn(piece, text)
        self.assertNotIn("Traceback", node.text)
        os.chown(file, 0, OWNER.gid)
        file.chmod(0o640)
        changed = (await node.logged("reloaded"))["changed"]
        self.assertEqual(changed, "secret (offers a new one, revokes 1)")

    async def test_may_not_enter(self) -> None:
        """If the directory of the files cannot be entered, that is the reason given. Files that
        cannot be checked count as unchanged, so nothing is reported until HUP."""
        directory = self.ground.directory
        os.chown(directory, 0, 0)
        directory.chmod(0o700)
        self.addCleanup(directory.chmod, 0o700)
        node = self.ground.start(1)
        hint = (await node.logged("not_reloadable"))["hint"]
        self.assertEqual(
            hint, f"uid 65534 gid 65534 may not enter {directory}: chgrp 65534, chmod 750"
        )
        await node.logged("ready")
        await deferLater(reactor, 3 * LOOK)
        self.assertEqual(node.all_logged("reload_failed"), [])
        node.signal("HUP")
        self.assertIn(hint, (await node.logged("reload_failed"))["text"])
        os.chown(directory, 0, OWNER.gid)
        directory.chmod(0o750)
        self.assertEqual((await node.logged("reloaded"))["changed"], "")

    async def test_hung_mount(self) -> None:
        """A config that does not respond (here: a named pipe without a writer) blocks neither
        packets nor pages; the log says so, and again when it responds. A node that is told to leave
        meanwhile leaves."""
        first, second = await self.ground.linked(2)
        config = self.ground.config(1)
        text = config.read_bytes()
        pipe = config.with_name("pipe")
        os.mkfifo(pipe)
        pipe.chmod(0o644)
        pipe.rename(config)
        first.signal("HUP")
        event = await first.logged("files_hang")
        self.assertEqual(event["file"], str(config))
        for sender, receiver in ((1, 2), (2, 1)):
            self.assertTrue(await self.ping(sender, receiver))
        self.assertEqual((await self.ground.get("/livez"))[0], 200)
        self.assertEqual(second.all_logged("unlinked"), [])
        with open(os.open(config, os.O_WRONLY | os.O_NONBLOCK), "wb") as file:
            file.write(text.replace(b"level: debug", b"level: info"))
        self.assertEqual((await first.logged("files_answer"))["file"], str(config))
        await first.logged("reloaded")
        first.signal("HUP")
        self.assertTrue(await self.ping(2, 1))
        first.signal("TERM")
        self.assertEqual(await first.ended, 0)

    async def test_next_start(self) -> None:
        """Changes that need a restart are reported, and have no effect until then."""
        node = (await self.ground.linked(2))[0]
        self.ground.change(1, networking__tun_device_id="tun7")
        node.signal("HUP")
        self.assertEqual(
            (await node.logged("restart_needed"))["keys"], "tun_mesh/networking/tun_device_id"
        )
        self.assertTrue(await self.ping(2, 1))
        self.assertIn(TUN, interfaces(self.ground.namespace(1)))


def by_key(metrics: Mapping[str, float]) -> dict[str, float]:
    """The number of links by each key."""
    prefix = 'tunmesh_links_by_key{key_id="'
    return {
        name.removeprefix(prefix).rstrip('"}'): value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
