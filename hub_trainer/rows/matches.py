"""Pairs without a number: texts that belong together, and those that do not, as pairs with one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hub_trainer.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

NEGATIVE = "negative"
"""Our name of the column with a text that does not belong to the first one of its row."""
PAIR = "text_pair"
TOGETHER, APART = 1.0, 0.0


def matched_columns(
    columns: Mapping[str, str], number: str, present: Sequence[str], where: str
) -> tuple[str | None, bool]:
    """The dataset's column of texts that do not belong, if there is one, and whether its pairs have
    a number.

    Raises DataError where rows have both: they would say the same twice.
    """
    theirs = columns.get(NEGATIVE, NEGATIVE if NEGATIVE in present else None)
    numbered = number in columns or number in present
    if theirs is not None and numbered:
        raise DataError(
            "The rows say in two ways what belongs together.",
            where=where,
            got=f"the column {theirs!r} for {NEGATIVE}, and {columns.get(number, number)!r} for "
            f"{number}",
            do=f"Keep one of them: drop_columns: [{columns.get(number, number)}], or [{theirs}].",
        )
    return theirs, numbered


def with_those_apart(table: "pa.Table", number: str) -> "pa.Table":
    """Each row with a negative as two pairs: one that belongs together, one that does not."""
    import pyarrow as pa

    negatives = table[NEGATIVE].to_pylist()
    plain = table.drop_columns([NEGATIVE])
    has_one = pa.array([bool(text and text.strip()) for text in negatives], pa.bool_())
    apart = plain.filter(has_one)
    texts = pa.array([text for text in negatives if text and text.strip()], pa.string())
    apart = apart.set_column(apart.column_names.index(PAIR), PAIR, texts)
    numbers = pa.array([APART] * apart.num_rows, pa.float64())
    apart = apart.set_column(apart.column_names.index(number), number, numbers)
    return pa.concat_tables([plain, apart])
