"""Words with tags in a dataset's own columns: read as a text with spans, and written back."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows
from hub_trainer.rows.canonical import own_cells
from hub_trainer.rows.column_guesses import infer_spec
from hub_trainer.rows.own_schema import OwnSchema, describe_folder, in_own_schema
from hub_trainer.rows.read import read_split

KINDS = {"tokens": "words", "tags": "spans"}
SPEC = RowSpec("text", KINDS)
NAMES = ["O", "B-Gene", "I-Gene"]


def raw(tokens: Any, tags: Any, **more: Any) -> RawSplit:
    return RawSplit(pa.table({"tokens": pa.array(tokens), "tags": pa.array(tags)}), "", **more)


def features(path: Path) -> Path:
    """A dataset of one parquet file whose tags are classes."""
    folder = path / "data"
    folder.mkdir()
    rows = {"id": ["1", "2"], "tokens": [["BRCA", "1"], ["in", "us"]], "ner_tags": [[1, 2], [0, 0]]}
    own = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
        }
    )
    datasets.Dataset.from_dict(rows, features=own).to_parquet(folder / "train-0.parquet")
    return path


def test_rows_when_read_then_a_text_and_its_words_with_tags() -> None:
    found = canonical_rows(raw([["BRCA", "1"], ["us"]], [["B-Gene", "I-Gene"], ["O"]]), SPEC,
                           source="x")  # fmt: skip
    assert set(found.table.column_names) == {"text", "tags", "_row", "_source", "_row_id"}
    assert found.table["text"].to_pylist() == ["BRCA 1", "us"]
    assert found.table["tags"].to_pylist()[0] == [["BRCA", "B-Gene"], ["1", "I-Gene"]]
    [first, _] = found.table.select(["text", "tags"]).to_pylist()
    assert own_cells(first, KINDS) == {"tokens": ["BRCA", "1"], "tags": ["B-Gene", "I-Gene"]}


def test_rows_when_broken_then_left_out_and_counted() -> None:
    tokens = [["a"], ["a", "b"], [], None, ["a"], [" "], ["b"], ["c"], ["d"]]
    tags = [["O"], ["O"], [], ["O"], None, ["O"], ["B-Gene"], ["x"], ["O"]]
    found = canonical_rows(raw(tokens, tags), SPEC, source="x")
    assert found.table["text"].to_pylist() == ["a", "b", "d"]
    assert found.dropped == {
        "tags and tokens differ in number": 1,
        "no tokens": 3,
        "no tags": 1,
        "a tag is not O, and not a prefix and a type as B-Disease": 1,
    }


def test_rows_when_in_another_form_then_a_note_says_so() -> None:
    found = canonical_rows(raw([["a", "b"]], [["I-Gene", "O"]]), SPEC, source="x")
    assert found.notes == ("the tags are IOB1; they are learned as IOB2",)
    assert found.table["tags"].to_pylist() == [[["a", "B-Gene"], ["b", "O"]]]


def test_rows_when_the_words_are_a_text_then_says_what_is_wanted() -> None:
    with pytest.raises(DataError, match="The column holds no lists of words"):
        canonical_rows(raw(["a b"], [["O", "O"]]), SPEC, source="x")


def test_split_when_tags_are_classes_then_types_are_declared(tmp_path: Path) -> None:
    read = read_split(features(tmp_path), split="train")
    spec = infer_spec(read)
    assert (spec.kinds, spec.columns) == (KINDS, {"tags": "ner_tags"})
    found = canonical_rows(read, spec, source="x")
    assert found.label_names == ("Gene",)
    assert found.table["tags"].to_pylist()[0] == [["BRCA", "B-Gene"], ["1", "I-Gene"]]


@pytest.mark.parametrize("tags", [[["O", "B-Gene", "I-Gene", "O"]], [[0, 1, 2, 0]]])
def test_rows_when_contributed_then_in_their_order(tags: Any, tmp_path: Path) -> None:
    schema = OwnSchema.from_json(describe_folder(str(features(tmp_path)), "train"))
    names = {"list_names": {"tags": tuple(NAMES)}} if tags[0][0] == 0 else {}
    own = raw([["z", "BRCA", "1", "z"]], tags, **names)
    found = in_own_schema(own, schema, {"ner_tags": "tags"}, where="x", optional=["id"])
    assert found.to_pylist() == [
        {"id": None, "tokens": ["z", "BRCA", "1", "z"], "ner_tags": [0, 1, 2, 0]}
    ]
    with pytest.raises(DataError, match="does not have these labels"):
        in_own_schema(raw([["a"]], [["B-Drug"]]), schema, {"ner_tags": "tags"}, where="x",
                      optional=["id"])  # fmt: skip
