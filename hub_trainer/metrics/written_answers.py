"""Metrics of a model that writes: of its answers, likelihoods and preferences, with comparisons.

N = sealed examples. Scores are per example and higher is better; those of a loss are minus the
example's loss, scaled so that their mean is minus the loss per token of all examples together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hub_trainer import stats
from hub_trainer.metrics import load_metric, metric_spec
from hub_trainer.stats import Comparison, Estimate, Statistics
from hub_trainer.stats.intervals import FloatArray, IntArray


@dataclass(frozen=True)
class Sealed:
    """What is known of the right answer to one sealed prompt."""

    reference: str | None
    """An answer that is right; None where only a bad one is known."""
    expected: tuple[str, ...] = ()
    """What a good answer contains."""
    rejected: str | None = None
    """The answer that people liked less than the reference, where one was compared with it."""


@dataclass(frozen=True)
class Losses:
    """How unlikely the references are to one model, each (N,)."""

    nats: FloatArray
    """Minus the logarithm of each reference's probability."""
    num_tokens: IntArray
    """Tokens of each reference, the same for all models that are compared."""

    @property
    def scores(self) -> FloatArray:
        """(N,) with minus the loss per token for their mean."""
        scores: FloatArray = -self.nats * (len(self.nats) / self.num_tokens.sum())
        return scores


def can_be_scored(name: str, sealed: Sealed) -> bool:
    """Whether enough is known of the right answer for this metric."""
    if metric_spec(name).module == "json_schema":
        return True
    if metric_spec(name).needs == "preferences":
        return sealed.reference is not None and sealed.rejected is not None
    return sealed.reference is not None or (name == "contains" and bool(sealed.expected))


def score_answers(
    name: str,
    answers: Sequence[str],
    sealed: Sequence[Sealed],
    *,
    json_schema: dict[str, Any] | None = None,
) -> FloatArray:
    """(N,) scores in [0, 1] of answers under a metric of answers, by its evaluate module."""
    assert metric_spec(name).needs == "answers"
    found: dict[str, Any] = load_metric(name).compute(
        predictions=list(answers), **_given(name, sealed, json_schema)
    )
    return np.array(found["scores"], dtype=np.float64)


def score_preferences(name: str, chosen: Sequence[float], rejected: Sequence[float]) -> FloatArray:
    """(N,) scores of pairs, by the log-probabilities of their answers: 0 or 1, or nats."""
    assert metric_spec(name).needs == "preferences"
    found: dict[str, Any] = load_metric(name).compute(chosen=list(chosen), rejected=list(rejected))
    return np.array(found["scores"], dtype=np.float64)


def _given(
    name: str, sealed: Sequence[Sealed], json_schema: dict[str, Any] | None
) -> dict[str, Any]:
    if name == "json_schema":
        return {"schema": json_schema or {}}
    references = [one.reference or "" for one in sealed]
    if name == "contains":
        wanted = zip(sealed, references, strict=True)
        return {"references": [list(one.expected) or [text] for one, text in wanted]}
    return {"references": references}


def byte_log_prob(text: str) -> float:
    """The logarithm of a text's probability to a model to which all bytes are as likely."""
    return -len(text.encode()) * math.log(256)


@dataclass(frozen=True)
class Measured:
    """One model under one metric, on the examples that the metric can score."""

    metric: str
    scores: FloatArray
    losses: Losses | None = None
    """Present for a metric of likelihoods."""

    @property
    def statistics(self) -> Statistics:
        """What the metric is computed from: nats and tokens, or a score."""
        if self.losses is None:
            return Statistics.of_scores(self.scores)
        return Statistics.of(np.stack([self.losses.nats, self.losses.num_tokens], axis=1))


def estimate(measured: Measured, *, seed: int = 0) -> Estimate:
    """The metric with its interval over examples."""
    return stats.estimate(metric_spec(measured.metric).metric, measured.statistics, seed=seed)


def compare(new: Measured, baseline: Measured, *, seed: int = 0) -> Comparison:
    """Two models under the same metric; of losses, on the same tokens."""
    if new.losses is not None and baseline.losses is not None:
        assert np.array_equal(new.losses.num_tokens, baseline.losses.num_tokens)
    metric = metric_spec(new.metric).metric
    compared = stats.compare(metric, new.statistics, baseline.statistics, seed=seed)
    return replace(compared, metric=new.metric)
