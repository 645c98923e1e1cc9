"""Canonical columns of rows: which hold the answer or a further input, and what a model sees."""

from collections.abc import Mapping

COLUMN_OF: Mapping[str, str] = {
    "label": "label",
    "labels": "labels",
    "number": "target",
    "spans": "tags",
    "transcript": "text",
    "completion": "example",
}
"""Answer -> its canonical column."""

SHOWN_COLUMNS = frozenset({"text", "example"})
"""Of those, what other tasks may show a model: only the task says whether it holds the answer."""

ANSWER_COLUMNS: Mapping[str, str] = {
    column: answer for answer, column in COLUMN_OF.items() if column not in SHOWN_COLUMNS
}
"""Canonical column that holds nothing but an answer -> the answer. No feature of a table may have
such a name."""

OPTIONAL_INPUTS: Mapping[str, str] = {"text_pair": "text"}
"""Canonical column that a recipe may name beside those of its task -> the input that it holds."""


UNSEEN = "_slice_"
"""What the name of a slice begins with that a table's model must not see."""


def is_answer(column: str) -> bool:
    """Whether a canonical column holds the answer whatever the task."""
    return column in ANSWER_COLUMNS


def unseen(column: str) -> str:
    """What a table's column is called that is a slice and that the model must not see."""
    return f"{UNSEEN}{column}"


def is_feature(column: str) -> bool:
    """Whether a table's column is one that a model sees: no answer, no provenance."""
    return not is_answer(column) and not column.startswith("_")
