"""Canonical columns of rows: which hold the answer or a further input, and what a model sees."""

from collections.abc import Mapping

ANSWER_COLUMNS: Mapping[str, str] = {
    "label": "label",
    "labels": "labels",
    "target": "number",
    "tags": "spans",
}
"""Canonical column -> the answer that it holds. No feature of a table may have such a name."""

OPTIONAL_INPUTS: Mapping[str, str] = {"text_pair": "text"}
"""Canonical column that a recipe may name beside those of its task -> the input that it holds."""


def is_answer(column: str) -> bool:
    """Whether a canonical column holds the answer, and is nothing that a model sees."""
    return column in ANSWER_COLUMNS


def is_feature(column: str) -> bool:
    """Whether a table's column is one that a model sees: no answer, no provenance."""
    return not is_answer(column) and not column.startswith("_")
