"""Work in a child process, and its result."""

from __future__ import annotations

import errno
import os
import signal
import sys

from twisted.trial import unittest

from tunmesh.host.helper_process import run_in_child


class HelperProcessTests(unittest.SynchronousTestCase):
    """A child process, as its caller sees it."""

    def test_result(self) -> None:
        """The result arrives whole, however long it is."""
        made = run_in_child(lambda: b"%d " % os.getpid() + bytes(1 << 20))
        pid, _, rest = made.partition(b" ")
        self.assertNotEqual(int(pid), os.getpid())
        self.assertEqual(len(rest), 1 << 20)

    def test_nothing_stays(self) -> None:
        """The child's imports are not in this process, and no child is left to wait for."""

        def imports() -> bytes:
            import colorsys  # a module that nothing else needs

            return str(colorsys.__file__).encode()

        self.assertTrue(run_in_child(imports))
        self.assertNotIn("colorsys", sys.modules)
        self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)

    def test_children_ignored(self) -> None:
        """A program that ignores the ends of its children may have started this one."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)
        self.assertEqual(run_in_child(lambda: b"made"), b"made")

    def test_failure(self) -> None:
        """A child that fails, or dies, has no result, and the caller does not wait for ever."""

        def fails() -> bytes:
            raise ValueError("no")

        self.assertEqual(run_in_child(fails), b"")
        self.assertEqual(run_in_child(lambda: os._exit(9)), b"")

    def test_no_more_processes(self) -> None:
        """Where there can be no child, there is no result; what is done meanwhile is done."""

        def fork() -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        self.patch(os, "fork", fork)
        done: list[str] = []
        before = len(os.listdir("/proc/self/fd"))
        self.assertEqual(run_in_child(lambda: b"made", lambda: done.append("meanwhile")), b"")
        self.assertEqual(done, ["meanwhile"])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
