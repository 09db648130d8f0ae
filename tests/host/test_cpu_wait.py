"""The kernel's count of how long a thread has waited for a CPU."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.host.cpu_wait import CpuWait


class RunQueueTests(SynchronousTestCase):
    """Parsed from a file of this form, and from the kernel's own."""

    def queue(self, path: Path) -> CpuWait:
        queue = CpuWait(path)
        if queue._fd >= 0:
            self.addCleanup(os.close, queue._fd)
        return queue

    def test_again_and_again(self) -> None:
        """The second number is the count, in nanoseconds, and is read again each time."""
        path = Path(self.mktemp())
        path.write_text("1471000000 522500000 17\n")
        queue = self.queue(path)
        self.assertEqual(queue.waited(), 0.5225)
        path.write_text("9223372036854775807 9223372036854775807 9223372036854775807\n")
        self.assertApproximates(queue.waited(), 9223372036.85, 0.01)

    def test_no_count(self) -> None:
        """If the kernel keeps no count, the waiting time is 0."""
        self.assertEqual(self.queue(Path(self.mktemp())).waited(), 0.0)

    def test_real(self) -> None:
        """The times that this thread waited and ran add up to no more than the elapsed time."""
        queue = self.queue(Path("/proc/thread-self/schedstat"))
        began, before = time.monotonic(), time.thread_time() + queue.waited()
        while time.thread_time() % 0.02 < 0.01:
            pass
        after, ended = time.thread_time() + queue.waited(), time.monotonic()
        self.assertLessEqual(after - before, ended - began + 0.1)
