"""Metrics in Prometheus' text format, version 0.0.4.

    # HELP NAME TEXT
    # TYPE NAME gauge                          or counter, histogram
    NAME{LABEL="VALUE",OTHER="VALUE"} 1.0      for each sample, with its labels in order

prometheus-client would write the same, with an HTTP server and a registry that a node has no use
for: 1.3 MB, and 11 ms of each start. Its parser reads this text in the tests.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_IN_TEXT = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_VALUE = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Metric:
    """A metric of one kind, with its samples. `name`: without the suffixes of the samples."""

    def __init__(self, name: str, text: str, kind: str) -> None:
        self.name = name
        self.text = text
        self.kind = kind
        self.samples: list[tuple[str, dict[str, str], float]] = []

    def add_sample(self, name: str, labels: Mapping[str, str], value: float) -> None:
        self.samples.append((name, dict(labels), value))


def text_of(metrics: Iterable[Metric]) -> bytes:
    """All of them as text."""
    return "".join(line for metric in metrics for line in _lines(metric)).encode()


def _lines(metric: Metric) -> Iterable[str]:
    named = f"{metric.name}_total" if metric.kind == "counter" else metric.name
    yield f"# HELP {named} {metric.text.translate(_IN_TEXT)}\n"
    yield f"# TYPE {named} {metric.kind}\n"
    for name, labels, value in metric.samples:
        pairs = ",".join(f'{key}="{labels[key].translate(_IN_VALUE)}"' for key in sorted(labels))
        yield f"{name}{{{pairs}}} {_number(value)}\n" if pairs else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
