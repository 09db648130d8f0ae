"""Who has a port, and whether it is about to end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from twisted.trial import unittest

from tunmesh.errors import InUseError
from tunmesh.host import holders, tcp_ports, udp_ports


class Ports(unittest.SynchronousTestCase):
    def test_nobody(self) -> None:
        """Of a port that nobody listens on, it is not asked which files every process of the
        machine has open."""
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            (holder,) = holders.of_port(port)
            self.assertEqual(holder.pid, os.getpid())

        def all_files() -> Iterator[tuple[int, str, Path]]:
            raise AssertionError("it looked at all processes")

        self.patch(holders, "_open_files", all_files)
        self.assertEqual(holders.of_port(port), [])

    def test_in_use(self) -> None:
        """The error for a port that somebody has can be told from others, and names who has it."""
        with closing(socket.socket(socket.AF_INET6)) as taken:
            taken.bind(("::", 0))
            taken.listen()
            port = taken.getsockname()[1]
            error = self.assertRaises(InUseError, tcp_ports.bind, None, port)
        self.assertIn(f"pid {os.getpid()}", str(error))
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as taken:
            taken.bind(("::", 0))
            port = taken.getsockname()[1]
            error = self.assertRaises(InUseError, udp_ports.bind, None, port)
        self.assertIn(f"pid {os.getpid()}", str(error))
        self.assertIn("networking/transport: tcp", str(error))


class Ends(unittest.SynchronousTestCase):
    def test_ending(self) -> None:
        """A process that was killed is ending, until it is gone, and then."""
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        self.assertFalse(holders.is_ending(child))
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        self.assertTrue(holders.is_ending(child))
        os.waitpid(child, 0)
        self.assertTrue(holders.is_ending(child))
