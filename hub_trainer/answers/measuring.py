"""Metrics with intervals, and two models compared, for an answer that gives statistics per example.

An answer says what each example contributes to a metric; how that becomes a value, an interval and
a p-value is the same for all (`hub_trainer.stats`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

from hub_trainer.answers import Prediction
from hub_trainer.stats import Comparison, Estimate, Metric, Statistics, compare, estimate


class ByStatistics(Protocol):
    """What `Measured` asks of metrics, from a table of them and the statistics of examples."""

    measures: ClassVar[Mapping[str, Metric]]
    """Name in `evaluate.metrics` -> how examples' statistics become its value."""

    @abstractmethod
    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example."""

    def estimates(
        self,
        metrics: Sequence[str],
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
        *,
        seed: int,
    ) -> dict[str, Estimate]:
        """Each metric with its interval over examples: Wilson for shares of them, otherwise BCa."""
        return {
            name: estimate(
                self.measures[name],
                self.statistics(name, references, found, names),
                seed=seed,
            )
            for name in metrics
        }

    def compare(
        self,
        metric: str,
        references: Sequence[Any],
        pair: tuple[Sequence[Prediction], Sequence[Prediction]],
        names: Sequence[str],
        *,
        seed: int,
    ) -> Comparison:
        """The new model's predictions against another's on the same examples."""
        new, other = (self.statistics(metric, references, found, names) for found in pair)
        return replace(compare(self.measures[metric], new, other, seed=seed), metric=metric)
