"""F1: the harmonic mean of precision and recall."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import f1_score

_INPUTS = """
    predictions (list of int): label ids the model gave.
    references (list of int): label ids that are true.
    average (str or None): macro (mean over labels), weighted (mean weighted by support), micro
        (over all decisions) or None (one value per label). Default macro.
    labels (list of int): labels to average over or list; by default those that occur, sorted.
    A label without predictions (precision) or without examples (recall) counts as 0, unasked.
"""


class F1(evaluate.Metric):
    """F1: the harmonic mean of precision and recall."""

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
        self,
        *,
        predictions: list[int],
        references: list[int],
        average: str | None = "macro",
        labels: list[int] | None = None,
    ) -> dict[str, Any]:
        value = f1_score(references, predictions, labels=labels, average=average, zero_division=0.0)
        return {"f1": float(value) if average else value.tolist()}
