"""Weights of training rows: their own, and rare labels as much as frequent ones."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

WEIGHT_COLUMN = "_weight"


def example_weights(rows: Sequence[Mapping[str, Any]], *, class_weights: bool) -> list[float]:
    """`_weight` of each row (1 when absent); with class weights each label has the same sum."""
    weights = [_weight(row) for row in rows]
    if not class_weights:
        return weights
    totals: dict[str, float] = defaultdict(float)
    for row, weight in zip(rows, weights, strict=True):
        totals[row["label"]] += weight
    mean = sum(weights) / len(totals)
    return [w * mean / totals[row["label"]] for row, w in zip(rows, weights, strict=True)]


def positive_weights(targets: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """(C,) rows without a label for each row with it, of (N, C) indicators.

    A label that no row has, or every row, keeps the weight 1.
    """
    counts = [sum(column) for column in zip(*targets, strict=True)]
    total = len(targets)
    return tuple((total - n) / n if 0 < n < total else 1.0 for n in counts)


def _weight(row: Mapping[str, Any]) -> float:
    weight = row.get(WEIGHT_COLUMN)
    return 1.0 if weight is None else float(weight)
