"""Sensitivity and specificity: how a label that is looked for is told from all others.

Both are shares of some of the examples, those that have the label or those that have not, so that
intervals and tests go by the number of these.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hub_trainer.stats.intervals import IntArray
from hub_trainer.stats.metric import SHARE, Metric, Statistics

POSITIVE_METRICS: Mapping[str, Metric] = {"sensitivity": SHARE, "specificity": SHARE}
"""Metrics that only `evaluate.positive` gives a meaning."""

MEANINGS: Mapping[str, str] = {
    "sensitivity": "Of the rows with the label `evaluate.positive`, the share that was given it.",
    "specificity": "Of the rows without the label `evaluate.positive`, the share not given it.",
}
"""What each is, for people."""


def positive_statistics(
    metric: str, truth: NDArray[np.bool_], given: NDArray[np.bool_]
) -> Statistics:
    """Of (N,) whether each example has the label, and was given it; none where none counts."""
    counted = truth if metric == "sensitivity" else ~truth
    if not counted.any():
        return Statistics(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    is_right: IntArray = (truth == given)[counted].astype(np.int64)
    return Statistics.of_scores(is_right)
