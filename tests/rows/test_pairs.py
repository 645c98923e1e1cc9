"""Pairs of texts in a dataset's own columns: read in every format, with every fault said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import CanonicalRows, RawSplit, RowSpec, canonical_rows, read_split
from hub_trainer.rows.canonical import own_cells
from hub_trainer.rows.column_guesses import columns_of_texts, infer_spec, pair_columns

KINDS = {"text": "text", "text_pair": "text", "target": "number"}
SPEC = RowSpec("text", KINDS, {"text": "a", "text_pair": "b", "target": "score"})
ROWS = [
    {"a": "a cat sits", "b": "a cat sat", "score": 4.5},
    {"a": "a dog", "b": None, "score": 1.0},
    {"a": None, "b": "a bird", "score": 1.0},
    {"a": "no", "b": 'yes, "well"', "score": 0.5},
]
Row = dict[str, Any]


def _csv(rows: list[Row]) -> str:
    cells = [[row["a"], row["b"], row["score"]] for row in rows]
    quoted = [",".join("" if c is None else json.dumps(c).replace('\\"', '""') for c in row)
              for row in cells]  # fmt: skip
    return "\n".join(["a,b,score", *quoted]) + "\n"


def _parquet(folder: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")


WRITERS: dict[str, Callable[[Path, list[Row]], Any]] = {
    "csv": lambda folder, rows: (folder / "train.csv").write_text(_csv(rows)),
    "json": lambda folder, rows: (folder / "train.json").write_text(json.dumps(rows)),
    "jsonl": lambda folder, rows: (folder / "train.jsonl").write_text(
        "\n".join(map(json.dumps, rows))
    ),
    "parquet": _parquet,
}


def read(folder: Path, file: str, rows: list[Row], spec: RowSpec = SPEC) -> CanonicalRows:
    WRITERS[file](folder, rows)
    return canonical_rows(read_split(folder, where="the data"), spec, source="x")


@pytest.mark.parametrize("file", WRITERS)
def test_pairs_when_read_then_a_gap_in_either_text_is_counted(tmp_path: Path, file: str) -> None:
    found = read(tmp_path, file, ROWS)
    rows = found.table.select(list(KINDS)).to_pylist()
    assert rows == [
        {"text": "a cat sits", "text_pair": "a cat sat", "target": 4.5},
        {"text": "no", "text_pair": 'yes, "well"', "target": 0.5},
    ]
    assert found.dropped == {"no text_pair": 1, "no text": 1}
    assert own_cells(rows[0], KINDS) == rows[0]


@pytest.mark.parametrize("file", ["json", "jsonl"])
def test_pairs_when_one_cell_is_a_number_then_it_is_read_as_a_text(
    tmp_path: Path, file: str
) -> None:
    found = read(tmp_path, file, [*ROWS, {"a": "seven", "b": 7, "score": 5}])
    assert found.table["text_pair"].to_pylist()[-1] == "7"


@pytest.mark.parametrize("file", WRITERS)
def test_pairs_when_a_column_holds_numbers_then_a_note_says_so(tmp_path: Path, file: str) -> None:
    rows = [{**row, "b": number} for number, row in enumerate(ROWS)]
    found = read(tmp_path, file, rows)
    assert found.notes == ("the column 'b' holds numbers, which the model reads as texts",)


def test_pairs_when_a_column_holds_texts_then_there_is_no_note(tmp_path: Path) -> None:
    assert read(tmp_path, "csv", ROWS).notes == ()


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"text": "a", "target": "score"}, "The dataset has no column 'text_pair' for text_pair."),
        ({"text": "a", "text_pair": "c", "target": "score"}, "no column 'c' for text_pair."),
        ({"text": "c", "text_pair": "b", "target": "score"}, "no column 'c' for text."),
    ],
)
def test_pairs_when_a_column_is_missing_then_says_which(
    tmp_path: Path, columns: dict[str, str], what: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "jsonl", ROWS, RowSpec("text", KINDS, columns))
    assert what in str(caught.value)
    assert "columns: {text" in str(caught.value.do)


def test_pairs_when_the_second_is_a_list_then_the_column_holds_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no text") as caught:
        read(tmp_path, "jsonl", [{**row, "b": ["x"]} for row in ROWS])
    assert "column b" in str(caught.value.where)


def test_pairs_when_rows_may_not_be_left_out_then_the_first_gap_is_an_error(
    tmp_path: Path,
) -> None:
    strict = RowSpec("text", KINDS, SPEC.columns, clean=False)
    with pytest.raises(DataError, match="A row cannot be used: no text_pair") as caught:
        read(tmp_path, "csv", ROWS, strict)
    assert "row 2" in str(caught.value.where)


# --- columns that no recipe names

TEXTS = pa.array(["a long text here", "and one more text"])


def _raw(**columns: Any) -> RawSplit:
    return RawSplit(pa.table(columns), "default")


@pytest.mark.parametrize(
    ("first", "second"),
    [("sentence1", "sentence2"), ("Premise", "hypothesis"), ("text_a", "text_b")],
)
def test_columns_when_two_are_called_as_pairs_are_then_both_are_read(
    first: str, second: str
) -> None:
    spec = infer_spec(_raw(**{first: TEXTS, second: TEXTS, "label": TEXTS}))
    assert dict(spec.kinds) == {"text": "text", "text_pair": "text", "label": "label"}
    assert dict(spec.columns) == {"text": first, "text_pair": second}


def test_columns_when_of_a_pair_with_a_score_then_that_is_learned() -> None:
    raw = _raw(sentence1=TEXTS, sentence2=TEXTS, score=pa.array([0.5, 4.2]))
    spec = infer_spec(raw)
    assert (spec.answer.name, spec.columns["target"]) == ("number", "score")


def test_columns_when_one_of_a_pair_is_no_text_then_there_is_none() -> None:
    assert pair_columns(_raw(sentence1=TEXTS, sentence2=pa.array([1, 2]), label=TEXTS)) == {}
    assert pair_columns(_raw(sentence1=TEXTS, label=TEXTS)) == {}


def test_columns_of_texts_when_categories_stand_beside_then_those_are_none() -> None:
    raw = _raw(body=TEXTS, town=pa.array(["Rome", "New York"]), n=pa.array([1, 2]))
    assert columns_of_texts(raw) == ["body"]
