"""JSON files as people write them, for tasks that want columns of one type."""

import json
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import CanonicalRows, RowSpec, canonical_rows, read_split
from tests.rows.conftest import Folder

TEXT = RowSpec("text", {"text": "text", "label": "label"})
ROWS: list[dict[str, Any]] = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
FIRST, SECOND = (json.dumps(row) for row in ROWS)


def rows_of(folder: Folder, content: str | bytes, name: str = "train.jsonl") -> CanonicalRows:
    return canonical_rows(read_split(folder({name: content}), where="ds"), TEXT, source="ds")


def pairs(found: CanonicalRows) -> list[tuple[str, str]]:
    return [(row["text"], row["label"]) for row in found.table.to_pylist()]


@pytest.mark.parametrize(
    "content",
    [
        FIRST + SECOND,
        f"{FIRST} {SECOND}\n",
        f"{FIRST},\n{SECOND}\n",
        f"\n{json.dumps(ROWS[0], indent=1)}\n{json.dumps(ROWS[1], indent=1)}",
        json.dumps({"text": ["a", "b"], "label": ["x", "y"]}),
        json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}),
        json.dumps({"7": ROWS[0], "9": ROWS[1]}),
        json.dumps(
            {"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]}
        ),
        json.dumps({"data": ROWS}),
        json.dumps({"version": "1.0", "data": ROWS}),
        json.dumps({"schema": {"fields": []}, "data": ROWS}),
    ],
)
@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_rows_when_laid_out_otherwise_then_are_the_same(
    folder: Folder, name: str, content: str
) -> None:
    assert pairs(rows_of(folder, content, name)) == [("a", "x"), ("b", "y")]


def test_row_when_it_is_the_only_one_then_stays_one(folder: Folder) -> None:
    found = read_split(folder({"train.jsonl": json.dumps({"text": "a", "data": [1, 2]})}))
    assert found.table.to_pylist() == [{"text": "a", "data": [1, 2]}]


def test_rows_when_each_could_be_columns_then_are_rows(folder: Folder) -> None:
    line = json.dumps({"tokens": ["a", "b"], "tags": [1, 2]})
    root = folder({"train.jsonl": f"{line}\n" * 3_000})
    assert read_split(root, as_written=True).table.num_rows == 3_000


def test_text_when_it_looks_like_a_date_then_stays_as_written(folder: Folder) -> None:
    content = "".join(
        json.dumps({"text": day, "label": f"{day} 10:00:00"}) + "\n"
        for day in ("2024-01-01", "2024-01-02")
    )
    assert pairs(rows_of(folder, content))[0] == ("2024-01-01", "2024-01-01 10:00:00")


def test_encoding_when_the_file_begins_with_its_mark_then_is_read(folder: Folder) -> None:
    content = json.dumps({"text": "\u00e9", "label": "x"}, ensure_ascii=False).encode("utf-16")
    assert pairs(rows_of(folder, content)) == [("\u00e9", "x")]


def test_encoding_when_not_utf_8_then_error_names_byte_and_line(folder: Folder) -> None:
    content = f'{FIRST}\n{{"text": "caf\u00e9", "label": "y"}}\n'.encode("latin-1")
    with pytest.raises(DataError, match="text is not UTF-8") as caught:
        rows_of(folder, content)
    assert "byte 0xe9 in line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (f'{FIRST}\n{{"text": "b", "label": \n{SECOND}\n', 2, "Expecting value"),
        (f'{FIRST}\n{{"text": "b", "label": "y",}}\n', 2, "at character 28"),
        (f"// mine\n{FIRST}\n", 1, "no JSON"),
        (f"[\n{FIRST},\n{SECOND},\n]\n", 4, "no JSON"),
        ("{'text': 'a', 'label': None}\n", 1, "double quotes"),
        (f'\n{FIRST}\n["a", "x"]\n', 3, "not an object"),
    ],
)
def test_line_when_broken_then_error_names_it(
    folder: Folder, content: str, line: int, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(folder, content)
    assert f"line {line}\n" in str(caught.value)
    assert words in str(caught.value)


def test_text_when_half_a_surrogate_pair_then_error_names_its_row(folder: Folder) -> None:
    with pytest.raises(DataError, match="surrogate pair") as caught:
        rows_of(folder, f'{FIRST}\n{{"text": "a\\ud800", "label": "y"}}\n')
    assert "row 2, column text" in str(caught.value)


CARD = (
    "dataset_info: {features: [{name: text, dtype: string}, {name: label, dtype: string}]}\n"
    "configs: [{config_name: default, data_files: train.jsonl}]"
)


def test_text_when_declared_and_like_a_date_then_stays_as_written(folder: Folder) -> None:
    content = '{"text": "2024-01-01T10:00", "label": "x"}\n{"text": null, "label": "y"}\n'
    found = read_split(folder({"train.jsonl": content}, CARD))
    assert found.table["text"].to_pylist() == ["2024-01-01T10:00", None]


@pytest.mark.parametrize(
    ("content", "where", "got"),
    [
        (f'{FIRST}\n{{"text"\n'.encode(), "train.jsonl, line 2", "Expecting ':'"),
        ('{"text": "\u00e9", "label": "x"}\n'.encode("latin-1"), "train.jsonl", "0xe9 in line 1"),
        (b'{"text": "a\\ud800", "label": "x"}\n', "row 1, column text", "ud800"),
    ],
)
def test_declared_rows_when_broken_then_error_names_the_line(
    folder: Folder, content: bytes, where: str, got: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_split(folder({"train.jsonl": content}, CARD), where="ds")
    assert where in str(caught.value.where)
    assert got in str(caught.value.got)


def test_key_when_the_card_names_one_that_is_not_there_then_said(folder: Folder) -> None:
    card = "configs: [{config_name: default, data_files: train.json, field: rowz}]"
    root = folder({"train.json": json.dumps({"rows": ROWS, "meta": 1})}, card)
    with pytest.raises(DataError) as caught:
        read_split(root)
    assert "no key 'rowz', which the card names" in str(caught.value)


def test_lines_when_several_are_broken_then_all_are_named_with_the_right_place(
    folder: Folder,
) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(folder, f'{FIRST}\n{{"a": [1,2\n{FIRST}\n{{"b":\n\nx\n')
    assert "line 2" in str(caught.value.where)
    assert caught.value.got == (
        "no JSON: Expecting ',' delimiter, at character 11; nor are lines 4, 6"
    )
    with pytest.raises(DataError) as caught:
        rows_of(folder, '{"a": [1,2\n')
    assert "line 1" in str(caught.value.where)
    assert "at character 11" in str(caught.value.got)
