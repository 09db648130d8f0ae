"""The suite draws the same in each run: in another process, and whatever that has imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial import unittest

ROOT = Path(__file__).parent.parent
# Draws what there is to draw, after these modules were imported, and prints it.
DRAW = """
import importlib, sys
import tests
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

for name in sys.argv[1:]:
    importlib.import_module(name)

@settings(max_examples=300)
@given(st.integers(), st.text(max_size=5), st.floats())
def draw(number, text, real):
    print(number, ascii(text), real)

class Machine(RuleBasedStateMachine):
    @rule(drawn=st.sampled_from(range(1000)))
    def draw(self, drawn):
        print(drawn)

draw()
run_state_machine_as_test(Machine, settings=settings(max_examples=tests.examples(20)))
"""


def drawn(*modules: str, **environment: str) -> str:
    """What a process draws that imports these modules."""
    without = {name: value for name, value in os.environ.items() if name != "TUNMESH_EXAMPLES"}
    ended = subprocess.run(
        (sys.executable, "-c", DRAW, *modules),
        env=without | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


class ExamplesTests(unittest.SynchronousTestCase):
    """The examples of hypothesis."""

    def test_same(self) -> None:
        """They are the same ones in each process."""
        one = drawn(PYTHONHASHSEED="1")
        other = drawn("tunmesh.node.node", "tunmesh.simulator.run", PYTHONHASHSEED="2")
        self.assertEqual(one, other)
        self.assertGreater(len(one.splitlines()), 500)

    def test_new(self) -> None:
        """TUNMESH_EXAMPLES has new ones drawn."""
        self.assertNotEqual(*(drawn(TUNMESH_EXAMPLES="20") for _ in range(2)))
