"""Every label metric from three counts per label, for thousands of resamples at once.

B = resamples, M = cells (pairs of reference and prediction), K = labels. The values are those of
the evaluate modules next door, to which a test holds them; those compute one number, these a
distribution. Where a label has nothing to divide by (never predicted, no example) its score is 0.
Macro averages run over the labels that occur in references or predictions, as scikit-learn's do by
default.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hub_trainer.stats import WeightedMetric
from hub_trainer.stats.intervals import FloatArray, IntArray


@dataclass(frozen=True)
class LabelCounts:
    """Counts per label, each (B, K)."""

    hits: FloatArray
    """Examples of the label that were given it."""
    support: FloatArray
    """Examples of the label."""
    predicted: FloatArray
    """Examples given the label."""


CountMetric = Callable[[LabelCounts], FloatArray]


def count_labels(
    references: IntArray, predictions: IntArray, weights: FloatArray, num_labels: int
) -> LabelCounts:
    """Counts of (M,) cells that occur as often as the (B, M) weights say."""
    labels = np.arange(num_labels)
    is_reference = (references[:, None] == labels).astype(np.float64)
    is_prediction = (predictions[:, None] == labels).astype(np.float64)
    return LabelCounts(
        hits=weights @ (is_reference * is_prediction),
        support=weights @ is_reference,
        predicted=weights @ is_prediction,
    )


def weighted_metric(metric: CountMetric, num_labels: int) -> WeightedMetric:
    """A count metric in the form that resampling and paired tests take."""

    def measure(references: IntArray, predictions: IntArray, weights: FloatArray) -> FloatArray:
        return metric(count_labels(references, predictions, weights, num_labels))

    return measure


def precision(counts: LabelCounts) -> FloatArray:
    """(B, K)."""
    return _divide(counts.hits, counts.predicted)


def recall(counts: LabelCounts) -> FloatArray:
    """(B, K)."""
    return _divide(counts.hits, counts.support)


def f1(counts: LabelCounts) -> FloatArray:
    """(B, K)."""
    return _divide(2 * counts.hits, counts.support + counts.predicted)


def macro(score: CountMetric) -> CountMetric:
    """The mean of a score over the labels that occur."""

    def average(counts: LabelCounts) -> FloatArray:
        occurs = counts.support + counts.predicted > 0
        return _divide((score(counts) * occurs).sum(axis=1), occurs.sum(axis=1))

    return average


def weighted(score: CountMetric) -> CountMetric:
    """The mean of a score weighted by the labels' support."""

    def average(counts: LabelCounts) -> FloatArray:
        return _divide((score(counts) * counts.support).sum(axis=1), counts.support.sum(axis=1))

    return average


def accuracy(counts: LabelCounts) -> FloatArray:
    """(B,); also what precision, recall and F1 are when averaged over all decisions (micro)."""
    return _divide(counts.hits.sum(axis=1), counts.support.sum(axis=1))


def balanced_accuracy(counts: LabelCounts) -> FloatArray:
    """(B,) mean recall over the labels that have examples."""
    return _divide(recall(counts).sum(axis=1), (counts.support > 0).sum(axis=1))


def mcc(counts: LabelCounts) -> FloatArray:
    """(B,) Matthews correlation; 0 where references or predictions have one label only."""
    total = counts.support.sum(axis=1)
    agreement = counts.hits.sum(axis=1) * total - _dot(counts.support, counts.predicted)
    spread = total**2 - _dot(counts.predicted, counts.predicted)
    return _divide(agreement, np.sqrt(spread * (total**2 - _dot(counts.support, counts.support))))


def _dot(left: FloatArray, right: FloatArray) -> FloatArray:
    product: FloatArray = np.einsum("bk,bk->b", left, right)
    return product


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    zeros = np.zeros(np.shape(numerator))
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)
