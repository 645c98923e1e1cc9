"""Matthews correlation of references and predictions: 1 perfect, 0 no better than chance."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import matthews_corrcoef

_INPUTS = """
    predictions (list of int): label ids the model gave.
    references (list of int): label ids that are true.
"""


class MatthewsCorrelation(evaluate.Metric):
    """Matthews correlation of references and predictions: 1 perfect, 0 no better than chance."""

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
        if len({*references, *predictions}) == 1:  # scikit-learn says 0 as well, with a warning
            return {"mcc": 0.0}
        return {"mcc": float(matthews_corrcoef(references, predictions))}
