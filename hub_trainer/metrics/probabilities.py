"""Metrics of the probability of each label: how well it ranks rows, and how far it is off.

N = examples, M = distinct rows, K = labels that are measured, G = distinct scores of the rows that
have a label, B = resamples. `truth` is (N, K) with 1 where a row has a label, and `scores` (N, K).

A metric of ranks takes the label's own rank of each row in place of its score, which changes no
value and gives two models one scale: the permutation test swaps rows between them, and the scores
of a timid model would otherwise lie among those of a bold one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.stats.intervals import FloatArray, IntArray
from hub_trainer.stats.metric import MEAN, Metric, Statistics

NUM_BINS = 15
"""Of equal width, from 0 to 1, for the expected calibration error."""
BLOCK = 64
"""Resamples that are ranked at once: so many stay in the processor's cache."""


@dataclass(frozen=True)
class _Segments:
    """Where rows stand to the scores that rows of a label have."""

    num_levels: int
    """Distinct scores of the rows of the label."""
    of_rows: Any
    """Sparse (3 G + 1, M): the level of a row of the label, and after those the segment of another
    row by falling score: above the first level, at it, between it and the next, and so on."""


@dataclass(frozen=True)
class _Ranking:
    """What lies at and above each score that rows of a label have, the highest first."""

    hits: FloatArray
    """(G, B) rows of the label at the score."""
    tied: FloatArray
    """(G, B) other rows at the score."""
    above: FloatArray
    """(G, B) other rows above it."""
    others: FloatArray
    """(B,) all other rows."""


def _segments(scores: FloatArray, truth: FloatArray) -> _Segments:
    """Of (M,) scores and 1 where a row has the label."""
    from scipy.sparse import csr_matrix

    has_label = truth > 0
    levels = np.unique(scores[has_label])[::-1]
    level = np.searchsorted(-levels, -scores, side="left")
    is_tied = np.isin(scores, levels)
    place = np.where(has_label, level, len(levels) + 2 * level + is_tied)
    cells = np.ones(len(scores), dtype=np.float32), (place, np.arange(len(scores)))
    return _Segments(len(levels), csr_matrix(cells, shape=(3 * len(levels) + 1, len(scores))))


def _ranking(segments: _Segments, weights: NDArray[np.float32]) -> _Ranking:
    """On examples that occur as often as the (M, B) weights say."""
    sums = (segments.of_rows @ weights).astype(np.float64)
    hits, others = np.split(sums, [segments.num_levels])
    up_to = np.cumsum(others, axis=0)
    return _Ranking(hits, tied=others[1::2], above=up_to[:-1:2], others=up_to[-1])


def _auroc(ranking: _Ranking) -> tuple[FloatArray, FloatArray]:
    """(B,) the share of pairs in which the row of the label is above the other one, a tie being
    half; and whether there is a pair."""
    below = ranking.others - ranking.above - ranking.tied / 2
    won, pairs = (ranking.hits * below).sum(axis=0), ranking.hits.sum(axis=0) * ranking.others
    return np.divide(won, pairs, out=np.full(len(won), 0.5), where=pairs > 0), pairs


def _average_precision(ranking: _Ranking) -> tuple[FloatArray, FloatArray]:
    """(B,) the mean precision at the rows of the label; and how many there are."""
    hits = np.cumsum(ranking.hits, axis=0)
    given = hits + ranking.above + ranking.tied
    precision = np.divide(hits, given, out=np.zeros_like(hits), where=given > 0)
    won, total = (ranking.hits * precision).sum(axis=0), ranking.hits.sum(axis=0)
    return np.divide(won, total, out=np.zeros(len(won)), where=total > 0), total


