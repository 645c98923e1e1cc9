"""Cells of language data as their authors wrote them."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.errors import DataError
from hub_trainer.inputs.language_examples import example_of
from hub_trainer.rows.canonical import CanonicalRows, RowSpec, canonical_rows
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.read import RawSplit, read_split
from hub_trainer.rows.written import number_text, parse_json, plain_values

SPEC = RowSpec("prompt", {"example": "completion"})


def read(folder: Path, name: str, content: str | bytes, **limits: int) -> CanonicalRows:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    raw = read_split(folder, as_written=True, where="o/d", limits=Limits(**limits))
    return canonical_rows(raw, SPEC, source="o/d@sha")


def answers(found: CanonicalRows) -> list[Any]:
    return [example_of(row).answers[0] for row in found.table.to_pylist()]


def lines(rows: list[Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def dialogue(number: int, **key: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"q{number}", **key}]
    return {"messages": [*turns, {"role": "assistant", "content": f"a{number}"}]}


def calling(arguments: dict[str, Any]) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    asked = {"role": "user", "content": f"q{len(arguments)}"}
    return {"messages": [asked, {"role": "assistant", "tool_calls": [call]}]}


@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_dialogues_whose_keys_differ_are_all_used(tmp_path: Path, name: str) -> None:
    rows = [dialogue(0, name="ann"), *(dialogue(i) for i in range(1, 120))]
    found = read(tmp_path / name, name, lines(rows) if name == "train.jsonl" else json.dumps(rows))
    assert (found.table.num_rows, found.dropped) == (120, {})
    assert answers(found)[0][0] == {"role": "user", "content": "q0", "name": "ann"}
    assert answers(found)[1][0] == {"role": "user", "content": "q1"}


def test_files_whose_keys_differ_are_all_used(tmp_path: Path) -> None:
    (tmp_path / "train-1.jsonl").write_text(lines([dialogue(i) for i in range(9)]))
    found = read(tmp_path, "train-2.jsonl", lines([{"id": 9, **dialogue(9, name="ann")}]))
    assert found.table.num_rows == 10


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "json column"])
def test_arguments_of_calls_are_as_they_were_in_every_file(tmp_path: Path, kind: str) -> None:
    given = [{"currency": "EUR", "amount": 1}, {"city": "Rome"}]
    rows = [calling(arguments) for arguments in given]
    if kind == "jsonl":
        found = read(tmp_path / kind, "train.jsonl", lines(rows))
    else:
        table = pa.Table.from_pylist(rows)
        if kind == "json column":
            texts = pa.array([json.dumps(row["messages"]) for row in rows])
            table = pa.table({"messages": pa.ExtensionArray.from_storage(pa.json_(), texts)})
        (tmp_path / kind).mkdir()
        pq.write_table(table, tmp_path / kind / "train.parquet")
        raw = read_split(tmp_path / kind, as_written=True)
        found = canonical_rows(raw, SPEC, source="o/d@sha")
    calls = [answer[1]["tool_calls"][0]["function"]["arguments"] for answer in answers(found)]
    assert [list(call.items()) for call in calls] == [list(one.items()) for one in given]


def test_nulls_of_structures_go_and_those_of_json_stay() -> None:
    rows = [{"a": {"x": 1}}, {"a": {"y": None}}, {"a": {"y": [None, {"z": 2}]}}, {"a": None}]
    column = pa.Table.from_pylist(rows)["a"]
    assert plain_values(column) == [{"x": 1}, {}, {"y": [None, {"z": 2}]}, None]
    texts = pa.array(['{"x": null}', None])
    held = pa.ExtensionArray.from_storage(pa.json_(), texts)
    assert plain_values(held) == [{"x": None}, None]
    kind = pa.map_(pa.string(), pa.struct({"x": pa.int64(), "y": pa.int64()}))
    pairs = pa.array([[("k", {"x": 1})], [("k", {"y": 2})]], kind)
    assert plain_values(pairs)[0] == {"k": {"x": 1}}


def test_numbers_of_a_csv_are_texts_as_they_are_written(tmp_path: Path) -> None:
    content = (
        "instruction,input,output\nadd one,41,forty-two\nhello,,NA\nround,0,1.50\nlast,007,1e5\n"
    )
    found = read(tmp_path, "train.csv", content)
    assert found.dropped == {}
    assert found.table["prompt"].to_pylist() == [
        "user: add one\n\n41",
        "user: hello",
        "user: round\n\n0",
        "user: last\n\n007",
    ]
    assert [answer[0]["content"] for answer in answers(found)] == ["forty-two", "NA", "1.50", "1e5"]


def test_numbers_of_json_are_texts_as_they_are_written(tmp_path: Path) -> None:
    cells = ["41", "0", "1.50", "1e5", '"x"', "true", "null", "NaN"]
    content = "".join(f'{{"prompt": "q{i}", "completion": {c}}}\n' for i, c in enumerate(cells))
    found = read(tmp_path, "train.jsonl", content)
    assert answers(found) == ["41", "0", "1.50", "1e5", "x", "true"]
    assert found.dropped == {"no completion": 2}
    assert found.first_dropped == [(7, "no completion"), (8, "no completion")]


def test_numbers_of_a_column_of_fractions_lose_the_fraction_that_they_do_not_have() -> None:
    assert [number_text(n) for n in (41.0, 0.5, 1e20, 7)] == ["41", "0.5", "1e+20", "7"]
    assert number_text(parse_json("2.50")) == "2.50"


@pytest.mark.parametrize(
    "content",
    [
        '{"data": [{"text": "a"}, {"text": "b"}]}',
        '{"text": ["a", "b"], "id": [1, 2]}',
        '["a", "b"]',
        '\n\n{"text": "a"}\n\n{"text": "b"}\n',
        "\ufeff" + '{"text": "a"}\r\n{"text": "b"}\r\n',
    ],
)
def test_json_may_be_laid_out_in_several_ways(tmp_path: Path, content: str) -> None:
    assert answers(read(tmp_path, "train.json", content)) == ["a", "b"]


def test_json_may_be_compressed_and_under_a_key(tmp_path: Path) -> None:
    found = read(tmp_path / "gz", "train.jsonl.gz", gzip.compress(b'{"text": "a"}\n'))
    assert answers(found) == ["a"]
    card = "---\nconfigs:\n- config_name: default\n  data_files: train.json\n  field: rows\n---\n"
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "README.md").write_text(card)
    found = read(tmp_path / "key", "train.json", '{"rows": [{"text": "b"}], "version": 1}')
    assert answers(found) == ["b"]


def test_json_when_a_single_row_spans_lines_then_it_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "train.json", json.dumps(dialogue(1), indent=1))
    assert found.table["prompt"].to_pylist() == ["user: q1"]


def test_text_when_half_of_a_surrogate_pair_then_it_is_left_out(tmp_path: Path) -> None:
    content = '{"text": "\\ud800"}\n{"text": "\\ud83d\\ude00"}\n'
    found = read(tmp_path, "train.jsonl", content)
    assert answers(found) == ["\U0001f600"]
    assert found.dropped == {"a text holds half of a surrogate pair, which is no character": 1}


@pytest.mark.parametrize(
    ("content", "where", "got"),
    [
        (b'{"text": "a"}\n{"text":\n', "o/d: train.jsonl, line 2", "no JSON: Expecting value"),
        (b'{"text": "a"}\n5\n', "o/d: train.jsonl, line 2", "not an object"),
        (b'{"text": "a"}\n{"text": "\xe9"}\n', "o/d: train.jsonl", "byte 0xe9 in line 2"),
        (b'[{"text": "a"}, 5]', "o/d: train.jsonl", "neither rows nor columns"),
        (b'{"text": ' + b"[" * 100_000, "o/d: train.jsonl", "nested too deeply"),
        (b"{oops", "o/d: train.jsonl, line 1", "no JSON: Expecting property"),
    ],
)
def test_json_when_broken_then_file_and_line_are_named(
    tmp_path: Path, content: bytes, where: str, got: str
) -> None:
    with pytest.raises(DataError, match=r"cannot be read|is not UTF-8") as caught:
        read(tmp_path, "train.jsonl", content)
    assert caught.value.where == where
    assert got in str(caught.value.got)


@pytest.mark.parametrize(
    ("limit", "message"),
    [("max_rows", "too many rows"), ("max_columns", "too many columns"), ("max_bytes", "too many")],
)
def test_json_when_over_a_limit_then_it_is_refused(
    tmp_path: Path, limit: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(
            tmp_path,
            "train.jsonl",
            lines([{"text": "abc", "id": i} for i in range(9)]),
            **{limit: 1},
        )


def test_json_when_a_cell_is_over_the_limit_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A cell is too large") as caught:
        read(tmp_path, "train.jsonl", lines([{"text": "ab"}, {"text": "abcdef"}]), max_cell_bytes=6)
    assert caught.value.where == "o/d, row 2, column text"


# Types that JSON does not have


MOMENT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPED = [
    (pa.timestamp("us", "UTC"), MOMENT, "2024-01-02 03:04:05+00:00"),
    (pa.timestamp("ms"), MOMENT.replace(tzinfo=None), "2024-01-02 03:04:05"),
    (pa.date32(), MOMENT.date(), "2024-01-02"),
    (pa.date64(), MOMENT.date(), "2024-01-02"),
    (pa.time64("us"), time(3, 4, 5), "03:04:05"),
    (pa.duration("s"), timedelta(seconds=65), "0:01:05"),
    (pa.decimal128(10, 2), Decimal("3.10"), "3.10"),
    (pa.decimal256(60, 1), Decimal("12345678901234567890.0"), "12345678901234567890.0"),
    (pa.binary(), "ünï".encode(), "ünï"),
    (pa.binary(3), b"abc", "abc"),
    (pa.dictionary(pa.int32(), pa.string()), "word", "word"),
    (pa.float32(), 10.1, "10.1"),
    (pa.float16(), 0.1, "0.1"),
    (pa.float32(), 41.0, "41"),
    (pa.int8(), 7, "7"),
]


@pytest.mark.parametrize(("kind", "cell", "text"), TYPED, ids=[str(k) for k, _, _ in TYPED])
def test_cell_of_any_type_is_the_same_text_wherever_it_stands(
    tmp_path: Path, kind: pa.DataType, cell: Any, text: str
) -> None:
    spoken = pa.struct([("role", pa.string()), ("content", kind)])
    table = pa.table(
        {
            "prompt": ["q0", "q1"],
            "completion": pa.array([None, cell], kind),
            "messages": pa.array(
                [None, [{"role": "assistant", "content": cell}]], pa.list_(spoken)
            ),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    raw = read_split(tmp_path, as_written=True, where="o/d")
    of_answers = replace(raw, table=raw.table.drop_columns(["messages"]))
    of_turns = replace(raw, table=raw.table.select(["messages"]))
    assert answers(canonical_rows(of_answers, SPEC, source="o/d@sha")) == [text]
    assert answers(canonical_rows(of_turns, SPEC, source="o/d@sha"))[0][0]["content"] == text


def test_arguments_of_any_type_are_what_json_would_hold(tmp_path: Path) -> None:
    given = {"when": MOMENT, "price": Decimal("3.10"), "n": 3, "share": 0.5, "of": [MOMENT.date()]}
    pq.write_table(pa.Table.from_pylist([calling(given)]), tmp_path / "train.parquet")
    raw = read_split(tmp_path, as_written=True)
    [[_, turn]] = answers(canonical_rows(raw, SPEC, source="o/d@sha"))
    assert turn["tool_calls"][0]["function"]["arguments"] == {
        "when": "2024-01-02 03:04:05+00:00",
        "price": "3.10",
        "n": 3,
        "share": 0.5,
        "of": ["2024-01-02"],
    }


@pytest.mark.parametrize(
    ("cell", "reason"),
    [(b"\x00\xff", "a turn holds bytes, not a text"), (None, None)],
)
def test_bytes_that_are_no_text_cost_their_row_alone(cell: Any, reason: str | None) -> None:
    rows = [calling({"raw": b"text"}), calling({"raw": cell, "x": 1})]
    raw = RawSplit(pa.Table.from_pylist(rows), "default")
    found = canonical_rows(raw, SPEC, source="o/d@sha")
    assert found.dropped == ({reason: 1} if reason else {})
    assert found.first_dropped == ([(2, reason)] if reason else [])


def test_date_that_no_calendar_has_costs_its_row_alone() -> None:
    late = pa.array([0, 10**12], pa.int64()).cast(pa.timestamp("s"))
    turns = pa.StructArray.from_arrays(
        [pa.array(["assistant"] * 2), pa.array(["a", "b"]), late], ["role", "content", "ts"]
    )
    table = pa.table({"messages": pa.ListArray.from_arrays([0, 1, 2], turns)})
    found = canonical_rows(RawSplit(table, "default"), SPEC, source="o/d@sha")
    assert found.dropped == {"messages holds a date or a time that no calendar has": 1}
    table = pa.table({"prompt": ["a", "b"], "completion": late})
    found = canonical_rows(RawSplit(table, "default"), SPEC, source="o/d@sha")
    assert found.dropped == {"completion holds a date or a time that no calendar has": 1}
    assert answers(found) == ["1970-01-01 00:00:00"]
