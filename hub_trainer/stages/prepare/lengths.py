"""Rows that are longer than the model reads: left out, or refused with the first one's name."""

from collections.abc import Sequence
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.rows.left_out import short_source
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE
from hub_trainer.tasks import TokenCounts

Row = dict[str, Any]
Dropped = list[tuple[Row, str]]


def without_too_long(
    rows: Sequence[Row], found: TokenCounts, *, refuse: bool, split: str
) -> tuple[list[Row], Dropped]:
    """Rows that the model reads whole, and the others with the reason.

    Raises DataError for the first of the others if they are refused, and where no row is left.
    """
    longest = found.longest
    if longest is None:
        return list(rows), []
    sized = list(zip(rows, found.counts, strict=True))
    kept = [row for row, size in sized if size <= longest]
    long = [(row, size) for row, size in sized if size > longest]
    if not long:
        return kept, []
    if refuse:
        row, size = long[0]
        raise DataError(
            "A row is longer than the model reads.",
            where=f"{split} row {row.get(ROW_NUMBER, 'unknown')} of {short_source(row[SOURCE])}",
            got=f"{size:,} tokens, of which it reads {longest:,}; {len(long):,} such "
            f"{'row' if len(long) == 1 else 'rows'} of {len(sized):,}",
            do="shorten it, raise prepare.max_length where the base model takes more, or set "
            "prepare.too_long to drop or cut",
        )
    if not kept:
        raise DataError(
            f"All {split} rows are longer than the model reads.",
            where="prepare.too_long",
            got=f"from {min(size for _, size in long):,} tokens on, of which it reads {longest:,}",
            do="raise prepare.max_length, take a base model that reads more, or set "
            "prepare.too_long to cut",
        )
    return kept, [(row, f"longer than {longest:,} tokens") for row, _ in long]
