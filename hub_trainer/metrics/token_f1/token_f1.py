"""Mean F1 of the words that answer and reference share, as in SQuAD."""

from typing import Any

import datasets
import evaluate

from hub_trainer.metrics.answer_scores import token_f1

_INPUTS = """
    predictions (list of str): answers that the model wrote.
    references (list of str): answers that are right.
"""


class TokenF1(evaluate.Metric):
    """Mean F1 of the words that answer and reference share, as in SQuAD."""

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
        scores = [token_f1(answer, reference) for answer, reference in pairs]
        return {"token_f1": sum(scores) / len(scores), "scores": scores}
