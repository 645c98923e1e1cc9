"""Decisions by a threshold: from which probability on the label that is looked for is given.

The threshold is chosen on the validation rows for a wanted sensitivity, and stands in the published
model, so that all who ask the model are told the same label.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.answers import Prediction, plain_estimate
from hub_trainer.errors import DataError
from hub_trainer.metrics.positive import POSITIVE_METRICS, positive_statistics
from hub_trainer.recipe.schema import EvaluateSection
from hub_trainer.stats import estimate
from hub_trainer.stats.intervals import FloatArray

THRESHOLDS = "thresholds"
"""Key of a model's config.json: label -> probability from which it is given."""


@dataclass(frozen=True)
class Sought:
    """The label that is looked for, and how much of it is to be found."""

    positive: str | None = None
    sensitivity: float | None = None
    """None gives every row its likeliest label."""

    @classmethod
    def of(cls, evaluate: EvaluateSection) -> "Sought":
        """As the recipe says it."""
        wanted = evaluate.threshold
        return cls(evaluate.positive, wanted.sensitivity if wanted else None)


NOTHING_SOUGHT = Sought()


def decided(scores: Mapping[str, float], thresholds: Mapping[str, float]) -> str:
    """The label with a threshold if its probability reaches it, else the likeliest of the others.

    Without a threshold the likeliest of all.
    """
    for name, limit in thresholds.items():
        if scores.get(name, 0.0) >= limit:
            return name
    others = {name: score for name, score in scores.items() if name not in thresholds}
    return max(others or scores, key=scores.__getitem__)


def decide(found: Sequence[Prediction], thresholds: Mapping[str, float] | None) -> list[Prediction]:
    """The same probabilities with the label that the thresholds make of them."""
    if not thresholds:
        return list(found)
    return [Prediction(decided(one.scores, thresholds), one.scores) for one in found]


def likeliest_as_decided(found: Prediction) -> Mapping[str, float]:
    """The probabilities with that of the given label exchanged for the largest one.

    For judges that go by the likeliest label, where a threshold decides otherwise.
    """
    best = max(found.scores, key=found.scores.__getitem__)
    swapped = {found.value: found.scores[best], best: found.scores[found.value]}
    return {**found.scores, **swapped}


def threshold_for(scores: FloatArray, truth: NDArray[np.bool_], sensitivity: float) -> float | None:
    """The largest threshold at which the wanted share of the rows with the label are given it.

    Of (N,) probabilities of the label, and whether each row has it. It lies halfway between the
    last probability that must reach it and the next lower one, so that rounding moves no row across
    it. None where no row has the label.
    """
    reached = np.sort(scores[truth])[::-1]
    if not len(reached):
        return None
    lowest = reached[max(1, math.ceil(sensitivity * len(reached) - 1e-9)) - 1]
    below = scores[scores < lowest]
    return float((lowest + (below.max() if len(below) else 0.0)) / 2)


def thresholds_for(
    found: Sequence[Prediction], references: Sequence[str], sought: Sought
) -> dict[str, float]:
    """The threshold of the label that is looked for; none where none is wanted, or can be told."""
    if sought.positive is None or sought.sensitivity is None or not found:
        return {}
    scores = np.array([one.scores.get(sought.positive, 0.0) for one in found])
    truth = np.array([one == sought.positive for one in references], dtype=np.bool_)
    limit = threshold_for(scores, truth, sought.sensitivity)
    return {} if limit is None else {sought.positive: limit}


def chosen_threshold(
    found: Sequence[Prediction], references: Sequence[str], sought: Sought
) -> dict[str, Any] | None:
    """As fit.json holds it: the threshold, what was wanted, and what it reaches on these rows."""
    limits = thresholds_for(found, references, sought)
    if not limits:
        return None
    [(positive, limit)] = limits.items()
    reached = reached_of(decide(found, limits), references, positive)
    return {"threshold": limit, "wanted": sought.sensitivity, **reached}


def reached_of(
    found: Sequence[Prediction], references: Sequence[str], positive: str
) -> dict[str, Any]:
    """Sensitivity and specificity of the decided labels with their intervals, and rows of each."""
    truth = np.array([one == positive for one in references], dtype=np.bool_)
    given = np.array([one.value == positive for one in found], dtype=np.bool_)
    measured = {
        name: plain_estimate(estimate(metric, positive_statistics(name, truth, given), seed=0))
        for name, metric in POSITIVE_METRICS.items()
    }
    counts = {"num_positive": int(truth.sum()), "num_negative": int((~truth).sum())}
    return {"name": positive, **measured, **counts}


def assert_decidable(sought: Sought, references: Sequence[str]) -> None:
    """Raise DataError where no validation row has the label that a threshold is wanted for."""
    if sought.sensitivity is None or sought.positive in references:
        return
    raise DataError(
        "No validation row has the label that is looked for, so that no threshold can be chosen.",
        where="evaluate.threshold",
        got=f"{len(references):,} validation rows, none of them {sought.positive!r:.60}",
        do="Collect more rows of this label, or raise prepare.validation_fraction.",
    )
