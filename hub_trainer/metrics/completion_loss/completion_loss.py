"""Nats per token of the sealed answers, all tokens alike; lower is better."""

from typing import Any

import datasets
import evaluate

_INPUTS = """
    log_probs (list of float): natural logarithm of each reference's probability.
    num_tokens (list of int): tokens of each reference.
"""


class CompletionLoss(evaluate.Metric):
    """Nats per token of the sealed answers, all tokens alike; lower is better."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"log_probs": datasets.Value("float64"), "num_tokens": datasets.Value("int64")}
            ),
        )

    def _compute(self, *, log_probs: list[float], num_tokens: list[int]) -> dict[str, Any]:
        scores = [-found / count for found, count in zip(log_probs, num_tokens, strict=True)]
        return {"completion_loss": -sum(log_probs) / sum(num_tokens), "scores": scores}
