"""The share of sealed pairs whose chosen answer is likelier, as a whole, than the rejected."""

from typing import Any

import datasets
import evaluate

_INPUTS = """
    chosen (list of float): natural logarithm of each chosen answer's probability, over all tokens.
    rejected (list of float): that of each rejected answer.
"""


class PreferenceAccuracy(evaluate.Metric):
    """The share of sealed pairs whose chosen answer is likelier, as a whole, than the rejected."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"chosen": datasets.Value("float64"), "rejected": datasets.Value("float64")}
            ),
        )

    def _compute(self, *, chosen: list[float], rejected: list[float]) -> dict[str, Any]:
        margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
        scores = [float(margin > 0) for margin in margins]
        return {"preference_accuracy": sum(scores) / len(scores), "scores": scores}
