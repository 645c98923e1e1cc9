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
        shown = sorted({*references, *predictions}) if labels is None else labels
        if len(shown) == 1:  # scikit-learn warns of a matrix of one cell
            hits = sum(
                pair == (shown[0], shown[0]) for pair in zip(references, predictions, strict=True)
            )
            return {"confusion": [[hits]]}
        matrix = confusion_matrix(references, predictions, labels=shown)
        return {"confusion": matrix.tolist()}
