from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows
from tests.rows.conftest import png

TEXT = {"text": "text", "label": "label"}
IMAGE = {"image": "image", "label": "label"}
TABLE = {"label": "label"}


def canonical(table: dict[str, Any], modality: str = "text", *, classes: Any = None, **spec: Any):  # type: ignore[no-untyped-def]
    kinds = {"text": TEXT, "image": IMAGE, "table": TABLE}[modality]
    raw = RawSplit(pa.table(table), "default", classes or {})
    return canonical_rows(raw, RowSpec(modality, kinds, **spec), source="org/data@sha")


def test_text_when_mapped_then_only_its_columns_are_kept() -> None:
    found = canonical(
        {"utterance": ["a", "b"], "intent": ["x", "y"], "other": [1, 2]},
        columns={"text": "utterance", "label": "intent"},
    )
    rows = found.table.to_pylist()
    assert [list(row) for row in rows] == [["text", "label", "_row", "_source", "_row_id"]] * 2
    assert rows[0] | {"_row_id": ""} == {
        "text": "a",
        "label": "x",
        "_row": 1,
        "_source": "org/data@sha",
        "_row_id": "",
    }
    assert found.label_names is None
    assert found.features == {}


def test_text_when_slices_are_named_then_they_are_kept() -> None:
    found = canonical({"text": ["a"], "label": ["x"], "site": ["s"]}, slices=["site"])
    assert found.table["site"].to_pylist() == ["s"]


def test_column_when_missing_then_names_those_present_and_the_line_to_write() -> None:
    with pytest.raises(DataError, match="no column 'text' for text") as caught:
        canonical({"utterance": ["a"], "intent": ["x"]})
    assert "columns utterance, intent" in str(caught.value)
    assert "columns: {text: <one of them>, label: <one of them>}" in str(caught.value)


def test_column_when_mapped_to_one_that_is_missing_then_says_which() -> None:
    with pytest.raises(DataError, match="no column 'intnt' for label"):
        canonical({"text": ["a"], "intent": ["x"]}, columns={"label": "intnt"})


def test_slice_when_missing_then_is_an_error() -> None:
    with pytest.raises(DataError, match="no column 'site' for site"):
        canonical({"text": ["a"], "label": ["x"]}, slices=["site"])


def test_columns_when_an_entry_changes_nothing_then_is_an_error() -> None:
    with pytest.raises(DataError, match="columns: txt changes nothing") as caught:
        canonical({"text": ["a"], "label": ["x"], "b": ["y"]}, columns={"txt": "b"})
    assert "only text, label are kept" in str(caught.value)


def test_columns_when_two_have_one_name_then_is_an_error() -> None:
    table = pa.table(
        [pa.array(["a"]), pa.array(["b"]), pa.array(["x"])], names=["text", "text", "label"]
    )
    with pytest.raises(DataError, match="same name") as caught:
        canonical_rows(RawSplit(table, "default"), RowSpec("text", TEXT), source="s")
    assert "text" in str(caught.value)


def test_labels_when_classes_then_become_names_and_hidden_ones_are_dropped() -> None:
    found = canonical(
        {"text": ["a", "b", "c"], "label": [1, 0, -1]}, classes={"label": ("no", "yes")}
    )
    assert found.table["label"].to_pylist() == ["yes", "no"]
    assert found.label_names == ("no", "yes")
    assert found.dropped == {"no label": 1}


def test_labels_when_outside_the_classes_then_names_the_row() -> None:
    with pytest.raises(DataError, match="outside the dataset's classes") as caught:
        canonical({"text": ["a", "b"], "label": [1, 7]}, classes={"label": ("no", "yes")})
    assert "column label, row 2" in str(caught.value)
    assert "class 7, of 2 classes" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, 2.5], ["1", "2.5"]),
        ([True, False], ["True", "False"]),
        (["1", "a"], ["1", "a"]),
    ],
)
def test_labels_when_plain_values_then_become_texts(values: list[Any], names: list[str]) -> None:
    found = canonical({"text": ["a", "b"], "label": values})
    assert found.table["label"].to_pylist() == names


def test_labels_when_not_finite_or_null_then_their_rows_are_dropped() -> None:
    table = {"text": ["a", "b", "c", "d"], "label": [1.0, float("nan"), float("inf"), None]}
    found = canonical(table)
    assert found.table["label"].to_pylist() == ["1"]
    assert found.dropped == {"no label": 3}


def test_labels_when_lists_then_is_an_error() -> None:
    with pytest.raises(DataError, match="not a single value") as caught:
        canonical({"text": ["a"], "label": [["x", "y"]]})
    assert "list" in str(caught.value)


def test_text_when_lists_then_is_an_error() -> None:
    with pytest.raises(DataError, match="holds no text") as caught:
        canonical({"text": [["x"]], "label": ["a"]})
    assert "column text" in str(caught.value)


def test_rows_when_not_cleaned_then_a_null_is_an_error_with_its_row() -> None:
    with pytest.raises(DataError, match="cannot be used: no text") as caught:
        canonical({"text": ["a", None], "label": ["x", "y"]}, clean=False)
    assert "row 2" in str(caught.value)
    assert "prepare.clean" in str(caught.value)


def test_rows_when_none_is_left_then_says_why() -> None:
    with pytest.raises(DataError, match="No row is left") as caught:
        canonical({"text": ["a", "b"], "label": pa.array([None, None], pa.string())})
    assert "2 rows: 2 no label" in str(caught.value)


