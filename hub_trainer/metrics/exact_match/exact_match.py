"""The share of answers that are the reference, but for case, punctuation and articles."""

from typing import Any

import datasets
import evaluate

from hub_trainer.metrics.answer_scores import exact_match

_INPUTS = """
    predictions (list of str): answers that the model wrote.
    references (list of str): answers that are right.
"""


class ExactMatch(evaluate.Metric):
    """The share of answers that are the reference, but for case, punctuation and articles."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, *, predictions: list[str], references: list[str]) -> dict[str, Any]:
        pairs = zip(predictions, references, strict=True)
        scores = [exact_match(answer, reference) for answer, reference in pairs]
        return {"exact_match": sum(scores) / len(scores), "scores": scores}
