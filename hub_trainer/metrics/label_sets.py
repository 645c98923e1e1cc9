"""Metrics of a set of labels per example, from hits, support and predictions per label.

N = examples, K = labels, B = resamples. An example's statistics are three indicators per label, as
for single labels (`counts`), and K beside them where a share of decisions is meant.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hub_trainer.metrics import counts
from hub_trainer.metrics.counts import LabelCounts, label_metric
from hub_trainer.stats.intervals import FloatArray
from hub_trainer.stats.metric import MEAN, SHARE, Metric, Statistics


def _micro(sums: LabelCounts) -> FloatArray:
    """(B,) F1 over all decisions together."""
    return _share(2 * sums.hits, sums.support + sums.predicted)


def _micro_precision(sums: LabelCounts) -> FloatArray:
    return _share(sums.hits, sums.predicted)


def _micro_recall(sums: LabelCounts) -> FloatArray:
    return _share(sums.hits, sums.support)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """(B,) sums over labels divided; 0 where there is nothing to divide by."""
    above, below = part.sum(axis=1), whole.sum(axis=1)
    found: FloatArray = np.divide(above, below, out=np.zeros(len(above)), where=below != 0)
    return found


LABEL_SET_METRICS: Mapping[str, Metric] = {
    "f1_micro": label_metric(_micro),
    "f1_macro": label_metric(counts.macro(counts.f1)),
    "precision_micro": label_metric(_micro_precision),
    "recall_micro": label_metric(_micro_recall),
    "exact_match": SHARE,
    "hamming_loss": Metric(MEAN.of_sums, lower_is_better=True),
}
"""Metrics of sets of labels. Macro averages run over the labels that occur in references or
predictions; hamming_loss is the share of all decisions that are wrong."""


MEANINGS: Mapping[str, str] = {
    "f1_micro": "F1 over all decisions about labels at once.",
    "f1_macro": "F1 of each label, the mean over the labels.",
    "precision_micro": "Of all labels that were given, the share that rows have.",
    "recall_micro": "Of all labels that rows have, the share that was given.",
    "exact_match": "The share of rows whose labels are all right, and no other.",
    "hamming_loss": "The share of wrong decisions among all about labels; lower is better.",
}
"""What each is, for people."""


def indicators(sets: Sequence[frozenset[str]], names: Sequence[str]) -> FloatArray:
    """(N, K) 1 where a set holds the label."""
    place = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(sets), len(names)))
    for row, one in enumerate(sets):
        found[row, [place[name] for name in one]] = 1.0
    return found


def set_statistics(metric: str, truth: FloatArray, given: FloatArray) -> Statistics:
    """Of (N, K) indicators of the true and the predicted labels."""
    if metric == "exact_match":
        return Statistics.of_scores(np.all(truth == given, axis=1))
    if metric == "hamming_loss":
        return Statistics.of_scores(np.mean(truth != given, axis=1))
    return Statistics.of(np.concatenate([truth * given, truth, given], axis=1))


def set_scores(truth: FloatArray, given: FloatArray) -> FloatArray:
    """(N,) F1 of each example's own set; 1 where both sets are empty."""
    hits, both = (truth * given).sum(axis=1), truth.sum(axis=1) + given.sum(axis=1)
    found: FloatArray = np.divide(2 * hits, both, out=np.ones(len(hits)), where=both != 0)
    return found