def _mean_over_labels(
    of_label: Callable[[_Ranking], tuple[FloatArray, FloatArray]], unknown: float
) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Of rows (M, 2 K) of ranks and truth: the mean over the labels of which it is known."""

    def value(rows: FloatArray, weights: FloatArray) -> FloatArray:
        labels = [_segments(*label) for label in zip(*np.split(rows.T, 2), strict=True)]
        blocks = np.split(weights, range(BLOCK, len(weights), BLOCK))
        return np.concatenate([mean(labels, block) for block in blocks])

    def mean(labels: Sequence[_Segments], weights: FloatArray) -> FloatArray:
        # Counts of rows are whole numbers, which 32 bits hold exactly.
        by_row = np.ascontiguousarray(weights.T, dtype=np.float32)
        found = [of_label(_ranking(label, by_row)) for label in labels]
        total = sum(np.where(basis > 0, one, 0.0) for one, basis in found)
        count = sum(basis > 0 for _, basis in found)
        result: FloatArray = np.full(len(weights), unknown)
        return np.divide(total, count, out=result, where=count > 0)

    return value


def _rarer_side(rows: FloatArray, counts: IntArray) -> int:
    """Examples with a label, or without it where those are fewer; the mean over the labels."""
    having = counts @ rows[:, rows.shape[1] // 2 :]
    sides = np.minimum(having, counts.sum() - having)
    return int(np.ceil(sides[sides > 0].mean())) if sides.any() else 0


def _calibration_error(sums: FloatArray) -> FloatArray:
    """(B,) from the sums of confidence minus truth in each bin, and how many there are of both."""
    gaps, count = np.abs(sums[:, :-1]).sum(axis=1), sums[:, -1]
    gaps = np.where(gaps > 1e-12 * count, gaps, 0.0)  # rounding is no error
    result: FloatArray = np.divide(gaps, count, out=np.zeros(len(gaps)), where=count > 0)
    return result


PROBABILITY_METRICS: Mapping[str, Metric] = {
    "auroc": Metric(of_rows=_mean_over_labels(_auroc, 0.5), num_deciding=_rarer_side),
    "average_precision": Metric(
        of_rows=_mean_over_labels(_average_precision, 0.0), num_deciding=_rarer_side
    ),
    "brier": Metric(MEAN.of_sums, lower_is_better=True),
    "calibration_error": Metric(_calibration_error, lower_is_better=True, is_length=True),
}
"""Metrics of probabilities. Those of ranks are means over the labels of which they are known: for
auroc some rows must have the label and others not, for average_precision some must have it."""
RANK_METRICS = ("auroc", "average_precision")
NEVER_PRIMARY = frozenset({"calibration_error"})
"""Metrics by which no model can be chosen: one that says the same of every row may have none."""

MEANINGS: Mapping[str, str] = {
    "auroc": "Area under the ROC curve: how often a row with the label has a higher probability of "
    "it than a row without.",
    "average_precision": "Area under the curve of precision and recall, as a sum of steps.",
    "brier": "Mean squared error of probabilities; lower is better.",
    "calibration_error": "Expected calibration error: by how much probabilities differ from how "
    f"often they are right, over {NUM_BINS} bins; lower is better.",
}
"""What each is, for people."""


def probability_statistics(metric: str, truth: FloatArray, scores: FloatArray) -> Statistics:
    """Of (N, K): ranks, or squared errors and calibration of all decisions about labels."""
    if metric == "brier":
        return Statistics.of_scores(((scores - truth) ** 2).mean(axis=1))
    if metric == "calibration_error":
        return calibration_statistics(scores, truth)
    return rank_statistics(truth, scores)


def rank_statistics(truth: FloatArray, scores: FloatArray) -> Statistics:
    """Each row's rank by the score of each label, and whether it has the label."""
    return Statistics.of(np.concatenate([_ranks(scores), truth], axis=1))


def _ranks(scores: FloatArray) -> FloatArray:
    """(N, K) mean ranks of each column, ties sharing theirs."""
    found = np.empty(scores.shape)
    for column, values in enumerate(scores.T):
        _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
        found[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[level]
    return found


def calibration_statistics(confidence: FloatArray, truth: FloatArray) -> Statistics:
    """Of (N, D) decisions: by how much each bin's confidence is over the truth."""
    rows = np.zeros((len(confidence), NUM_BINS + 1))
    for said, true in zip(confidence.T, truth.T, strict=True):
        rows[np.arange(len(rows)), bin_of(said)] += said - true
    rows[:, -1] = confidence.shape[1]
    return Statistics.of(rows)


def bin_of(confidence: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """The bin of each probability; its upper end belongs to a bin, and 0 to the first."""
    found: IntArray = np.ceil(confidence * num_bins).astype(np.int64) - 1
    return np.clip(found, 0, num_bins - 1)
