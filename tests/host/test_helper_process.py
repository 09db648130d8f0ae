"""A file descriptor that another process opened, and what is said when it could not."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial import unittest

from tunmesh.errors import OperatorError
from tunmesh.host.helper_process import open_in_child


class ApartTests(unittest.SynchronousTestCase):
    """Opening in a child process, from the point of view of who needs the result."""

    def test_result(self) -> None:
        """What is opened arrives and works, and is not handed on to programs that are started."""

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
        """What the child imports is not in this process, and no child is left to wait for."""

        def open_here() -> list[int]:
            import colorsys  # something that nobody needs

            return [os.open(colorsys.__file__, os.O_RDONLY)]

        (fd,) = open_in_child(open_here)
        os.close(fd)
        self.assertNotIn("colorsys", sys.modules)
        self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)

    def test_refusal(self) -> None:
        """The operator's error arrives with its text, whole."""

        def refuse() -> list[int]:
            raise OperatorError("networking/ipv4: no – not that one")

        error = self.assertRaises(OperatorError, open_in_child, refuse)
        self.assertEqual(str(error), "networking/ipv4: no – not that one")

    def test_death(self) -> None:
        """A child that dies without a word is an error too, not a wait for ever."""
        error = self.assertRaises(OperatorError, open_in_child, lambda: os._exit(9))
        self.assertIn("ended without a result", str(error))

    def test_what_it_is_for(self) -> None:
        """A node does not have pyroute2 in its memory."""
        code = "import sys, tunmesh.service; sys.exit('pyroute2' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)
