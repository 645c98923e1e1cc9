"""Structures of other keys than the dataset's: kept, null, or told by the name of the key."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import read_split
from hub_trainer.rows.nested import fitted
from hub_trainer.rows.own_schema import (
    OwnSchema,
    describe_folder,
    encode_table,
    in_own_schema,
)

TURN = pa.struct({"role": pa.string(), "content": pa.string()})
CALLING = pa.struct({**{f.name: f.type for f in TURN}, "tool_calls": pa.list_(pa.string())})
JSON = pa.json_(pa.string())
SAID = {"role": "user", "content": "hello"}


DATED = pa.struct({"role": pa.string(), "ts": pa.timestamp("s"), "price": pa.decimal128(5, 2)})


@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        (DATED, {"role": "user", "ts": "2024-01-02 03:04:05", "price": "3.10"},
         {"role": "user", "ts": datetime(2024, 1, 2, 3, 4, 5), "price": Decimal("3.10")}),
        (JSON, [{"role": "user", "ts": datetime(2024, 1, 2)}],
         '[{"role": "user", "ts": "2024-01-02 00:00:00"}]'),
        (pa.list_(CALLING), [SAID], [{**SAID, "tool_calls": None}]),
        (pa.list_(TURN), [{**SAID, "tool_calls": []}], [SAID]),
        (pa.list_(TURN), [{"role": "user", "content": 41}], [{"role": "user", "content": "41"}]),
        (pa.list_(TURN), json.dumps([SAID]), [SAID]),
        (pa.list_(TURN), SAID, [SAID]),
        (pa.list_(CALLING), [{"role": "a", "tool_calls": [{"x": 1}]}],
         [{"role": "a", "content": None, "tool_calls": ['{"x": 1}']}]),
        (pa.list_(JSON), [{**SAID, "name": None}],
         ['{"role": "user", "content": "hello", "name": null}']),
        (JSON, [SAID], json.dumps([SAID])),
        (pa.struct({"role": pa.list_(pa.string()), "content": pa.list_(pa.string())}), [SAID],
         {"role": ["user"], "content": ["hello"]}),
        (pa.map_(pa.string(), pa.int64()), {"a": 1}, [("a", 1)]),
    ],
)  # fmt: skip
def test_structure_when_of_other_keys_then_fits_what_has_room(
    kind: Any, value: Any, right: Any
) -> None:
    assert fitted([value], kind, where="file").to_pylist() == [right]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (pa.list_(TURN), [{**SAID, "name": "ann"}], "the key 'name', beside role, content"),
        (pa.struct({"of": TURN}), {"of": {"weight": 1}}, "the key 'weight' of 'of'"),
        (pa.list_(TURN), ["hello"], "str, where the dataset has keys and values"),
        (pa.list_(TURN), 7, "int, where the dataset has a list"),
        (pa.struct({"n": pa.int64()}), {"n": "many"}, "'n' holds str, not int64"),
    ],
)
def test_structure_when_there_is_no_room_then_error_names_row_and_key(
    kind: Any, value: Any, told: str
) -> None:
    with pytest.raises(DataError) as error:
        fitted([None, value], kind, where="file, column messages")
    assert told in str(error.value)
    assert "file, column messages, row 2" in str(error.value)


def _folder(path: Path, *files: list[dict[str, Any]]) -> Path:
    path.mkdir()
    for number, rows in enumerate(files):
        (path / f"train-{number}.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    return path


def test_chats_when_the_dataset_takes_any_key_then_are_kept_as_written(tmp_path: Path) -> None:
    called = {"role": "assistant", "tool_calls": [{"function": {"arguments": {"city": "Rome"}}}]}
    there = _folder(tmp_path / "there", [{"messages": [SAID, {**SAID, "name": "ann"}]}])
    new = _folder(tmp_path / "new", [{"messages": [SAID]}, {"messages": [SAID, called]}])
    schema = OwnSchema.from_json(describe_folder(str(there), "train"))
    table = in_own_schema(read_split(new), schema, {}, where="new")
    lines = encode_table(table, "jsonl", schema, where="there").decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"messages": [SAID]},
        {"messages": [SAID, called]},
    ]


def test_files_of_json_when_their_keys_differ_then_are_read_side_by_side(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path / "data",
        [{"messages": [SAID], "n": 1}],
        [{"messages": [{**SAID, "name": "ann"}], "n": 2}],
    )
    raw = read_split(folder)
    assert raw.table["n"].to_pylist() == [1, 2]
    assert [json.loads(cell) for cell in raw.json["messages"].to_pylist()] == [
        [SAID],
        [{**SAID, "name": "ann"}],
    ]


def test_cells_when_json_has_no_value_for_them_then_are_texts_or_an_error_names_the_row() -> None:
    schema = OwnSchema({})
    table = pa.table({"text": ["a", "b"], "day": [None, datetime(2024, 1, 2)]})
    lines = encode_table(table, "jsonl", schema, where="there").decode().splitlines()
    assert json.loads(lines[1]) == {"text": "b", "day": "2024-01-02 00:00:00"}
    table = pa.table({"text": ["a", "b"], "raw": [None, b"\xff"]})
    with pytest.raises(DataError) as caught:
        encode_table(table, "jsonl", schema, where="there")
    assert (caught.value.where, caught.value.got) == ("there, row 2", "bytes, not a text")
    with pytest.raises(DataError) as caught:
        fitted([{"raw": b"\xff"}], JSON, where="there")
    assert caught.value.where == "there, row 1"
