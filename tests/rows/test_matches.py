"""Pairs without a number become pairs with one: of what belongs together and what does not."""

from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows

KINDS = {"text": "text", "text_pair": "text", "target": "number"}


def canonical(table: dict[str, Any], **spec: Any) -> list[dict[str, Any]]:
    spec = {"matches": True, **spec}
    raw = RawSplit(pa.table(table), "default", {})
    found = canonical_rows(raw, RowSpec("text", KINDS, **spec), source="org/data@sha")
    rows: list[dict[str, Any]] = found.table.to_pylist()
    return [{key: row[key] for key in ("text", "text_pair", "target", "_row")} for row in rows]


def test_pairs_when_they_have_no_number_then_belong_together() -> None:
    columns = {"text": "question", "text_pair": "answer"}
    assert canonical({"question": ["a", "b"], "answer": ["x", "y"]}, columns=columns) == [
        {"text": "a", "text_pair": "x", "target": 1.0, "_row": 1},
        {"text": "b", "text_pair": "y", "target": 1.0, "_row": 2},
    ]


def test_triplets_when_read_then_are_two_pairs_of_one_row() -> None:
    columns = {"text": "anchor", "text_pair": "positive"}
    table = {
        "anchor": ["a", "b", "c"],
        "positive": ["x", "y", "z"],
        "negative": ["n", None, "  "],
    }
    assert canonical(table, columns=columns) == [
        {"text": "a", "text_pair": "x", "target": 1.0, "_row": 1},
        {"text": "b", "text_pair": "y", "target": 1.0, "_row": 2},
        {"text": "c", "text_pair": "z", "target": 1.0, "_row": 3},
        {"text": "a", "text_pair": "n", "target": 0.0, "_row": 1},
    ]
    renamed = {**columns, "negative": "wrong"}
    table["wrong"] = table.pop("negative")
    assert len(canonical(table, columns=renamed)) == 4


def test_pairs_when_they_have_a_number_then_it_is_kept() -> None:
    table = {"text": ["a", "b"], "text_pair": ["x", "y"], "score": [0.5, 5.0]}
    found = canonical(table, columns={"target": "score"})
    assert [row["target"] for row in found] == [0.5, 5.0]


def test_triplets_when_a_number_is_there_too_then_says_to_keep_one() -> None:
    table = {"text": ["a"], "text_pair": ["x"], "negative": ["n"], "score": [0.5]}
    with pytest.raises(DataError, match="say in two ways what belongs together") as caught:
        canonical(table, columns={"target": "score"})
    assert caught.value.do == "Keep one of them: drop_columns: [score], or [negative]."


def test_pairs_when_the_loss_needs_numbers_then_the_column_is_asked_for() -> None:
    with pytest.raises(DataError, match="no column 'target' for target"):
        canonical({"text": ["a"], "text_pair": ["x"]}, matches=False)
