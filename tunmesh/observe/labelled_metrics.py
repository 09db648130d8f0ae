"""How metrics are made: the part of observe.metrics that knows none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.metrics_core import Metric

from tunmesh.status.traffic import Histogram


class LabelledMetrics:
    """What makes metrics that all have the base labels."""

    def __init__(self, base_labels: Mapping[str, str]) -> None:
        self._base_labels = dict(base_labels)

    def gauge(
        self,
        name: str,
        text: str,
        samples: Mapping[tuple[str, ...], float],
        labels: tuple[str, ...] = (),
    ) -> Metric:
        return self._fill(Metric(name, text, "gauge"), name, samples, labels)

    def counter(
        self,
        name: str,
        text: str,
        samples: Mapping[tuple[str, ...], float],
        labels: tuple[str, ...] = (),
    ) -> Metric:
        return self._fill(Metric(name, text, "counter"), f"{name}_total", samples, labels)

    def _fill(
        self,
        metric: Metric,
        sample: str,
        samples: Mapping[tuple[str, ...], float],
        labels: tuple[str, ...],
    ) -> Metric:
        """Add samples, each by the values of the metric's own labels."""
        for values, value in samples.items():
            metric.add_sample(sample, self._labels(labels, values), value)
        return metric

    def histogram(
        self,
        name: str,
        text: str,
        samples: Mapping[tuple[str, ...], Histogram],
        labels: tuple[str, ...] = (),
    ) -> Metric:
        metric = Metric(name, text, "histogram")
        for values, histogram in samples.items():
            own = self._labels(labels, values)
            buckets = histogram.cumulative()
            for bound, count in buckets:
                metric.add_sample(f"{name}_bucket", {**own, "le": bound}, count)
            metric.add_sample(f"{name}_count", own, buckets[-1][1])
            metric.add_sample(f"{name}_sum", own, histogram.sum)
        return metric

    def _labels(self, names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
        """The base labels and the metric's own, which win if both have a name."""
        return {**self._base_labels, **dict(zip(names, values, strict=True))}
