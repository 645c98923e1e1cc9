"""Dawid-Skene anchored on gold: labels and each rater's confusion of labels, by EM.

R = raters, K = labels, N = examples, V = votes.

Differs from the textbook in what a hostile crowd makes necessary. It starts from the raters' gold
answers, never from the majority. A gold answer counts `_GOLD_WEIGHT` times, or the thousands of
other votes wash it out and the larger coalition becomes the truth after all. And a rater's
confusion matrix is shrunk towards one single accuracy for the rater (`_SHRINKAGE` pseudo-votes), as
a few votes fill no K x K table. Both constants were chosen on simulated coalitions and two real
crowds, away from the textbook's 1 and 0; results move little between half and twice their values.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hub_trainer.errors import DataError
from hub_trainer.stats.aggregate import (
    AggregatedLabel,
    Aggregation,
    Annotation,
    latest_annotations,
    summarise_raters,
)
from hub_trainer.stats.intervals import FloatArray, IntArray

_SHRINKAGE = 40.0
_GOLD_WEIGHT = 20.0
_MAX_ITERATIONS = 200
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Votes:
    """Votes as (V,) indices of examples, raters and labels, and (N,) gold labels or -1."""

    examples: IntArray
    raters: IntArray
    labels: IntArray
    gold: IntArray
    num_raters: int
    num_labels: int


def dawid_skene_labels(
    annotations: Iterable[tuple[str, str, str]],
    gold: Mapping[str, str],
    *,
    min_raters: int = 3,
    min_confidence: float = 0.8,
    min_gold: int = 3,
) -> Aggregation:
    """Labels of the examples that are not gold, from raters weighed by what gold says of them.

    annotations: (example_id, rater_id, label), oldest first. gold: example_id to its true label.
    A rater with fewer than `min_gold` gold answers has no say.
    Posteriors take raters as independent given the truth, so a coalition makes them too sure.
    """
    if not gold:
        raise DataError(
            "Dawid-Skene has no gold to start from",
            got="no example with a known label",
            do="mix examples of known label into what raters see, or take the majority",
        )
    latest = latest_annotations(annotations)
    excluded = _short_of_gold(latest, gold, min_gold)
    counted = [one for one in latest if one.rater_id not in excluded]
    label_names = sorted({*gold.values(), *(one.label for one in latest)})
    example_ids, rater_ids, votes = _index(counted, gold, label_names)
    posterior, accuracy = _fit(votes)
    num_raters = Counter(one.example_id for one in counted)
    found = dict(zip(example_ids, posterior, strict=True))
    labels = []
    for example_id in sorted({one.example_id for one in latest} - set(gold)):
        count = num_raters[example_id]
        best = int(np.argmax(found[example_id])) if count else None
        label = None if best is None else label_names[best]
        confidence = 0.0 if best is None else float(found[example_id][best])
        decided = count >= min_raters and confidence >= min_confidence
        labels.append(AggregatedLabel(example_id, label, confidence, count, decided))
    trust = dict(zip(rater_ids, map(float, accuracy), strict=True))
    return Aggregation(tuple(labels), summarise_raters(latest, counted, trust, excluded))


def _short_of_gold(
    annotations: list[Annotation], gold: Mapping[str, str], min_gold: int
) -> dict[str, str]:
    answers = Counter(one.rater_id for one in annotations if one.example_id in gold)
    return {
        rater: f"{answers[rater]} gold answers, {min_gold} needed"
        for rater in {one.rater_id for one in annotations}
        if answers[rater] < min_gold
    }


def _index(
    counted: list[Annotation], gold: Mapping[str, str], label_names: list[str]
) -> tuple[list[str], list[str], _Votes]:
    """Sorted example and rater ids, and the votes as indices into them."""
    example_ids = sorted({one.example_id for one in counted})
    rater_ids = sorted({one.rater_id for one in counted})
    label_index = {label: index for index, label in enumerate(label_names)}
    example_index = {key: index for index, key in enumerate(example_ids)}
    rater_index = {key: index for index, key in enumerate(rater_ids)}
    known = [label_index[gold[key]] if key in gold else -1 for key in example_ids]
    votes = _Votes(
        examples=np.array([example_index[one.example_id] for one in counted], dtype=np.int64),
        raters=np.array([rater_index[one.rater_id] for one in counted], dtype=np.int64),
        labels=np.array([label_index[one.label] for one in counted], dtype=np.int64),
        gold=np.array(known, dtype=np.int64),
        num_raters=len(rater_ids),
        num_labels=len(label_names),
    )
    return example_ids, rater_ids, votes


def _fit(votes: _Votes) -> tuple[FloatArray, FloatArray]:
    """Posterior of the examples' labels (N, K) and the raters' accuracies (R,)."""
    known = np.flatnonzero(votes.gold >= 0)
    truth = np.zeros((len(votes.gold), votes.num_labels))
    truth[known, votes.gold[known]] = 1.0
    gold_counts = _vote_counts(votes, truth)
    priors = np.full(votes.num_labels, 1 / votes.num_labels)
    confusion = _one_coin(_accuracy(gold_counts), votes.num_labels)
    posterior = truth
    for _ in range(_MAX_ITERATIONS):
        before, posterior = posterior, _label_posterior(votes, confusion, priors)
        posterior[known] = truth[known]
        counts = _vote_counts(votes, posterior) + (_GOLD_WEIGHT - 1) * gold_counts
        confusion = counts + _SHRINKAGE * _one_coin(_accuracy(counts), votes.num_labels)
        confusion /= confusion.sum(axis=2, keepdims=True)
        priors = (posterior.sum(axis=0) + 1) / (len(posterior) + votes.num_labels)
        if not posterior.size or np.abs(posterior - before).max() < _TOLERANCE:
            break
    accuracy: FloatArray = np.einsum("rkk,k->r", confusion, priors)
    return posterior, accuracy


def _vote_counts(votes: _Votes, truth: FloatArray) -> FloatArray:
    """(R, K, K): how often a rater gave label j where `truth` says label k."""
    by_label = np.zeros((votes.num_raters, votes.num_labels, votes.num_labels))
    np.add.at(by_label, (votes.raters, votes.labels), truth[votes.examples])
    counts: FloatArray = by_label.swapaxes(1, 2)
    return counts


def _accuracy(counts: FloatArray) -> FloatArray:
    """(R,) share of right answers, started at one right and one wrong."""
    share: FloatArray = (np.einsum("rkk->r", counts) + 1) / (counts.sum(axis=(1, 2)) + 2)
    return share


def _one_coin(accuracy: FloatArray, num_labels: int) -> FloatArray:
    """(R, K, K) confusion of raters who err towards every other label alike."""
    wrong = (1 - accuracy) / max(1, num_labels - 1)
    same = np.eye(num_labels, dtype=np.bool_)
    return np.where(same, accuracy[:, None, None], wrong[:, None, None])


def _label_posterior(votes: _Votes, confusion: FloatArray, priors: FloatArray) -> FloatArray:
    log_posterior = np.tile(np.log(priors), (len(votes.gold), 1))
    evidence = np.log(confusion)[votes.raters, :, votes.labels]
    np.add.at(log_posterior, votes.examples, evidence)
    log_posterior -= log_posterior.max(axis=1, keepdims=True)
    odds = np.exp(log_posterior)
    posterior: FloatArray = odds / odds.sum(axis=1, keepdims=True)
    return posterior
