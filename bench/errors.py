"""What goes wrong in a benchmark costs one cell of the table, never the run."""

from __future__ import annotations


class BenchError(Exception):
    """A contender or a tool did not do what it should have done: one line that says what."""
