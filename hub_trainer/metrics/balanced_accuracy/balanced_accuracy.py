"""Balanced accuracy: the mean recall over the labels that occur in the references."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import recall_score

_INPUTS = """
    predictions (list of int): label ids the model gave.
    references (list of int): label ids that are true.
"""


class BalancedAccuracy(evaluate.Metric):
    """Balanced accuracy: the mean recall over the labels that occur in the references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, *, predictions: list[int], references: list[int]) -> dict[str, Any]:
        # not balanced_accuracy_score: it warns of predicted labels that no reference has
        labels = sorted(set(references))
        recall = recall_score(
            references, predictions, labels=labels, average="macro", zero_division=0.0
        )
        return {"balanced_accuracy": float(recall)}
