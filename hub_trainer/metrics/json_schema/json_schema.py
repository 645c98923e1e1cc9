"""The share of answers that are JSON and valid under the recipe's `evaluate.json_schema`."""

from typing import Any

import datasets
import evaluate

from hub_trainer.metrics.answer_scores import schema_check

_INPUTS = """
    predictions (list of str): answers that the model wrote.
    schema (dict): the JSON Schema that they are held to.
"""


class JsonSchema(evaluate.Metric):
    """The share of answers that are JSON and valid under a JSON Schema."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, *, predictions: list[str], schema: dict[str, Any]) -> dict[str, Any]:
        check = schema_check(schema)
        scores = [check(answer) for answer in predictions]
        return {"json_schema": sum(scores) / len(scores), "scores": scores}
