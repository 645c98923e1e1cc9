"""ROUGE-L: mean F1 of the longest sequence of words that answer and reference share."""

from typing import Any

import datasets
import evaluate

from hub_trainer.metrics.answer_scores import rouge_l

_INPUTS = """
    predictions (list of str): answers that the model wrote.
    references (list of str): answers that are right.
"""


class Rouge(evaluate.Metric):
    """ROUGE-L: mean F1 of the longest sequence of words that answer and reference share."""

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
        scores = [rouge_l(answer, reference) for answer, reference in pairs]
        return {"rouge": sum(scores) / len(scores), "scores": scores}
