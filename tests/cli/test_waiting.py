"""`tunmesh wait`."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from tests.support.control import CLAIMED, HELD, FakeNode, command
from tunmesh.cli import waiting

reactor: Any = trial_reactor


class Waiting(unittest.TestCase):
    """`tunmesh wait`."""

    def setUp(self) -> None:
        self.node = FakeNode(self)
        self.patch(waiting, "LOOK", 100.0)  # only events end a wait, and no answer is too late

    async def test_met(self) -> None:
        """It ends at once if the condition is met."""
        wanted = ["--for", "tun", "--for", "ready", "--for", "peers=2", "--for", "10.77.1.3"]
        result = await command(self.node.path, "wait", *wanted)
        self.assertEqual((result.exit_code, result.output), (0, ""))

    async def test_address(self) -> None:
        """With static addresses an address is there as soon as the device is; automatic ones are
        waited for, with their state."""
        result = await command(self.node.path, "wait", "--for", "address", "--timeout", "0")
        self.assertEqual((result.exit_code, result.output), (0, ""))
        self.node.now = replace(self.node.now, automatic=(CLAIMED, HELD))
        result = await command(self.node.path, "wait", "--for", "address", "--timeout", "0")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no IPv6 address (claiming)", result.output)
        late = replace(HELD, is_on_device=False)
        self.node.now = replace(self.node.now, automatic=(late,))
        result = await command(self.node.path, "wait", "--for", "address", "--timeout", "0")
        self.assertIn("no IPv4 address (being put on the device)", result.output)
        self.node.now = replace(self.node.now, automatic=(HELD,))
        result = await command(self.node.path, "wait", "--for", "address", "--timeout", "0")
        self.assertEqual(result.exit_code, 0)

    async def test_in_time(self) -> None:
        """It ends as soon as the node tells of the event that meets the condition."""
        status = self.node.now
        self.node.now = replace(status, peers=())
        following = self.node.recent.listeners
        result = command(self.node.path, "wait", "--for", "peers=2")
        while not following:
            await _turn()
        self.node.now = status
        self.node.log.info("linked", event="linked")
        self.assertEqual((await result).exit_code, 0)

    async def test_too_late(self) -> None:
        """It gives up after its timeout, and says what was missing."""
        result = await command(self.node.path, "wait", "--for", "10.77.1.9", "--timeout", "0")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("waited 0 s for 10.77.1.9 in vain", result.output)

    async def test_how_far(self) -> None:
        """It shows its progress whenever that changes, and at the end."""
        status = self.node.now
        self.node.now = replace(status, peers=())
        following, lines, echo = self.node.recent.listeners, list[str](), click.echo

        def said(line: str, **options: Any) -> None:
            lines.append(line)
            echo(line, **options)

        self.patch(click, "echo", said)
        # The time is over when both have been said.
        clock = SimpleNamespace(monotonic=lambda: 1.5 * (len(lines) >= 2))
        self.patch(waiting, "time", clock)
        result = command(
            self.node.path, "wait", "--for", "peers=5", "--for", "ready", "--timeout", "1.5"
        )
        while not following:
            await _turn()
        self.node.now = status
        while not result.called:
            self.node.log.info("linked", event="linked")
            await _turn()
        first, second, last = (await result).stderr.splitlines()
        self.assertEqual(first, "waiting for peers=5: linked with 0 of 5")
        self.assertEqual(second, "waiting for peers=5: linked with 2 of 5")
        self.assertIn("tunmesh: waited 1.5 s for peers=5 in vain: linked with 2 of 5", last)

    async def test_no_node(self) -> None:
        """It also waits for a node to start."""
        path = self.node.directory / "none.sock"
        result = await command(path, "wait", "--for", "ready", "--timeout", "0")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no node answers at", result.output)

    async def test_nonsense(self) -> None:
        """A condition that does not exist is refused at once."""
        for wanted in ("peers=", "peers=-1", "rain", "10.77.1.0/24"):
            result = await command(self.node.path, "wait", "--for", wanted)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("is not tun, address, ready, peers=N or an IP address", result.output)


def _turn() -> Deferred[None]:
    """The reactor has turned once more."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned
