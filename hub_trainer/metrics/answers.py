"""What is reported of a model that writes: metrics of its answers and of likelihoods, compared.

N = sealed examples. Scores are per example and higher is better; those of a loss are minus the
example's loss, scaled so that their mean is minus the loss per token of all examples together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hub_trainer.metrics import load_metric, metric_spec
from hub_trainer.stats import (
    Comparison,
    Estimate,
    bca_interval,
    bootstrap_estimate,
    compare_scores,
    group_examples,
    resample,
    wilson_estimate,
)
from hub_trainer.stats.intervals import NUM_RESAMPLES, FloatArray, IntArray, Statistic


@dataclass(frozen=True)
class Sealed:
    """What is known of the right answer to one sealed prompt."""

    reference: str | None
    """An answer that is right; None where only a bad one is known."""
    expected: tuple[str, ...] = ()
    """What a good answer contains."""


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


def estimate_scores(name: str, scores: FloatArray, *, seed: int = 0) -> Estimate:
    """The mean score with its interval: Wilson for a share of examples, otherwise BCa."""
    if metric_spec(name).is_share:
        return wilson_estimate(int(scores.sum()), len(scores))
    (values,), counts = group_examples(scores)
    return bootstrap_estimate(_weighted_mean(values), counts, rng=np.random.default_rng(seed))


def estimate_losses(name: str, losses: Losses, *, seed: int = 0) -> Estimate:
    """Loss per token of all examples with a BCa interval over examples, or both exponentiated."""
    (nats, num_tokens), counts = group_examples(losses.nats, losses.num_tokens)
    statistic = _per_token("completion_loss", nats, num_tokens)
    rng = np.random.default_rng(seed)
    resampled = resample(statistic, counts, num_resamples=NUM_RESAMPLES, rng=rng)
    found = load_metric(name).compute(
        log_probs=(-losses.nats).tolist(), num_tokens=losses.num_tokens.tolist()
    )
    interval = bca_interval(statistic, counts, resampled)
    if name == "perplexity":
        low, high = math.exp(interval.low), math.exp(interval.high)
        interval = replace(interval, low=low, high=high)
    return Estimate(float(found[name]), interval, "bca", len(losses.nats))


def compare_answers(
    name: str, scores: FloatArray, baseline_scores: FloatArray, *, seed: int = 0
) -> Comparison:
    """Two models' (N,) scores under a metric of answers."""
    return replace(compare_scores(scores, baseline_scores, seed=seed), metric=name)


def compare_losses(name: str, losses: Losses, baseline: Losses, *, seed: int = 0) -> Comparison:
    """Two models' losses on the same references, tested by permutation of their scores."""
    assert np.array_equal(losses.num_tokens, baseline.num_tokens)
    tested = compare_scores(losses.scores, baseline.scores, seed=seed)
    (new, old, num_tokens), counts = group_examples(losses.nats, baseline.nats, losses.num_tokens)
    of_new, of_old = _per_token(name, new, num_tokens), _per_token(name, old, num_tokens)

    def difference(weights: FloatArray) -> FloatArray:
        return of_new(weights) - of_old(weights)

    rng = np.random.default_rng(seed)
    resampled = resample(difference, counts, num_resamples=NUM_RESAMPLES, rng=rng)
    whole = counts[None, :].astype(np.float64)
    return replace(
        tested,
        value=float(of_new(whole)[0]),
        baseline_value=float(of_old(whole)[0]),
        difference=float(difference(whole)[0]),
        interval=bca_interval(difference, counts, resampled),
        standard_error=float(np.std(resampled, ddof=1)),
        metric=name,
        lower_is_better=True,
    )


def byte_log_prob(text: str) -> float:
    """The logarithm of a text's probability to a model to which all bytes are as likely."""
    return -len(text.encode()) * math.log(256)


@dataclass(frozen=True)
class Measured:
    """One model under one metric, on the examples that the metric can score."""

    metric: str
    scores: FloatArray
    losses: Losses | None = None
    """Of a metric of likelihoods."""


def estimate(measured: Measured, *, seed: int = 0) -> Estimate:
    """The metric with its interval."""
    if measured.losses is not None:
        return estimate_losses(measured.metric, measured.losses, seed=seed)
    return estimate_scores(measured.metric, measured.scores, seed=seed)


def compare(new: Measured, baseline: Measured, *, seed: int = 0) -> Comparison:
    """Two models under the same metric."""
    if new.losses is not None and baseline.losses is not None:
        return compare_losses(new.metric, new.losses, baseline.losses, seed=seed)
    return compare_answers(new.metric, new.scores, baseline.scores, seed=seed)


def _weighted_mean(values: FloatArray) -> Statistic:
    def mean(weights: FloatArray) -> FloatArray:
        result: FloatArray = weights @ values / weights.sum(axis=1)
        return result

    return mean


def _per_token(name: str, nats: FloatArray, num_tokens: IntArray) -> Statistic:
    """Loss per token of the examples that the weights draw; its exponential for perplexity."""

    def measure(weights: FloatArray) -> FloatArray:
        loss: FloatArray = weights @ nats / (weights @ num_tokens)
        return np.exp(loss) if name == "perplexity" else loss

    return measure
