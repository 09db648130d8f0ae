"""Log lines are written or dropped, and their writer never waits."""

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
        """All that is in the pipe."""
        os.set_blocking(self.reader, False)
        pieces = []
        try:
            while True:
                pieces.append(os.read(self.reader, 1 << 16))
        except BlockingIOError:
            return b"".join(pieces).decode()

    def fill(self) -> int:
        """Write lines until one is lost; the number of those before it."""
        written = 0
        while not self.output.write(LINE):
            written += 1
        return written

    def test_written(self) -> None:
        """While the reader reads, everything arrives, also text that is longer than one write may
        be, or that cannot be encoded."""
        for text in ("hello\n", "\N{SNOWMAN}" * 10_000 + "\n", "\udcff\n"):
            self.assertEqual(self.output.write(text), "")
            self.assertEqual(self.read_all(), text.replace("\udcff", "\\udcff"))

    def test_full(self) -> None:
        """When the pipe is full, lines are lost at once, with a reason. Lines before are complete,
        and so are those after it has been read."""
        written = self.fill()
        self.assertGreater(written * len(LINE), 32_000)
        self.assertEqual(self.output.write(LINE), BLOCKED)
        self.assertEqual(self.read_all(), LINE * written)
        self.assertEqual(self.output.write("back\n"), "")
        self.assertEqual(self.read_all(), "back\n")

    def test_cut(self) -> None:
        """When the reader stops in the middle of a line, the next one begins on a line of its
        own."""
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
        """So is a full disk."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        self.assertEqual(NonblockingOutput(full).write(LINE), "No space left on device")

    def test_flags(self) -> None:
        """For others that have the file open it stays blocking."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        NonblockingOutput(writer).write(LINE)
        self.assertTrue(os.get_blocking(writer))
