"""Accuracy: the share of examples whose prediction is the reference."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import accuracy_score

_INPUTS = """
    predictions (list of int): label ids the model gave.
    references (list of int): label ids that are true.
"""


class Accuracy(evaluate.Metric):
    """Accuracy: the share of examples whose prediction is the reference."""

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
        return {"accuracy": float(accuracy_score(references, predictions))}
