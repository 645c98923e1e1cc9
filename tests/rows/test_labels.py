import pyarrow as pa
import pytest

from hub_trainer.answers.label_names import alike_labels, in_order
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows

TEXT = RowSpec("text", {"text": "text", "label": "label"})


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
