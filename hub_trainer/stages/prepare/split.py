"""Splits of rows into training, validation and test: by content, so that a row keeps its place."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hub_trainer.answers import Answer

Row = dict[str, Any]


def take_validation(
    rows: Sequence[Row], fraction: float, seed: int, answer: Answer
) -> tuple[list[Row], list[Row]]:
    """(train, validation): a share of each label, chosen by the seed and the row's content.

    Answers that are no labels are split by groups of their own kind. Every group keeps a training
    row; together at least one row is taken when there are two.
    """
    chosen = _share_of_each(rows, fraction, answer, seed)
    train = [row for number, row in enumerate(rows) if number not in chosen]
    return train, [row for number, row in enumerate(rows) if number in chosen]


def _share_of_each(rows: Sequence[Row], fraction: float, answer: Answer, seed: int) -> set[int]:
    values = [row[answer.column] for row in rows]
    groups: dict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(answer.strata(values)):
        groups[group].append(number)

    def place(number: int) -> str:
        told = f"{seed}:{rows[number]['_row_id']}:{answer.dumps(values[number])}"
        return hashlib.sha256(told.encode()).hexdigest()

    chosen: set[int] = set()
    for numbers in groups.values():
        wanted = min(round(len(numbers) * fraction), len(numbers) - 1)
        chosen |= set(sorted(numbers, key=place)[:wanted])
    spare = [numbers for numbers in groups.values() if len(numbers) > 1]
    if not chosen and spare:
        chosen = {max(spare, key=len)[-1]}
    return chosen
