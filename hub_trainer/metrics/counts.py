"""Metrics of one label per example, from three counts per label: hits, support, predictions.

B = resamples, K = labels. An example's statistics are three indicators per label (S = 3K), and the
sums of many are the counts here. The values are those of the evaluate modules next door, to which a
test holds them. Where a label has nothing to divide by (never predicted, no example) its score is
0. Macro averages run over the labels that occur in references or predictions, as scikit-learn's do
by default.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hub_trainer.stats.intervals import FloatArray, IntArray
from hub_trainer.stats.metric import SHARE, Metric, Statistics


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


def label_metric(of_counts: CountMetric | None) -> Metric:
    """The metric of (B, 3K) sums; None is the share of examples that are right."""
    if of_counts is None:
        return SHARE
    return Metric(lambda sums: of_counts(LabelCounts(*np.split(sums, 3, axis=1))))


def label_statistics(
    metric: Metric, references: IntArray, predictions: IntArray, num_labels: int
) -> Statistics:
    """Of (N,) label ids. Equal pairs are grouped first: N x 3K numbers would be many."""
    if metric.is_share:
        return Statistics.of_scores(references == predictions)
    codes, row_of = np.unique(references * num_labels + predictions, return_inverse=True)
    truth, given = np.divmod(codes, num_labels)
    labels = np.eye(num_labels)
    is_truth, is_given = labels[truth], labels[given]
    rows = np.concatenate([is_truth * is_given, is_truth, is_given], axis=1)
    return Statistics(rows, row_of.astype(np.int64))


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
