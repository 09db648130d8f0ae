"""Any config file is loaded, or refused with lines for a person."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.configs import ORIGINAL, SECRET, Case
from tunmesh.config.keys.root import key_paths
from tunmesh.config.lint.lint import lint
from tunmesh.config.loading import Config, ConfigError, load

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "${X}", "${HOME", "1..2s", "10.0.0.0/8", "::/0", "https://[::]:1", "\0", "🕳", SECRET]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


class Garbage(Case):
    """Any content is loaded as a config, or refused with lines for a person."""

    def survives(self, data: bytes) -> None:
        self.path.write_bytes(data)
        try:
            config = load(self.path, {"X": "x"}, random.Random(0).uniform)
        except ConfigError as error:
            self.assertTrue(error.report())
            for line in error.report():
                self.assertTrue(line.isprintable(), line)
                self.assertTrue(line.startswith(f"{self.path}:"), line)
        else:
            self.assertIsInstance(config, Config)
        with contextlib.suppress(ConfigError):
            findings = lint(self.path, {"X": "x"}, random.Random(0).uniform, 0.0)
            for problem in (*findings.errors, *findings.warnings):
                self.assertTrue(problem.at(self.path).isprintable(), problem)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def test_bytes(self, data: bytes) -> None:
        """Random bytes."""
        self.survives(data)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`,?#\\UuxX0\n \t\ud7ff", max_size=60))
    def test_syntax(self, text: str) -> None:
        """Random sequences of characters that are special in YAML."""
        self.survives(text.encode())

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(key_paths())), TREES)
    def test_values(self, path: tuple[str, ...], value: object) -> None:
        """Random values under each key of an otherwise valid file."""
        tree: dict[str, Any] = yaml.safe_load(ORIGINAL)
        place = tree
        for name in path[:-1]:
            place = place.setdefault("local" if name == "NAME" else name, {})
        place[path[-1]] = value
        self.survives(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(ORIGINAL)), st.integers(0, 40), st.text(max_size=5))
    def test_damage(self, start: int, length: int, text: str) -> None:
        """A random piece of a valid file replaced by random text."""
        damaged = ORIGINAL[:start] + text + ORIGINAL[start + length :]
        self.survives(damaged.encode("utf-8", "surrogatepass"))
