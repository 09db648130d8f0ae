"""Who has a port."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from twisted.trial import unittest

from tunmesh.host import holders


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
