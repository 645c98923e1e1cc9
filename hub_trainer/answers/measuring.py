"""Metrics with intervals, and two models compared, for an answer that gives statistics per example.

An answer says what each example contributes to a metric; how that becomes a value, an interval and
a p-value is the same for all (`hub_trainer.stats`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from hub_trainer.answers import Prediction
from hub_trainer.stats import Comparison, Estimate, Metric, Statistics, compare, estimate


class HasStatistics(Protocol):
    """An answer as far as measuring it goes."""

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example."""


def estimate_each(
    answer: HasStatistics,
    metrics: Mapping[str, Metric],
    references: Sequence[Any],
    found: Sequence[Prediction],
    names: Sequence[str],
    *,
    seed: int,
) -> dict[str, Estimate]:
    """Each metric with its interval over examples."""
    return {
        name: estimate(metric, answer.statistics(name, references, found, names), seed=seed)
        for name, metric in metrics.items()
    }


def compare_pair(
    answer: HasStatistics,
    metric: tuple[str, Metric],
    references: Sequence[Any],
    pair: tuple[Sequence[Prediction], Sequence[Prediction]],
    names: Sequence[str],
    *,
    seed: int,
) -> Comparison:
    """The new model's predictions against another's on the same examples."""
    name, measure = metric
    new, other = (answer.statistics(name, references, found, names) for found in pair)
    return replace(compare(measure, new, other, seed=seed), metric=name)
