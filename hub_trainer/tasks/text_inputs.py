"""Texts of a row: what is wrong with them, and the boxes in which a Space is given them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.tasks import Row, Widgets

MAX_TEXT_CHARACTERS = 20_000
LABELS = {"text": "Text", "text_pair": "Second text"}
"""Column of a text -> what its box in the Space is called where the dataset has no name for it."""


def text_faults(row: Row, names: Sequence[str]) -> list[str]:
    """The columns of a row that hold no text, though they should."""
    return [f"{name} is empty" for name in names if not _is_text(row.get(name))]


def text_boxes(
    names: Sequence[str], *, purpose: str, unread: Callable[[Path, Row], list[str]]
) -> Widgets:
    """A box for each column of a text; `purpose` is what is done with the texts: classify."""
    boxes = [("Textbox", {"label": LABELS[name], "lines": 4}) for name in names]
    columns = names if names[1:] else ()
    return Widgets(boxes, partial(_text_row, names, purpose), unread=unread, columns=columns)


def _text_row(names: Sequence[str], purpose: str, values: Sequence[Any]) -> dict[str, Any]:
    row = dict(zip(names, values, strict=True))
    empty = [name for name in names if not _is_text(row[name])]
    if empty:
        what = f"There is no text to {purpose}."
        what = "One of the two texts is missing." if len(names) > len(empty) else what
        raise DataError(what, do="write both texts first" if names[1:] else "write a text first")
    longest = max(map(len, row.values()))
    if longest > MAX_TEXT_CHARACTERS:
        which = "One text" if names[1:] else "The text"
        raise DataError(
            f"{which} has {longest:,} characters, and {MAX_TEXT_CHARACTERS:,} is the limit.",
            do="shorten it",
        )
    return row


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
