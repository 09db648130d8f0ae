"""Finding out what keeps a user from reading a file."""

from __future__ import annotations

import os

from twisted.trial import unittest

from tests.support.places import short_directory
from tunmesh.host import access

UID, GID, STRANGER = 4001, 4002, 4003


class AccessTests(unittest.SynchronousTestCase):
    """A file three directories deep, with various modes."""

    def setUp(self) -> None:
        top = short_directory(self)
        self.outer, self.inner = top / "outer", top / "outer" / "inner"
        self.inner.mkdir(parents=True)
        self.file = self.inner / "secret"
        self.file.write_text("s")
        for path in (top, self.outer, self.inner):
            path.chmod(0o755)
        self.file.chmod(0o644)
        self.can = access.as_user(UID, GID)

    def test_free(self) -> None:
        """A file that all users may read has no obstacle, nor has a missing file."""
        self.assertIsNone(access.obstacle(self.file, self.can))
        self.assertIsNone(access.obstacle(self.file.with_name("none"), self.can))
        self.assertIsNone(access.obstacle(self.file))

    def test_obstacles(self) -> None:
        """The outermost obstacle is named, even behind a symbolic link."""
        link = self.outer.parent / "link"
        link.symlink_to(self.file)
        for path in (self.file, self.inner, self.outer):
            path.chmod(0o600)
            self.addCleanup(path.chmod, 0o700)
            for name in (self.file, link):
                self.assertEqual(access.obstacle(name, self.can), path)

    def test_group(self) -> None:
        """A group's permissions apply to the group, and to no other user."""
        if os.geteuid() != 0:
            raise unittest.SkipTest("giving a file to another group takes root")
        os.chown(self.file, 0, GID)
        self.file.chmod(0o640)
        self.assertIsNone(access.obstacle(self.file, self.can))
        self.assertEqual(access.obstacle(self.file, access.as_user(STRANGER, STRANGER)), self.file)

    def test_lookups(self) -> None:
        """Of the files used for name resolution, unreadable ones are named."""
        files = [self.file, self.file.with_name("none")]
        self.assertEqual(access.locked_lookups(files, self.can), [])
        self.file.chmod(0o600)
        self.assertEqual(access.locked_lookups(files, self.can), [str(self.file)])
