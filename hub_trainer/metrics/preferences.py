"""Metrics of preferences: what they are given, and their scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import evaluate

_INPUTS = """
    chosen (list of float): natural logarithm of each chosen answer's probability, over all tokens.
    rejected (list of float): that of each rejected answer.
"""


def info_of_preferences(description: str) -> "evaluate.MetricInfo":
    """What an evaluate module says of itself that compares two answers by their likelihood."""
    import datasets
    import evaluate

    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description=_INPUTS,
        features=datasets.Features(
            {"chosen": datasets.Value("float64"), "rejected": datasets.Value("float64")}
        ),
    )


def margins(chosen: Sequence[float], rejected: Sequence[float]) -> list[float]:
    """Nats by which each chosen answer is likelier than the rejected."""
    return [one - other for one, other in zip(chosen, rejected, strict=True)]
