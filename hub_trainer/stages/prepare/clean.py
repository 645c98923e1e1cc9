"""Rows made alike: Unicode, control characters and white space, and no row the task cannot use."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from hub_trainer.answers.words import UNSEEN
from hub_trainer.errors import DataError
from hub_trainer.recipe.columns import is_feature
from hub_trainer.rows.store import ROW_NUMBER

Row = dict[str, Any]
Modality = str
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n ?")


def clean_rows(rows: Sequence[Row], modality: Modality) -> list[Row]:
    """Rows with their texts cleaned; images stay as they are, a table's empty text is null."""
    if modality == "image":
        return list(rows)
    if modality == "text":
        return [{**row, "text": clean_text(row["text"])} for row in rows]
    return [{name: _cell(name, value) for name, value in row.items()} for row in rows]


def clean_text(text: str) -> str:
    """One Unicode form (NFC), no invisible controls, single spaces, no space at line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", UNSEEN.sub("", text))
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()


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
                where=f"{split} row {row.get(ROW_NUMBER, number)}, of {row['_source']}",
                got=f"row id {row['_row_id'][:12]}",
                do="Correct it, or set prepare.clean to true to leave such rows out.",
            )
        if found:
            dropped.append((row, found[0]))
        else:
            kept.append(row)
    return kept, dropped


def _cell(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not is_feature(name):
        return value
    return clean_text(value) or None
