"""`tunmesh secret rotate`: the step of the rotation that it reports, next to a node that is linked
by the old or the new secret."""

from __future__ import annotations

from dataclasses import replace

from click.testing import CliRunner
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support.configs import MINIMAL, SECRET
from tests.support.control import EPOCH, FakeNode
from tunmesh.cli import rotation
from tunmesh.cli.main import main
from tunmesh.node import links
from tunmesh.status.peers import REVOKED, DialStatus, LostNode, key_labels


class RotateCase(unittest.TestCase):
    """A node with two peers, and its config."""

    def setUp(self) -> None:
        self.node = FakeNode(self)
        self.directory, self.socket = self.node.directory, self.node.path
        for name in ("cert.pem", "key.pem"):
            (self.directory / name).write_text("")
        self.path = self.directory / "config.yaml"
        self.old = self.directory / "secret"
        self.old.write_text(SECRET)
        self.old.chmod(0o640)
        self.configure("secret_file: secret")

    def configure(self, source: str) -> None:
        self.path.write_text(MINIMAL.replace(f"secret: {SECRET}", source))

    def links(self, valid: int, *key_ids: str, age: float = 60.0) -> None:
        """The number of valid secrets, and the secret that each peer is linked by."""
        now = self.node.now
        peers = tuple(
            replace(peer, key_id=key_id, since=now.now - age)
            for peer, key_id in zip(now.peers, key_ids, strict=True)
        )
        self.node.now = replace(now, key_ids=key_labels(valid), peers=peers)

    async def rotate(self, *options: str, code: int = 0) -> str:
        """Its output as one line; the whole output is checked as well."""
        line = ["secret", "rotate", "--config", str(self.path), *options]
        line += ["--socket", str(self.socket)]
        result = await deferToThread(CliRunner().invoke, main, line)
        said: str = result.output
        self.assertEqual(result.exit_code, code, said)
        self.assertNotIn("Traceback", said)
        for file in self.directory.glob("secret*"):
            self.assertNotIn(file.read_text().strip(), said)
        if code == 0:
            long = [each for each in said.splitlines() if len(each) > 80]
            self.assertEqual([each for each in long if str(self.directory) not in each], [])
        return " ".join(said.split())


