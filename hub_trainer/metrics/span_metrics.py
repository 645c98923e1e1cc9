"""Metrics of spans: strict and micro, by seqeval's rules, from three counts per example.

N = examples, B = resamples. A span is right where its words and its type are all those of a
reference. An example's statistics are its right spans, those of the reference, and those found.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hub_trainer.stats.intervals import FloatArray
from hub_trainer.stats.metric import Metric, Statistics

Span = tuple[int, int, str]
"""Number of the first word, number of the word after the last, type."""


def _f1(sums: FloatArray) -> FloatArray:
    return _divide(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


def _precision(sums: FloatArray) -> FloatArray:
    return _divide(sums[:, 0], sums[:, 2])


def _recall(sums: FloatArray) -> FloatArray:
    return _divide(sums[:, 0], sums[:, 1])


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    """(B,) 0 where there is nothing to divide by, as seqeval has it."""
    found: FloatArray = np.divide(above, below, out=np.zeros(len(above)), where=below != 0)
    return found


SPAN_METRICS: Mapping[str, Metric] = {
    "entity_f1": Metric(_f1),
    "entity_precision": Metric(_precision),
    "entity_recall": Metric(_recall),
}
"""Metrics over all spans of all examples together, of (B, 3) sums."""


MEANINGS: Mapping[str, str] = {
    "entity_f1": "Harmonic mean of `entity_precision` and `entity_recall`.",
    "entity_precision": "Of all spans that were found, the share whose words and type are right.",
    "entity_recall": "Of all spans that rows have, the share that was found, words and type.",
}
"""What each is, for people."""


def span_counts(truth: Sequence[frozenset[Span]], given: Sequence[frozenset[Span]]) -> FloatArray:
    """(N, 3) right spans, spans of the reference, spans found."""
    rows = [(len(t & g), len(t), len(g)) for t, g in zip(truth, given, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def span_statistics(
    truth: Sequence[frozenset[Span]], given: Sequence[frozenset[Span]]
) -> Statistics:
    """The counts of each example."""
    return Statistics.of(span_counts(truth, given))


def span_scores(truth: Sequence[frozenset[Span]], given: Sequence[frozenset[Span]]) -> FloatArray:
    """(N,) F1 of each example's own spans; 1 where it has none and none was found."""
    right, there, found = span_counts(truth, given).T
    both = there + found
    scores: FloatArray = np.divide(2 * right, both, out=np.ones(len(right)), where=both != 0)
    return scores