def test_images_when_broken_then_are_dropped_and_counted() -> None:
    found = canonical({"image": [png(), b"no image", None], "label": ["a", "b", "c"]}, "image")
    assert found.table["image"].to_pylist() == [png()]
    assert found.dropped == {"no image in a known format": 1, "no image": 1}


def test_images_when_texts_then_is_an_error() -> None:
    with pytest.raises(DataError, match="holds no pictures") as caught:
        canonical({"image": ["http://127.0.0.1/x.png"], "label": ["a"]}, "image")
    assert "string" in str(caught.value)


def test_table_when_read_then_every_other_column_is_a_feature_of_its_kind() -> None:
    table = {
        "age": [1, 2],
        "mass": [1.5, float("nan")],
        "smokes": [True, None],
        "site": ["a", "b"],
        "blank": pa.array([None, None]),
        "arm": pa.array([0, 1]),
        "species": ["x", "y"],
        "_weight": [1.0, 1.0],
    }
    found = canonical(
        table, "table", columns={"label": "species"}, classes={"arm": ("left", "right")}
    )
    assert found.features == {
        "age": "number",
        "mass": "number",
        "smokes": "boolean",
        "site": "category",
        "blank": "number",
        "arm": "category",
    }
    assert found.table.to_pylist()[1] | {"_source": 0, "_row_id": 0} == {
        "_row": 2,
        "label": "y",
        "age": 2,
        "mass": None,
        "smokes": None,
        "site": "b",
        "blank": None,
        "arm": "right",
        "_source": 0,
        "_row_id": 0,
    }


def test_table_when_a_column_leaks_the_label_then_it_can_be_dropped() -> None:
    table = {"age": [1], "severity": [3], "label": ["ill"]}
    assert canonical(table, "table", drop_columns=["severity"]).features == {"age": "number"}


def test_table_when_a_feature_is_renamed_then_it_has_the_new_name() -> None:
    found = canonical({"Age (years)": [1], "label": ["x"]}, "table", columns={"age": "Age (years)"})
    assert list(found.features) == ["age"]


def test_table_when_the_label_is_mapped_then_a_column_named_label_is_no_feature() -> None:
    found = canonical({"label": ["old"], "new": ["x"], "a": [1]}, "table", columns={"label": "new"})
    assert found.table["label"].to_pylist() == ["x"]
    assert list(found.features) == ["a"]


def test_drop_columns_when_missing_then_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="does not have: sverity") as caught:
        canonical({"severity": [1], "label": ["x"]}, "table", drop_columns=["sverity"])
    assert "columns severity, label" in str(caught.value)


def test_drop_columns_when_the_column_is_needed_then_is_an_error() -> None:
    with pytest.raises(DataError, match="removes a column that is needed: label"):
        canonical({"a": [1], "label": ["x"]}, "table", drop_columns=["label"])


def test_drop_columns_when_a_slice_is_named_then_it_is_kept_and_the_model_does_not_see_it() -> None:
    columns = {"a": [1], "place": ["s"], "label": ["x"]}
    of = {"slices": ["site"], "columns": {"site": "place"}}
    found = canonical(columns, "table", drop_columns=["place"], **of)
    assert found.table["_slice_site"].to_pylist() == ["s"]
    assert found.features == {"a": "number"}
    other = canonical({**columns, "place": ["t"]}, "table", drop_columns=["place"], **of)
    assert other.table["_row_id"] == found.table["_row_id"]
    seen = canonical(columns, "table", **of)
    assert seen.features == {"site": "category", "a": "number"}
    text = canonical({"text": ["a"], "label": ["x"], "b": [1]}, drop_columns=["b"], slices=["b"])
    assert text.table["b"].to_pylist() == [1]


def test_drop_columns_when_it_changes_nothing_then_is_an_error() -> None:
    with pytest.raises(DataError, match="drop_columns: b changes nothing"):
        canonical({"text": ["a"], "label": ["x"], "b": [1]}, drop_columns=["b"])


def test_feature_when_dates_hold_a_mistake_then_it_is_a_gap_and_the_row_is_named() -> None:
    days = ["2024-01-01"] * 19 + ["soon"]
    found = canonical({"seen": days, "a": range(20), "label": ["x", "y"] * 10}, "table")
    assert found.features == {"seen": "date", "a": "number"}
    assert found.table["seen"].to_pylist()[-1] is None
    assert "the column 'seen' holds dates, but row 20 'soon' is none: they are gaps" in found.notes
    remarks = [f"a remark of several words {chr(97 + n)}" for n in range(20)]
    said = canonical({"seen": remarks, "label": ["x", "y"] * 10}, "table")
    assert said.features == {"seen": "category"}
    assert any("of which the model sees how often each word comes" in n for n in said.notes)


def test_feature_when_of_another_kind_then_proposes_to_drop_it() -> None:
    with pytest.raises(DataError, match="neither number, text, date nor boolean") as caught:
        canonical({"seen": pa.array([[0]]), "label": ["x"]}, "table")
    assert "column seen" in str(caught.value)
    assert "drop_columns" in str(caught.value)


@pytest.mark.parametrize("day", ["03/10/2017", "3-10-17", "10 March 2017", "Mar 10, 2017 10:30 PM"])
def test_feature_when_dates_can_be_misread_then_says_how_to_write_them(day: str) -> None:
    raw = RawSplit(pa.table({"day": [day] * 9 + [None], "label": list("ab") * 5}), "default")
    notes = canonical_rows(raw, RowSpec("table", {"label": "label"}), source="x").notes
    assert any(f"dates in a way that can be misread ({day!r})" in one for one in notes)
    assert any("write them as 2024-03-31" in one for one in notes)
