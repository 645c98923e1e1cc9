"""Verdict on a new model: candidates measured on the sealed examples, and what the gate decides.

Labels, numbers and written answers come to it in one shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hub_trainer.reports import BaselineResult, ComparisonResult, Metrics, Results
from hub_trainer.stages.evaluate.trained_round import TrainedRound
from hub_trainer.stats import (
    Comparison,
    Floor,
    GateDecision,
    GateRule,
    decide,
    decide_first,
    mcnemar,
)
from hub_trainer.stats.gate import Against
from hub_trainer.stats.intervals import FloatArray


@dataclass(frozen=True)
class Candidate:
    """A model that the new one is compared with, or a stand-in for one."""

    against: Against
    description: str
    metrics: Metrics
    scores: FloatArray
    """(N,) a score per example in the primary metric, higher is better."""
    compare: Callable[[], Comparison]
    """The new model against it in the primary metric; it takes a while."""


@dataclass(frozen=True)
class Measurement:
    """The new model beside its candidates on N sealed examples."""

    metrics: Metrics
    scores: FloatArray
    """(N,), as those of a candidate."""
    published: Candidate | None
    """None before the first promotion."""
    baselines: Sequence[Candidate]
    """What is reached without this round's training; a first model is tested against the first of
    them, and may not be below any other."""
    slices: Mapping[str, Sequence[Any]]
    """Column -> the group of each example."""

    @cached_property
    def comparison(self) -> Comparison | None:
        """The new model against the published one."""
        return self.published.compare() if self.published else None


def judge(trained: TrainedRound, measured: Measurement, *, num_examples: int) -> Results:
    """Results with the gate's decision; what only one kind of model has is added by the caller."""
    baselines = [
        BaselineResult(
            "constant" if one.against == "baseline" else one.against, one.description, one.metrics
        )
        for one in measured.baselines
    ]
    decision = _decide(trained.rule, measured, seed=trained.recipe.train.seed)
    rule = {"alpha": trained.rule.alpha, "look": trained.rule.num_looks + 1}
    return Results(
        primary=trained.recipe.evaluate.primary,
        metrics=measured.metrics,
        num_examples=num_examples,
        gate={**decision.as_dict(), **rule},
        published=measured.published.metrics if measured.published else None,
        baselines=baselines,
        comparison=_compared(measured),
    )


def _decide(rule: GateRule, measured: Measurement, *, seed: int) -> GateDecision:
    if measured.published is None or measured.comparison is None:
        first, *others = measured.baselines
        return decide_first(
            measured.scores,
            first.scores,
            rule=rule,
            against=first.against,
            comparison=first.compare(),
            floors=[Floor(one.against, one.compare()) for one in others],
            seed=seed,
        )
    return decide(
        measured.scores,
        measured.published.scores,
        rule=rule,
        slices=measured.slices,
        comparison=measured.comparison,
        seed=seed,
    )


def _compared(measured: Measurement) -> ComparisonResult | None:
    """The comparison; where every score is right or wrong, with McNemar's test of those."""
    comparison, published = measured.comparison, measured.published
    if comparison is None or published is None:
        return None
    new, old = measured.scores, published.scores
    are_hits = set(new.tolist()) | set(old.tolist()) <= {0.0, 1.0}
    interval = comparison.interval
    return ComparisonResult(
        p_value=comparison.p_value,
        difference={
            "value": comparison.difference,
            "low": interval.low,
            "high": interval.high,
        },
        method=comparison.method,
        mcnemar_p_value=mcnemar(new > 0, old > 0).p_value if are_hits else None,
    )