class StepTests(RotateCase):
    """The steps from one secret to the next."""

    async def test_none(self) -> None:
        """With one secret, used by all links, no rotation is under way, and nothing is created."""
        self.links(1, "1", "1")
        before = sorted(self.directory.iterdir())
        said = await self.rotate()
        self.assertIn("This node is linked with 2 peers, all by the one secret", said)
        self.assertIn("tunmesh secret rotate --make", said)
        self.assertEqual(sorted(self.directory.iterdir()), before)

    async def test_make(self) -> None:
        """The new secret is written to a file next to the old one, with the same permissions, and
        the lines for the config are shown. It is made only once; the next run shows the state."""
        self.links(1, "1", "1")
        said = await self.rotate("--make")
        new = self.directory / "secret-2"
        self.assertIn(f"made {new}: on this node", said)
        self.assertIn("secret_files: - secret-2 # the new one - secret # accepted", said)
        self.assertRegex(new.read_text(), r"\A[0-9a-f]{64}\n\Z")
        found, old = new.stat(), self.old.stat()
        self.assertEqual(found.st_mode, old.st_mode)
        self.assertEqual((found.st_uid, found.st_gid), (old.st_uid, old.st_gid))
        first = new.read_text()
        self.assertIn(f"{new}: is made already", await self.rotate("--make", code=1))
        self.assertEqual(new.read_text(), first)
        said = await self.rotate()
        self.assertIn("Step 1 of 4: the new secret is made, and not in the config yet.", said)
        self.assertIn("secret_files: - secret-2", said)
        self.configure("secret_files: [secret-2, secret]")
        self.assertIn("a change is under way", await self.rotate("--make", code=1))

    async def test_make_without_a_node(self) -> None:
        """A file can be made without a running node; showing the state needs one."""
        self.socket = self.directory / "nobody"
        self.assertIn("made ", await self.rotate("--make"))
        self.assertIn("no node answers", await self.rotate(code=1))

    async def test_make_next(self) -> None:
        """The successor of `secret-2` is `secret-3`; that of a `secret` in another directory is
        created there."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_file: secret-2")
        self.assertIn("- secret-3 # the new one - secret-2 #", await self.rotate("--make"))
        self.assertTrue((self.directory / "secret-3").exists())
        other = self.directory / "elsewhere"
        other.mkdir()
        (other / "mesh").write_text(SECRET)
        self.configure(f"secret_file: {other}/mesh")
        self.assertIn(f"- {other}/mesh-2 # the new one", await self.rotate("--make"))

    async def test_cannot_be_made(self) -> None:
        """A file that cannot be written is named, and nothing is left of it."""
        long = self.directory / ("s" * 255)
        self.old.rename(long)
        self.configure(f"secret_file: {long.name}")
        before = sorted(self.directory.iterdir())
        said = await self.rotate("--make", code=1)
        self.assertIn(f"{long}-2: cannot be written: File name too long", said)
        self.assertEqual(sorted(self.directory.iterdir()), before)

    async def test_inline(self) -> None:
        """If the secret is in the config itself, the new one is made next to the config, and the
        output contains no secret."""
        self.old.unlink()
        self.configure(f"secret: {SECRET}")
        said = await self.rotate("--make")
        self.assertIn(f"made {self.directory}/secret-2", said)
        self.assertIn('secrets: - "…" # what is in', said)
        self.links(2, "1", "1")
        new = (self.directory / "secret-2").read_text().strip()
        self.configure(f"secrets: [{new}, {SECRET}]")
        said = await self.rotate()
        self.assertIn("Step 3 of 4", said)
        self.assertIn('secret: "…" # the one that is first now', said)
        self.assertNotIn(SECRET, said)

    async def test_not_read_yet(self) -> None:
        """If the node has not yet loaded all secrets of its config, the output says that it is
        waited for."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_files: [secret-2, secret]")
        self.links(1, "1", "1")
        self.assertIn("has 2 secrets, and this node goes by 1", await self.rotate())

    async def test_order(self) -> None:
        """If the new secret comes after the old one, no one can tell which nodes have it: it must
        be the first."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_files: [secret, secret-2]")
        self.links(2, "1", "1")
        self.assertIn(
            "secret-2 (place 2) is the new secret, but not the first", await self.rotate()
        )

    async def test_wait(self) -> None:
        """Peers that are linked by the old secret are named, with the time until they reconnect;
        those that connected after the config changed are marked."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_files: [secret-2, secret]")
        self.links(2, "2", "1", age=600.0)
        of = rotation.Configured.of

        def changed(ago: float) -> None:
            """The files are new, but the node's clock says EPOCH."""
            self.patch(
                rotation.Configured,
                "of",
                lambda path, config: replace(of(path, config), changed=EPOCH - ago),
            )

        changed(300.0)
        said = await self.rotate()
        self.assertIn("Step 2 of 4", said)
        self.assertIn("By the new one, secret-2 (place 1): 1 peer.", said)
        self.assertRegex(said, r" bravo 2 10m 51m ")
        self.assertNotIn("*", said)
        self.assertIn("What ends then: links with nodes that do not have the new one, 1h1m", said)
        changed(900.0)
        self.assertRegex(await self.rotate(), r" bravo 2 10m 51m \* ")

    async def test_all_have_it(self) -> None:
        """Once all peers are linked by the new secret, the old one may be removed, and the output
        says what will end then."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_files: [secret-2, secret]")
        self.links(2, "1", "1")
        self.node.now = replace(self.node.now, expected_nodes=3)
        said = await self.rotate()
        self.assertIn("Step 3 of 4: the old secret may go.", said)
        self.assertIn("secret_file: secret-2 and delete", said)
        self.assertIn(f"delete {self.old}.", said)
        self.node.now = replace(self.node.now, expected_nodes=4)
        self.assertIn("may go, as far as this node sees. All links", await self.rotate())

    async def test_alone(self) -> None:
        """A node without peers does not say that the old secret may be removed."""
        (self.directory / "secret-2").write_text(SECRET[::-1])
        self.configure("secret_files: [secret-2, secret]")
        self.node.now = replace(self.node.now, key_ids=key_labels(2), peers=())
        said = await self.rotate()
        self.assertIn("linked with nobody, so it cannot say who has the new secret", said)
        self.assertNotIn("may go", said)

    async def test_unseen(self) -> None:
        """Nodes that are not linked with this one are counted, and named if they are known."""
        self.links(1, "1", "1")
        dial = DialStatus("delta", False, "192.0.2.4:4567", 3, "refused", 4.2)
        lost = LostNode("echo", "192.0.2.5:4567", 60.0, False, 1, "refused", 4.2)
        now = replace(self.node.now, expected_nodes=5, dials=(dial,), lost=(lost,))
        self.node.now = now
        said = await self.rotate()
        self.assertIn("Not linked with this node, so not seen by it: delta, echo.", said)
        self.assertIn("Of 5 nodes that are expected, 3 are in this mesh.", said)

    async def test_ending(self) -> None:
        """Links by the removed secret are listed until they are closed."""
        self.links(1, "1", REVOKED, age=600.0)
        said = await self.rotate()
        self.assertIn("Step 4 of 4", said)
        self.assertRegex(said, r" charlie 10m 51m ")

    def test_grace(self) -> None:
        """The time until then is that of the node."""
        self.assertEqual(rotation.GRACE, links.REVOCATION)
