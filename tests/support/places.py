"""Directories for tests' files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial import unittest


def short_directory(case: unittest.SynchronousTestCase) -> Path:
    """A directory that is removed with the test. Not trial's own: that is as deep as the checkout,
    and the path of a Unix socket has 107 bytes at most (sun_path in include/uapi/linux/un.h)."""
    directory = Path(tempfile.mkdtemp(prefix="tunmesh-test-"))
    case.addCleanup(shutil.rmtree, directory)
    return directory
