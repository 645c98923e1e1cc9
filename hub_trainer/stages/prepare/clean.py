"""Rows without those that the task cannot use."""

from collections.abc import Callable, Sequence
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.rows.left_out import short_source
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE

Row = dict[str, Any]


def without_problems(
    rows: Sequence[Row], problems: Callable[[Row], list[str]], *, drop: bool, split: str
) -> tuple[list[Row], list[tuple[Row, str]]]:
    """Rows that the task can use, and others with the reason; unless `drop`, those are errors."""
    kept: list[Row] = []
    dropped: list[tuple[Row, str]] = []
    for number, row in enumerate(rows, start=1):
        found = problems(row)
        if found and not drop:
            raise DataError(
                f"A row cannot be used: {found[0]}.",
                where=f"{split} row {row.get(ROW_NUMBER, number)}, of {short_source(row[SOURCE])}",
                got=f"row id {row['_row_id'][:12]}",
                do="Correct it, or set prepare.clean to true to leave such rows out.",
            )
        if found:
            dropped.append((row, found[0]))
        else:
            kept.append(row)
    return kept, dropped
