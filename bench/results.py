"""Results: one sample for each contender, scenario and round; medians, spread and ratios.

A ratio is taken within each round, where both contenders were measured a few seconds apart, so that
a disturbance of the machine affects both. The median of these is the ratio.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One figure of one contender in one round."""

    round: int
    contender: str
    figure: str
    value: float


@dataclass(frozen=True)
class Summary:
    """Over all rounds: the median, and half of the range relative to it."""

    median: float
    spread: float


@dataclass
class Results:
    """The results of a run."""

    machine: Mapping[str, str]
    about: dict[str, str] = field(default_factory=dict)
    """Descriptions by contender."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions by contender, with the year except for our own."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why there are no results, by contender or "contender scenario"."""
    samples: list[Sample] = field(default_factory=list)

    def label(self, contender: str) -> str:
        """The contender's name, with its version if it has one."""
        return " ".join(filter(None, (contender, self.versions.get(contender))))

    def values(self, contender: str, figure: str) -> dict[int, float]:
        """The values by round."""
        return {
            sample.round: sample.value
            for sample in self.samples
            if (sample.contender, sample.figure) == (contender, figure)
        }

    def summary(self, contender: str, figure: str) -> Summary | None:
        """None if it was not measured."""
        values = self.values(contender, figure).values()
        return summary(values) if values else None

    def ratio(self, one: tuple[str, str], other: tuple[str, str]) -> float | None:
        """The median over the rounds of one (contender, figure) divided by the other; None if there
        is no round with both."""
        ratios = self.ratios(one, other)
        return median(ratios) if ratios else None

    def ratios(self, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
        """The ratio in each round."""
        above, below = self.values(*one), self.values(*other)
        return [above[number] / below[number] for number in above if below.get(number)]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        fields = json.loads(path.read_text())
        fields["samples"] = [Sample(**sample) for sample in fields["samples"]]
        return cls(**fields)


def summary(values: Iterable[float]) -> Summary:
    """Summarize at least one value."""
    ordered = sorted(values)
    middle = median(ordered)
    half = (ordered[-1] - ordered[0]) / 2
    return Summary(middle, half / abs(middle) if middle else 0.0)
