"""A node's own record."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial import unittest

from tests.observe.test_metrics import record_of
from tunmesh.membership.me import Me


class MeTests(unittest.SynchronousTestCase):
    """One record, which only its owner changes."""

    def test_stands(self) -> None:
        """A node starts as a new one that is not settled. Nothing else of its record changes, and
        a record that was asked for before stays as it was."""
        record = record_of("alpha", 1)
        me = Me(record)
        self.assertEqual((me.id, me.record, me.is_new), (record.id, record, True))
        me.seniority_changed(is_new=False, is_settled=True)
        self.assertEqual(me.record, replace(record, settled=True))
        self.assertFalse(me.is_new)
        self.assertFalse(record.settled)
