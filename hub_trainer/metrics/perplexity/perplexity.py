"""The exponential of `completion_loss`: choices per token left open; lower is better."""

import math
from typing import Any

import datasets
import evaluate

_INPUTS = """
    log_probs (list of float): natural logarithm of each reference's probability.
    num_tokens (list of int): tokens of each reference.
"""


class Perplexity(evaluate.Metric):
    """The exponential of `completion_loss`: choices per token left open; lower is better."""

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
        scores = [
            math.exp(-found / count) for found, count in zip(log_probs, num_tokens, strict=True)
        ]
        return {"perplexity": math.exp(-sum(log_probs) / sum(num_tokens)), "scores": scores}
