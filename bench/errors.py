"""A failure in a benchmark costs one cell of the table, never the whole run."""

from __future__ import annotations


class BenchError(Exception):
    """A contender or a tool failed; the text is one line that says how."""
