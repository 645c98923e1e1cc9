"""Values of a table's training rows, and which values of a new row lie outside them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.rows import feature_names
from hub_trainer.tasks import Row

MAX_VALUES = 200
"""Different values of a column from which it is free text, in which no value is unusual."""
MAX_CHARACTERS = 100

Ranges = Mapping[str, Mapping[str, Any]]
"""Column -> {"low", "high"} of numbers, or {"values"} of words."""


def ranges_of(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The ranges of the features in training rows."""
    names = feature_names(list(rows[0])) if rows else []
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        values = [row[name] for row in rows if not _is_missing(row[name])]
        numbers = [float(value) for value in values if _is_number(value)]
        words = {str(value) for value in values if isinstance(value, str)}
        if values and len(numbers) == len(values):
            found[name] = {"low": min(numbers), "high": max(numbers)}
        elif words and len(words) <= MAX_VALUES and max(map(len, words)) <= MAX_CHARACTERS:
            found[name] = {"values": sorted(words)}
    return found


def unusual_values(row: Row, ranges: Ranges) -> list[str]:
    """A sentence for each value that no training row comes near."""
    told = []
    for name, value in row.items():
        known = ranges.get(name)
        if known is None or _is_missing(value):
            continue
        if "low" in known and _is_number(value):
            low, high = known["low"], known["high"]
            if not low <= value <= high:
                told.append(
                    f"{name} is {value:,g}: unusual, the training rows have {low:,g} to {high:,g}."
                )
        elif "values" in known and str(value) not in known["values"]:
            told.append(f"{name} is {str(value)[:60]}: no training row has that value.")
    return told


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
