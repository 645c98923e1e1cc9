"""Near-duplicate table rows: equal once numbers are rounded and the case of words is levelled."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub_trainer.recipe.columns import is_feature

COARSEST = 1
FINEST = 15


def normal(row: Mapping[str, Any]) -> bytes:
    """The features of a row, as bytes that are equal for equal values."""
    return _encoded(row, lambda value: value)


def within(contents: Sequence[Mapping[str, Any]], near: float) -> list[tuple[int, int, float]]:
    """(row, first such row, near) of each row that equals an earlier one once rounded."""
    first: dict[bytes, int] = {}
    leaders = [first.setdefault(key, n) for n, key in enumerate(_rounded_keys(contents, near))]
    return [(n, leader, near) for n, leader in enumerate(leaders) if leader != n]


def between(
    contents: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], near: float
) -> list[tuple[int, int, float]]:
    """(row, first such reference, near) of each row that equals a reference once rounded."""
    first: dict[bytes, int] = {}
    for number, key in enumerate(_rounded_keys(references, near)):
        first.setdefault(key, number)
    keys = _rounded_keys(contents, near)
    return [(n, first[key], near) for n, key in enumerate(keys) if key in first]


def significant_digits(near: float) -> int:
    """Digits of a number that still tell two rows apart: 0.85 keeps 2, 0.99 keeps 3, 1.0 all."""
    allowed = round(1 - near, 9)
    return next((d for d in range(COARSEST, FINEST) if 10.0 ** (1 - d) <= allowed), FINEST)


def _rounded_keys(rows: Sequence[Mapping[str, Any]], near: float) -> list[bytes]:
    digits = significant_digits(near)

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.{digits - 1}e}")
        return " ".join(value.casefold().split()) if isinstance(value, str) else value

    return [_encoded(row, rounded) for row in rows]


def _encoded(row: Mapping[str, Any], level: Callable[[Any], Any]) -> bytes:
    features = {name: level(_as_number(value)) for name, value in row.items() if is_feature(name)}
    return json.dumps(features, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _as_number(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole else value
