import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.answers.label_names import alike_labels, alike_notes, in_order
from hub_trainer.errors import DataError
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows, read_split
from tests.rows.conftest import Folder

TEXT = RowSpec("text", {"text": "text", "label": "label"})
SETS = RowSpec("text", {"text": "text", "labels": "labels"})


def labels_of(values: pa.Array) -> list[str]:
    table = pa.table({"text": [f"t{i}" for i in range(len(values))], "label": values})
    return canonical_rows(RawSplit(table, "default"), TEXT, source="s").table["label"].to_pylist()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array(["neg", "neg ", "\u00a0neg", "Neg"]), ["neg", "neg", "neg", "Neg"]),
        (pa.array(["caf\u00e9", "cafe\u0301", "\ufeffcaf\u00e9"]), ["caf\u00e9"] * 3),
        (pa.array([1.0, 2.0, None, float("nan"), 10.0]), ["1", "2", "10"]),
        (pa.array([True, False]), ["True", "False"]),
        (pa.array(["a", "  ", "b"]), ["a", "b"]),
        (pa.array([0.5, 1.5]), ["0.5", "1.5"]),
        (pa.array([0.1, 2.0], pa.float32()), ["0.1", "2"]),
        (pa.array([0.1, 2.0]).cast(pa.float16()), ["0.1", "2"]),
        (pa.array([Decimal("1.00"), Decimal("1.50")]), ["1", "1.50"]),
        (pa.array([b"neg", b"pos "]), ["neg", "pos"]),
        (pa.array(["a\u00ad", "\u200ea", "\u202aa\u202c"]), ["a", "a", "a"]),
        (pa.array([2**63 + 1, 0], pa.uint64()), ["9223372036854775809", "0"]),
    ],
)
def test_labels_when_read_then_have_one_form(values: pa.Array, names: list[str]) -> None:
    assert labels_of(values) == names


def test_labels_when_alike_then_a_note_names_them() -> None:
    table = pa.table({"text": list("abcd"), "label": ["neg", "neg ", "Neg", "pos"]})
    found = canonical_rows(RawSplit(table, "default"), TEXT, source="s")
    assert "'Neg' (1 rows), 'neg' (2 rows)" in found.notes[0]
    assert alike_labels(["a b", "A  b", "c"]) == [["A  b", "a b"]]


def test_labels_when_numbers_then_stand_in_their_own_order() -> None:
    names = ["10", "2", "b", "1", "-1", "a", "0.5"]
    assert in_order(names) == ["-1", "0.5", "1", "2", "10", "a", "b"]
    assert in_order(["True", "False"]) == ["False", "True"]


def test_labels_when_one_number_is_written_in_several_ways_then_a_note_names_them() -> None:
    [note] = alike_notes({"01": 3, "1": 2, "2": 5})
    assert note.startswith("labels that are one number written in several ways: '01' (3 rows), '1'")
    assert alike_notes({"1.1": 1, "1.2": 1}) == []
    assert alike_labels(["a\u200d", "a"]) == [["a", "a\u200d"]]


def test_labels_when_json_mixes_kinds_then_equal_ones_are_one(folder: Folder) -> None:
    values = ["1", 1, 1.0, True, None, " x "]
    lines = "".join(json.dumps({"text": "t", "label": value}) + "\n" for value in values)
    found = canonical_rows(read_split(folder({"train.jsonl": lines})), TEXT, source="s")
    assert found.table["label"].to_pylist() == ["1", "1", "1", "True", "x"]


def _sets(folder: Folder, files: dict[str, Any]) -> list[list[str]]:
    found = canonical_rows(read_split(folder(files), where="ds"), SETS, source="s")
    named: list[list[str]] = found.table["labels"].to_pylist()
    return named


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("['a', 'b']", ["a", "b"]),
        ('[""it\'s"", \'b\']', ["b", "it's"]),
        ("{'b', 'a'}", ["a", "b"]),
        ("('b',)", ["b"]),
        ("['a' 'b']", ["a", "b"]),
        ("[]", []),
        ("(unsure)", ["(unsure)"]),
    ],
)
def test_sets_when_a_csv_holds_printed_lists_then_are_their_names(
    folder: Folder, cell: str, names: list[str]
) -> None:
    assert _sets(folder, {"train.csv": f'text,labels\nt,"{cell}"\nu,x\n'}) == [names, ["x"]]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([["y", "x"], ["x", "z"]], pa.list_(pa.string(), 2)), [["x", "y"], ["x", "z"]]),
        (pa.array([[0.1, None], [2]], pa.list_(pa.float32())), [["0.1"], ["2"]]),
        (pa.array([[1, 1], [0]]), [["1"], ["0"]]),
    ],
)
def test_sets_when_lists_are_of_another_type_then_are_read(
    folder: Folder, values: pa.Array, names: list[list[str]]
) -> None:
    assert (
        _sets(folder, {"train.parquet": pa.table({"text": ["t", "u"], "labels": values})}) == names
    )


def test_sets_when_json_mixes_kinds_then_names_are_plain(folder: Folder) -> None:
    lines = '{"text": "t", "labels": ["a", 1]}\n{"text": "u", "labels": [1.0]}\n'
    assert _sets(folder, {"train.jsonl": lines}) == [["1", "a"], ["1"]]


def test_sets_when_zeros_and_ones_then_refused(folder: Folder) -> None:
    table = pa.table({"text": ["t", "u"], "labels": [[1, 0, 0], [0, 1, 1]]})
    with pytest.raises(DataError, match="name no label") as caught:
        _sets(folder, {"train.parquet": table})
    assert "column labels\n  got:   [1, 0, 0]" in str(caught.value)


def test_classes_when_names_hold_white_space_then_without_it(folder: Folder) -> None:
    card = (
        "dataset_info: {features: [{name: text, dtype: string}, "
        "{name: label, dtype: {class_label: {names: {'0': ' neg', '1': 'pos '}}}}]}"
    )
    root = folder({"train.csv": "text,label\na,0\nb,1\n"}, card)
    found = canonical_rows(read_split(root), TEXT, source="s")
    assert (found.label_names, found.table["label"].to_pylist()) == (("neg", "pos"), ["neg", "pos"])


def test_label_when_a_list_of_classes_then_refused_with_the_way_to_learn_it() -> None:
    table = pa.table({"text": ["a"], "label": [[0, 1]]})
    raw = RawSplit(table, "default", list_names={"label": ("neg", "pos")})
    with pytest.raises(DataError, match="not a single value") as caught:
        canonical_rows(raw, TEXT, source="s")
    assert "columns: {labels: ...}" in str(caught.value)


def test_features_when_white_space_is_around_them_then_is_not_theirs(folder: Folder) -> None:
    lines = "a,b,label\nred,1,x\nred ,  ,y\n  ,3,x\n"
    spec = RowSpec("table", {"label": "label"})
    found = canonical_rows(read_split(folder({"train.csv": lines})), spec, source="s")
    assert found.table["a"].to_pylist() == ["red", "red", None]
    assert found.table["b"].to_pylist() == [1, None, 3]
    assert found.features == {"a": "category", "b": "number"}


def test_feature_when_a_whole_number_of_64_bits_without_sign_then_is_a_number() -> None:
    values = pa.array([2**63 + 1, 4], pa.uint64())
    raw = RawSplit(pa.table({"a": values, "label": ["x", "y"]}), "default")
    found = canonical_rows(raw, RowSpec("table", {"label": "label"}), source="s")
    assert found.table["a"].to_pylist() == [float(2**63), 4.0]
