"""Report of a classifier: metrics with intervals, a table per label, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.errors import DataError
from hub_trainer.metrics import compute_metric, load_metric, metric_spec
from hub_trainer.metrics.counts import label_statistics
from hub_trainer.metrics.probabilities import NUM_BINS, bin_of
from hub_trainer.stats import Estimate, Interval, Statistics, wilson_estimate, wilson_interval
from hub_trainer.stats.intervals import FloatArray, IntArray


@dataclass(frozen=True)
class ClassScores:
    """One row of the per-class table."""

    label: str
    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class CalibrationBin:
    """Examples whose top probability lies in (low, high]."""

    low: float
    high: float
    num_examples: int
    confidence: float
    """Mean top probability."""
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far stated probabilities are from how often they are right."""

    expected_calibration_error: float
    """Mean over examples of |confidence - accuracy| of their bin."""
    bins: tuple[CalibrationBin, ...]
    """Those that hold examples."""


def encode_labels(labels: Sequence[object], label_names: Sequence[str]) -> IntArray:
    """Labels, each a name or an index into `label_names`, as indices."""
    index: dict[object, int] = {name: row for row, name in enumerate(label_names)}
    encoded = np.empty(len(labels), dtype=np.int64)
    for row, label in enumerate(labels):
        known = index.get(label)
        if known is None and isinstance(label, (int, np.integer)) and 0 <= label < len(index):
            known = int(label)
        if known is None:
            raise DataError(
                "a label is not among the labels of the task",
                where=f"example {row}",
                got=repr(label),
                do=f"expected one of {', '.join(label_names[:10])}",
            )
        encoded[row] = known
    return encoded


def count_statistics(
    metric: str,
    references: Sequence[object],
    predictions: Sequence[object],
    label_names: Sequence[str],
) -> Statistics:
    """A row per example, for a metric of counts of labels. Raises DataError for no examples."""
    truth, answers = _encode_pairs(references, predictions, label_names)
    return label_statistics(metric_spec(metric).metric, truth, answers, len(label_names))


def metric_value(
    metric: str,
    references: Sequence[object],
    predictions: Sequence[object],
    label_names: Sequence[str],
) -> float:
    """The same metric as its evaluate module computes it."""
    truth, answers = _encode_pairs(references, predictions, label_names)
    return compute_metric(metric, truth.tolist(), answers.tolist())


def class_table(
    references: Sequence[object],
    predictions: Sequence[object],
    label_names: Sequence[str],
    *,
    confidence: float = 0.95,
) -> tuple[ClassScores, ...]:
    """Precision, recall, F1 and support of every label, those without examples too.

    All intervals are Wilson's. F1 has one because it rises with hits / (hits + misses + false
    alarms), which is a share: F1 = 2 J / (1 + J).
    """
    truth, answers = _encode_pairs(references, predictions, label_names)
    return tuple(
        class_scores(
            label,
            hits=int(np.sum((truth == index) & (answers == index))),
            support=int(np.sum(truth == index)),
            predicted=int(np.sum(answers == index)),
            confidence=confidence,
        )
        for index, label in enumerate(label_names)
    )


def class_scores(
    label: str, hits: int, support: int, predicted: int, confidence: float = 0.95
) -> ClassScores:
    """One label's row of the table, from counts of examples."""
    return ClassScores(
        label=label,
        support=support,
        precision=wilson_estimate(hits, predicted, confidence),
        recall=wilson_estimate(hits, support, confidence),
        f1=_f1_estimate(hits, support + predicted - hits, confidence),
    )


def _f1_estimate(num_hits: int, num_involved: int, confidence: float) -> Estimate:
    jaccard = wilson_interval(num_hits, num_involved, confidence)
    low, high = (2 * end / (1 + end) for end in (jaccard.low, jaccard.high))
    value = 2 * num_hits / (num_hits + num_involved) if num_involved else 0.0
    return Estimate(value, Interval(low, high, confidence), "wilson", num_involved)


def confusion_matrix(
    references: Sequence[object], predictions: Sequence[object], label_names: Sequence[str]
) -> list[list[int]]:
    """Counts of examples: a row per true label, a column per predicted one."""
    truth, answers = _encode_pairs(references, predictions, label_names)
    result = load_metric("confusion").compute(
        references=truth.tolist(),
        predictions=answers.tolist(),
        labels=list(range(len(label_names))),
    )
    matrix: list[list[int]] = result["confusion"]
    return matrix


def calibration(
    references: Sequence[object],
    probabilities: ArrayLike,
    label_names: Sequence[str],
    *,
    num_bins: int = NUM_BINS,
) -> Calibration:
    """Expected calibration error over bins of equal width (Guo et al. 2017).

    probabilities: (num_examples, num_labels), columns in the order of `label_names`.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    truth = encode_labels(references, label_names)
    if shares.shape != (len(truth), len(label_names)) or not len(truth):
        raise DataError(
            "probabilities must have a row per example and a column per label",
            got=f"shape {shares.shape} for {len(truth)} examples, {len(label_names)} labels",
            do="give both for the same examples and labels",
        )
    top, correct = shares.max(axis=1), shares.argmax(axis=1) == truth
    place = bin_of(top, num_bins)
    bins = tuple(
        _calibration_bin(index, num_bins, top[place == index], correct[place == index])
        for index in np.unique(place)
    )
    gaps = [one.num_examples * abs(one.confidence - one.accuracy) for one in bins]
    return Calibration(sum(gaps) / len(truth), bins)


def _calibration_bin(
    index: int, num_bins: int, top: FloatArray, correct: np.ndarray[Any, np.dtype[np.bool_]]
) -> CalibrationBin:
    return CalibrationBin(
        low=float(index / num_bins),
        high=float((index + 1) / num_bins),
        num_examples=len(top),
        confidence=float(top.mean()),
        accuracy=float(correct.mean()),
    )


def _encode_pairs(
    references: Sequence[object], predictions: Sequence[object], label_names: Sequence[str]
) -> tuple[IntArray, IntArray]:
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references but {len(predictions)} predictions")
    if not len(references):
        raise DataError("there is nothing to score", got="no examples", do="give the split rows")
    return encode_labels(references, label_names), encode_labels(predictions, label_names)
