"""Metrics of numbers: errors, explained variance, correlation.

N = examples, M = distinct rows, B = resamples. References and predictions are shifted by the mean
reference, which changes no metric here and keeps sums of squares exact.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.stats.intervals import FloatArray, IntArray
from hub_trainer.stats.metric import MEAN, Metric, Statistics, ratio


def _r2(sums: FloatArray) -> FloatArray:
    """(B,) from sums of squared errors, references, their squares, and 1.

    0 where the references do not differ, as no prediction explains anything then.
    """
    errors, total, squares, count = sums.T
    spread = squares - total**2 / np.maximum(count, 1)
    known = spread > 1e-12 * np.maximum(squares, 1e-300)
    return np.where(known, 1 - errors / np.where(known, spread, 1.0), 0.0)


def _pearson(sums: FloatArray) -> FloatArray:
    """(B,) from sums of references, predictions, squares of both, products, and 1."""
    truth, given, truths, givens, products, count = sums.T
    count = np.maximum(count, 1)
    spread = (truths - truth**2 / count) * (givens - given**2 / count)
    known = spread > 1e-12 * np.maximum(truths * givens, 1e-300)
    shared = products - truth * given / count
    return np.where(known, shared / np.sqrt(np.where(known, spread, 1.0)), 0.0)


def _spearman(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """(B,) Pearson's correlation of ranks, ties sharing their mean rank. rows: (M, 2)."""
    truth, given = (_weighted_ranks(column, weights) for column in rows.T)
    sums = np.stack(
        [
            np.einsum("bm,bm->b", weights, values)
            for values in (truth, given, truth**2, given**2, truth * given, np.ones_like(truth))
        ],
        axis=1,
    )
    return _pearson(sums)


def _weighted_ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(B, M) mean rank of each row among examples that occur as often as weights say, centred."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    starts: IntArray = np.flatnonzero(np.r_[True, sorted_values[1:] != sorted_values[:-1]])
    group = np.cumsum(np.r_[0, (sorted_values[1:] != sorted_values[:-1]).astype(np.int64)])
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    before = np.cumsum(sizes, axis=1) - sizes
    ranks = np.empty_like(weights)
    ranks[:, order] = (before + (sizes + 1) / 2)[:, group]
    centred: FloatArray = ranks - (weights.sum(axis=1, keepdims=True) + 1) / 2
    return centred


NUMBER_METRICS: Mapping[str, Metric] = {
    "mae": Metric(MEAN.of_sums, lower_is_better=True),
    "rmse": Metric(ratio, scale=np.sqrt, lower_is_better=True),
    "mse": Metric(MEAN.of_sums, lower_is_better=True),
    "r2": Metric(_r2),
    "pearson": Metric(_pearson),
    "spearman": Metric(of_rows=_spearman),
}
"""Metrics of numbers. A correlation is 0 where either side does not vary."""


MEANINGS: Mapping[str, str] = {
    "mae": "Mean absolute error, in units of the target; lower is better.",
    "rmse": "Root of the mean squared error, in units of the target; lower is better.",
    "mse": "Mean squared error; lower is better.",
    "r2": "Share of the target's variance that is explained: 1 perfect, 0 as good as the mean.",
    "pearson": "Linear correlation of targets and predictions.",
    "spearman": "Correlation of the ranks of targets and predictions.",
}
"""What each is, for people."""


def number_statistics(metric: str, references: ArrayLike, predictions: ArrayLike) -> Statistics:
    """Of (N,) references and predictions."""
    truth, given = (np.asarray(one, dtype=np.float64) for one in (references, predictions))
    errors = given - truth
    if metric == "mae":
        return Statistics.of_scores(np.abs(errors))
    if metric in ("mse", "rmse"):
        return Statistics.of_scores(errors**2)
    middle = truth.mean() if len(truth) else 0.0
    truth, given = truth - middle, given - middle
    if metric == "r2":
        return Statistics.of(np.stack([errors**2, truth, truth**2, np.ones_like(truth)], axis=1))
    if metric == "spearman":
        return Statistics.of(np.stack([truth, given], axis=1))
    rows = [truth, given, truth**2, given**2, truth * given, np.ones_like(truth)]
    return Statistics.of(np.stack(rows, axis=1))
