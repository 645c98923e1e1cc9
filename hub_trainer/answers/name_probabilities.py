"""Probabilities of names: as arrays, what metrics of one label make of them, logistic regression.

N = examples, K = names.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hub_trainer.answers import Prediction
from hub_trainer.answers.label_names import named, nearest_told
from hub_trainer.errors import DataError
from hub_trainer.metrics.positive import POSITIVE_METRICS, positive_statistics
from hub_trainer.metrics.probabilities import (
    PROBABILITY_METRICS,
    calibration_statistics,
    rank_statistics,
)
from hub_trainer.metrics.report import encode_labels
from hub_trainer.stats import Metric, Statistics
from hub_trainer.stats.intervals import FloatArray

LABEL_METRICS: Mapping[str, Metric] = {**POSITIVE_METRICS, **PROBABILITY_METRICS}
"""Metrics of one label per row that are made of `label_statistics`."""
MAX_STEPS = 300
"""Of logistic regression, which is a matter of seconds then."""


def shares_of(
    found: Sequence[Prediction], names: Sequence[str], parts: Callable[[Any], list[str]]
) -> FloatArray:
    """(N, K) the probability of each name. One that a model does not know has 0, as in `over`; a
    prediction without any probability is a certain one, of the parts of its value."""
    sure = [one.scores or dict.fromkeys(parts(one.value), 1.0) for one in found]
    rows = [[scores.get(name, 0.0) for name in names] for scores in sure]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def label_statistics(
    metric: str,
    references: Sequence[str],
    found: Sequence[Prediction],
    names: Sequence[str],
    positive: str | None,
) -> Statistics:
    """A row per example that counts under one of `LABEL_METRICS`; some are of `positive`."""
    if metric in POSITIVE_METRICS:
        truth = np.array([one == positive for one in references], dtype=np.bool_)
        given = np.array([one.value == positive for one in found], dtype=np.bool_)
        return positive_statistics(metric, truth, given)
    scores = shares_of(found, names, lambda value: [value])
    indicators = np.eye(len(names))[encode_labels(references, names)]
    if metric == "brier":
        # As scikit-learn's: of two labels the error of either, of more the sum over all.
        errors = ((scores - indicators) ** 2).sum(axis=1)
        return Statistics.of_scores(errors / 2 if len(names) == 2 else errors)
    if metric == "calibration_error":
        best = scores.argmax(axis=1)[:, None]
        top, is_right = (np.take_along_axis(one, best, 1) for one in (scores, indicators))
        return calibration_statistics(top, is_right)
    if positive is not None:
        column = [names.index(positive)]
        indicators, scores = indicators[:, column], scores[:, column]
    return rank_statistics(indicators, scores)


def assert_positive(positive: str | None, metrics: Sequence[str], names: Sequence[str]) -> None:
    """Raise DataError for a positive label that there is not, or one that is asked for."""
    where = "evaluate.positive"
    if positive is not None and positive not in names:
        raise DataError(
            "evaluate.positive is none of the labels.",
            where=where,
            got=f"{positive!r:.60}{nearest_told(positive, names)}",
            do=f"Name the label that is looked for: {named(names)}.",
        )
    if positive is None and "average_precision" in metrics and len(names) == 2:
        raise DataError(
            "Of two labels average_precision is of the one that is looked for.",
            where=where,
            got="none is named",
            do=f"Name it: {named(names)}.",
        )


def logistic_shares(
    features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
) -> tuple[list[Any], FloatArray]:
    """The values in their order, and (N, K) how probable each is by logistic regression."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MAX_STEPS, tol=1e-3, random_state=seed)
    shares: FloatArray = model.fit(features, values).predict_proba(asked)
    return model.classes_.tolist(), shares
