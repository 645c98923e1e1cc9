"""Confusion matrix: how often each label (row) was given each prediction (column)."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import confusion_matrix

_INPUTS = """
    predictions (list of int): label ids the model gave.
    references (list of int): label ids that are true.
    labels (list of int): the rows and columns, in order; by default those that occur, sorted.
"""


class Confusion(evaluate.Metric):
    """Confusion matrix: how often each label (row) was given each prediction (column)."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, *, predictions: list[int], references: list[int], labels: list[int] | None = None
    ) -> dict[str, Any]:
        matrix = confusion_matrix(references, predictions, labels=labels)
        return {"confusion": matrix.tolist()}
