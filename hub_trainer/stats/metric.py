"""Metric of any kind: a number computed from one row of statistics per example.

N = examples, M = distinct rows, S = statistics of an example, B = resamples.

A metric sees an example only through its row: hit, support and prediction per label, edits and
words, nats and tokens. Nearly all are functions of the rows' sum; one that ranks examples, as AUROC
does, reads the rows themselves. In both forms it is measured on examples that
occur as often as weights say, which is all that a value, a bootstrap interval and a paired
permutation test need, so that one mechanism serves every metric.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.errors import DataError
from hub_trainer.stats.intervals import (
    NUM_RESAMPLES,
    Estimate,
    FloatArray,
    IntArray,
    Interval,
    Statistic,
    bootstrap_estimate,
    resample,
    wilson_estimate,
    wilson_interval,
)

Value = Callable[[FloatArray], FloatArray]
"""Sums of statistics (B, S) -> (B,)."""


def same(values: FloatArray) -> FloatArray:
    """The values as they are."""
    return values


@dataclass(frozen=True)
class Metric:
    """How examples' statistics become one number: by their sum, or by the rows themselves."""

    of_sums: Value | None = None
    of_rows: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    """For a metric that is no function of sums: rows (M, S), weights (B, M) -> (B,)."""
    scale: Value = same
    """Rising function from what is measured to what is shown, as exp for perplexity: intervals are
    made below it, where they are more symmetric, and their ends carried over."""
    lower_is_better: bool = False
    is_share: bool = False
    """The rows are (0 or 1, 1): a share of the examples, with Wilson's interval and McNemar's
    exact test, which draw nothing."""
    is_length: bool = False
    """`of_sums` adds up the sizes of all sums but the last, and divides by that. Chance makes such
    a value too large, so that its interval is one of `length_interval`."""
    num_deciding: Callable[[FloatArray, IntArray], int] | None = None
    """How many examples the value rests on, from rows (M, S) and their counts (M,), where that is
    fewer than all: for the interval of a value that no resample changes."""

    def __post_init__(self) -> None:
        assert (self.of_sums is None) != (self.of_rows is None)

    def measure(self, rows: FloatArray, weights: FloatArray) -> FloatArray:
        """(B,) below the scale, of examples that occur as often as the (B, M) weights say."""
        if self.of_rows is not None:
            return self.of_rows(rows, weights)
        assert self.of_sums is not None
        return self.of_sums(weights @ rows)


def ratio(sums: FloatArray) -> FloatArray:
    """(B,) the first sum over the second; 0 where that is 0."""
    zeros = np.zeros(len(sums))
    return np.divide(sums[:, 0], sums[:, 1], out=zeros, where=sums[:, 1] != 0)


MEAN = Metric(ratio)
"""The mean of graded scores; see `Statistics.of_scores`."""
SHARE = replace(MEAN, is_share=True)


@dataclass(frozen=True)
class Statistics:
    """The rows of N examples, each distinct row kept once."""

    rows: FloatArray
    """(M, S)"""
    row_of: IntArray
    """(N,) which row each example has."""

    @classmethod
    def of(cls, rows: ArrayLike) -> "Statistics":
        """From a row per example, (N, S). Raises DataError when there are none."""
        every = np.asarray(rows, dtype=np.float64)
        if not len(every):
            raise DataError(
                "there is nothing to score", got="no examples", do="give a test split rows"
            )
        distinct, row_of = np.unique(every, axis=0, return_inverse=True)
        return cls(distinct, row_of.reshape(-1).astype(np.int64))

    @classmethod
    def of_scores(cls, scores: ArrayLike) -> "Statistics":
        """From (N,) scores whose mean is meant."""
        values = np.asarray(scores, dtype=np.float64)
        return cls.of(np.stack([values, np.ones_like(values)], axis=1))

    @property
    def counts(self) -> IntArray:
        """(M,) examples of each row."""
        return np.bincount(self.row_of, minlength=len(self.rows)).astype(np.int64)

    def __len__(self) -> int:
        return len(self.row_of)


def measure(metric: Metric, statistics: Statistics) -> float:
    """The metric of all examples."""
    weights = statistics.counts[None, :].astype(np.float64)
    return float(metric.scale(metric.measure(statistics.rows, weights))[0])


def estimate(
    metric: Metric, statistics: Statistics, *, confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """The metric with its interval over examples: Wilson's for a share, otherwise BCa."""
    if metric.is_share:
        hits = int(statistics.rows[statistics.row_of, 0].sum())
        return wilson_estimate(hits, len(statistics), confidence)
    if metric.is_length:
        return _length_estimate(metric, statistics, confidence, seed)
    found = bootstrap_estimate(
        statistic_of(metric, statistics.rows),
        statistics.counts,
        confidence=confidence,
        rng=np.random.default_rng(seed),
    )
    if found.method == "wilson" and metric.num_deciding is not None:
        deciding = metric.num_deciding(statistics.rows, statistics.counts)
        interval = wilson_interval(found.value * deciding, deciding, confidence)
        found = replace(found, interval=interval)
    value, low, high = metric.scale(
        np.array([found.value, found.interval.low, found.interval.high])
    ).tolist()
    return replace(found, value=value, interval=replace(found.interval, low=low, high=high))


def _length_estimate(
    metric: Metric, statistics: Statistics, confidence: float, seed: int
) -> Estimate:
    assert metric.of_sums is not None
    of_sums, rows, counts = metric.of_sums, statistics.rows, statistics.counts
    whole = np.append((counts @ rows)[:-1], 0.0)

    def length_and_noise(weights: FloatArray) -> FloatArray:
        sums = weights @ rows
        return np.stack([of_sums(sums), of_sums(sums - whole)], axis=1)

    resampled = resample(
        length_and_noise, counts, num_resamples=NUM_RESAMPLES, rng=np.random.default_rng(seed)
    )
    value = measure(metric, statistics)
    interval = length_interval(value, resampled[:, 0], resampled[:, 1], confidence)
    return Estimate(value, interval, "length", len(statistics))


def length_interval(
    value: float, resampled: FloatArray, noise: FloatArray, confidence: float = 0.95
) -> Interval:
    """The interval of a length, which is 0 or more and too large by chance.

    noise: (B,) lengths of what resampling moved. By the triangle inequality no length is further
    under its value than that, which also holds where the true one is 0 and every resample is above
    the value: BCa intervals never cover that. The upper end is the basic bootstrap's.
    """
    low = value - np.quantile(noise, (1 + confidence) / 2)
    high = 2 * value - np.quantile(resampled, (1 - confidence) / 2)
    return Interval(max(0.0, float(low)), max(value, float(high)), confidence)


def statistic_of(metric: Metric, rows: FloatArray) -> Statistic:
    """What is measured, below the scale, as a function of the rows' weights alone."""
    return lambda weights: metric.measure(rows, weights)
