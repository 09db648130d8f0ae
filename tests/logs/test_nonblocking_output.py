"""Log lines go out, or are dropped: whoever writes them never waits."""

from __future__ import annotations

import os

from twisted.trial import unittest

from tunmesh.logs.nonblocking_output import BLOCKED, NonblockingOutput

LINE = "x" * 99 + "\n"


class NonblockingOutputTests(unittest.SynchronousTestCase):
    """A pipe between the output and a reader that may not read."""

    def setUp(self) -> None:
        self.reader, writer = os.pipe()
        self.addCleanup(self.close)
        self.addCleanup(os.close, writer)
        self.output = NonblockingOutput(writer)

    def close(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def read_all(self) -> str:
        """All that waits in the pipe."""
        os.set_blocking(self.reader, False)
        pieces = []
        try:
            while True:
                pieces.append(os.read(self.reader, 1 << 16))
        except BlockingIOError:
            return b"".join(pieces).decode()

    def fill(self) -> int:
        """Write lines until one is lost: how many were not."""
        written = 0
        while not self.output.write(LINE):
            written += 1
        return written

    def test_written(self) -> None:
        """While somebody reads, everything arrives: also what is longer than one write
        may be, and what is no text."""
        for text in ("hello\n", "\N{SNOWMAN}" * 10_000 + "\n", "\udcff\n"):
            self.assertEqual(self.output.write(text), "")
            self.assertEqual(self.read_all(), text.replace("\udcff", "\\udcff"))

    def test_full(self) -> None:
        """When the pipe is full, lines are lost at once, with a reason; what was written before is
        whole, and so is what comes when the pipe has been read."""
        written = self.fill()
        self.assertGreater(written * len(LINE), 32_000)
        self.assertEqual(self.output.write(LINE), BLOCKED)
        self.assertEqual(self.read_all(), LINE * written)
        self.assertEqual(self.output.write("back\n"), "")
        self.assertEqual(self.read_all(), "back\n")

    def test_cut(self) -> None:
        """A line that the reader stops to take halfway ends there: the next begins on its own."""
        long = "y" * 1_000_000 + "\n"
        self.assertEqual(self.output.write(long), BLOCKED)
        self.assertTrue(long.startswith(self.read_all()))
        self.assertEqual(self.output.write("next\n"), "")
        self.assertEqual(self.read_all(), "\nnext\n")
        self.assertEqual(self.output.write("more\n"), "")
        self.assertEqual(self.read_all(), "more\n")

    def test_nobody(self) -> None:
        """A reader that is gone is a reason, not an exception."""
        self.close()
        self.assertEqual(self.output.write(LINE), "Broken pipe")

    def test_disk_full(self) -> None:
        """So is a disk without room."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        self.assertEqual(NonblockingOutput(full).write(LINE), "No space left on device")

    def test_flags(self) -> None:
        """Whoever shares the open file finds it as it was: blocking."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        NonblockingOutput(writer).write(LINE)
        self.assertTrue(os.get_blocking(writer))
