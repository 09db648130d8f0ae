"""Real nodes whose configs differ in details that should not matter, or should be reported."""

from __future__ import annotations

import os

from tests.real.test_mesh import MeshCase

LONGEST_NAME = "n" * 64


class SameSecretTests(MeshCase):
    """One secret, written in different ways."""

    nodes = 3

    async def test_line_ends(self) -> None:
        """Nodes link although their secrets differ in the white space that a Windows editor, YAML
        or a variable adds; so does a node with the longest possible host name."""
        secret = self.ground.secret.strip()
        (self.ground.directory / "secret").write_bytes(f"\ufeff{secret}\r\n".encode())
        self.ground.change(2, clustering__auth={"secret": f"{secret}\n"})
        self.ground.change(
            3, clustering__auth={"secret": "${MESH_SECRET}"}, clustering__node_name=LONGEST_NAME
        )
        first, second = self.ground.start(1), self.ground.start(2)
        environ = {**os.environ, "MESH_SECRET": f" {secret}\r\n"}
        third = self.ground.run(3, "--config", str(self.ground.config(3)), environ=environ)
        await first.logged("linked", peer="node2")
        for node in (first, second):
            await node.logged("linked", peer=LONGEST_NAME)
        await third.logged("ready")
        for node in (first, second, third):
            self.assertEqual(node.all_logged("doubtful_config"), [])
            self.assertEqual(node.all_logged("handshake_failed"), [])

    async def test_easy_to_guess(self) -> None:
        """A secret that is easy to guess is accepted, and each node warns about it when it
        starts."""
        for number in (1, 2):
            self.ground.change(number, clustering__auth={"secret": "password1" * 5})
        for node in await self.ground.linked(2):
            doubt = (await node.logged("doubtful_config"))["doubt"]
            self.assertIn("clustering/auth/secret: is a pattern that repeats or counts up", doubt)
