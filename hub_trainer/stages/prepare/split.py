"""Splits of rows into training, validation and test: by content, so that a row keeps its place."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


def take_validation(rows: Sequence[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, validation): a share of each label, chosen by the seed and the row's content.

    Every label keeps a training row; together at least one row is taken when there are two.
    """
    chosen = _share_of_each(rows, fraction, _order(seed))
    train = [row for number, row in enumerate(rows) if number not in chosen]
    return train, [row for number, row in enumerate(rows) if number in chosen]


def _share_of_each(rows: Sequence[Row], fraction: float, order: Callable[[Row], str]) -> set[int]:
    by_label: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_label[row["label"]].append(number)
    chosen: set[int] = set()
    for numbers in by_label.values():
        wanted = min(round(len(numbers) * fraction), len(numbers) - 1)
        chosen |= set(sorted(numbers, key=lambda number: order(rows[number]))[:wanted])
    spare = [numbers for numbers in by_label.values() if len(numbers) > 1]
    if not chosen and spare:
        chosen = {max(spare, key=len)[-1]}
    return chosen


def _order(seed: int) -> Callable[[Row], str]:
    def order(row: Row) -> str:
        return hashlib.sha256(f"{seed}:{row['_row_id']}:{row['label']}".encode()).hexdigest()

    return order
