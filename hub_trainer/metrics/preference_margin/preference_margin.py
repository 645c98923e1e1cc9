"""Nats by which the chosen answer of a sealed pair is likelier than the rejected; the mean."""

from typing import Any

import datasets
import evaluate

_INPUTS = """
    chosen (list of float): natural logarithm of each chosen answer's probability, over all tokens.
    rejected (list of float): that of each rejected answer.
"""


class PreferenceMargin(evaluate.Metric):
    """Nats by which the chosen answer of a sealed pair is likelier than the rejected; the mean."""

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
        scores = [one - other for one, other in zip(chosen, rejected, strict=True)]
        return {"preference_margin": sum(scores) / len(scores), "scores": scores}
