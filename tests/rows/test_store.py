import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from hub_trainer.rows import read_rows, read_table, row_id, with_row_ids, write_rows


def test_rows_when_written_twice_then_the_bytes_are_the_same(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": ["x", "y"]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    write_rows(tmp_path / "a.parquet", table)
    write_rows(tmp_path / "b.parquet", chunked.replace_schema_metadata({"a": "b"}))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_rows(tmp_path / "a.parquet") == table.to_pylist()
    assert read_table(tmp_path / "a.parquet").equals(table)


def test_row_id_when_label_slices_or_provenance_differ_then_is_the_same() -> None:
    assert row_id({"text": "a", "label": "x"}, "text") == row_id(
        {"text": "a", "label": "y", "site": "s", "_source": "z"}, "text"
    )
    assert row_id({"a": 1, "label": "x", "_source": "y"}, "table") == row_id({"a": 1}, "table")


def test_row_id_when_of_a_prompt_then_is_as_it_was_before_prompts_were_an_input() -> None:
    row = {"text": "Hi? Yes.", "prompt": "Hi? ", "label": "demonstration"}
    assert row_id(row, "prompt") == row_id(row, "text")
    assert row_id({"text": "a"}, "prompt") == hashlib.sha256(b"text\0a").hexdigest()


def test_row_id_when_content_differs_then_differs() -> None:
    rows = [{"text": "a"}, {"text": "b"}, {"text": "a "}]
    assert len({row_id(row, "text") for row in rows}) == 3
    tables = [{"a": 1.0}, {"a": "1.0"}, {"a": True}, {"a": None}, {"b": 1.0}]
    assert len({row_id(row, "table") for row in tables}) == 5


def test_row_id_when_a_whole_number_is_read_as_a_fraction_then_is_the_same() -> None:
    assert row_id({"a": 1, "b": "x"}, "table") == row_id({"b": "x", "a": 1.0}, "table")


def test_row_id_when_of_an_image_then_is_of_its_bytes() -> None:
    assert row_id({"image": b"1"}, "image") != row_id({"image": b"2"}, "image")
    with pytest.raises(KeyError):
        row_id({"text": "a"}, "image")


def test_with_row_ids_when_the_content_changed_then_the_ids_change() -> None:
    table = with_row_ids(pa.table({"text": ["a"], "label": ["x"]}), "text")
    changed = with_row_ids(table.set_column(0, "text", pa.array(["b"])), "text")
    assert changed.column_names == ["text", "label", "_row_id"]
    assert changed["_row_id"][0].as_py() == row_id({"text": "b"}, "text")
