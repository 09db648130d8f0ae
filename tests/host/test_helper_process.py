"""Opening a file descriptor in a helper process, and reporting its failure."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial import unittest

from tunmesh.errors import OperatorError
from tunmesh.host.helper_process import open_in_child


class HelperProcessTests(unittest.SynchronousTestCase):
    """Opening in a child process, as its caller sees it."""

    def test_result(self) -> None:
        """The opened descriptor arrives and works, and is not inherited by programs that are
        started."""

        def open_pipe() -> list[int]:
            reading, writing = os.pipe()
            os.write(writing, b"from %d" % os.getpid())
            return [reading]

        (fd,) = open_in_child(open_pipe)
        self.addCleanup(os.close, fd)
        text = os.read(fd, 100)
        self.assertTrue(text.startswith(b"from "))
        self.assertNotEqual(text, b"from %d" % os.getpid())
        self.assertFalse(os.get_inheritable(fd))

    def test_nothing_stays(self) -> None:
        """The child's imports are not in this process, and no child is left to wait for."""

        def open_here() -> list[int]:
            import colorsys  # a module that nothing else needs

            return [os.open(colorsys.__file__, os.O_RDONLY)]

        (fd,) = open_in_child(open_here)
        os.close(fd)
        self.assertNotIn("colorsys", sys.modules)
        self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)

    def test_refusal(self) -> None:
        """The child's OperatorError arrives with its whole text."""

        def refuse() -> list[int]:
            raise OperatorError("networking/ipv4: no – not that one")

        error = self.assertRaises(OperatorError, open_in_child, refuse)
        self.assertEqual(str(error), "networking/ipv4: no – not that one")

    def test_death(self) -> None:
        """A child that dies without a word is an error too, and does not block for ever."""
        error = self.assertRaises(OperatorError, open_in_child, lambda: os._exit(9))
        self.assertIn("ended without a result", str(error))

    def test_pyroute2_not_loaded(self) -> None:
        """A node does not have pyroute2 in its memory."""
        code = "import sys, tunmesh.service; sys.exit('pyroute2' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)
