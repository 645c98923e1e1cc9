"""The share of answers that hold each expected text, or else the reference, as whole words."""

from typing import Any

import datasets
import evaluate

from hub_trainer.metrics.answer_scores import contains_all

_INPUTS = """
    predictions (list of str): answers that the model wrote.
    references (list of list of str): texts that each answer must hold.
"""


class Contains(evaluate.Metric):
    """The share of answers that hold each expected text, or else the reference, as whole words."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.List(datasets.Value("string")),
                }
            ),
        )

    def _compute(self, *, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        pairs = zip(predictions, references, strict=True)
        scores = [contains_all(answer, expected) for answer, expected in pairs]
        return {"contains": sum(scores) / len(scores), "scores": scores}
