"""Directories for tests' files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial import unittest


def short_directory(case: unittest.SynchronousTestCase) -> Path:
    """A directory that is removed with the test, below one that every user may enter. Not trial's
    own, which is as deep as the checkout, nor where TMPDIR says: the path of a Unix socket has 107
    bytes at most (sun_path in include/uapi/linux/un.h), and nodes are another user."""
    directory = Path(tempfile.mkdtemp(prefix="tunmesh-test-", dir="/tmp"))
    case.addCleanup(shutil.rmtree, directory)
    return directory
