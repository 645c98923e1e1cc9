"""Archives, Excel files and files of several kinds: refused by name before anything opens them."""

import gzip

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import find_split_files, read_split
from tests.rows.conftest import Folder, parquet, texts


def told(*names: str, **card: object) -> str:
    with pytest.raises(DataError) as caught:
        find_split_files(names, card, config=None, split="train", where="org/data")
    return str(caught.value)


@pytest.mark.parametrize("name", ["train.zip", "data/train.7z", "all.rar", "x.tar.gz", "a.csv.bz2"])
def test_archive_when_it_is_all_there_is_then_is_refused_by_name(name: str) -> None:
    assert "Archives are not read" in told(name, "README.md")
    assert name in told(name, "README.md")
    assert "Archives are not read" in told(name, "test.csv")
    config = {"config_name": "default", "data_files": name}
    assert "Archives are not read" in told(name, configs=[config])


def test_archive_when_beside_rows_then_does_not_matter() -> None:
    found = find_split_files(
        ["train.csv", "raw.zip"], {}, config=None, split="train", where="org/data"
    )
    assert found.files == {"train": ("train.csv",)}


@pytest.mark.parametrize("name", ["train.xlsx", "train.XLS", "train.ods"])
def test_sheet_when_uploaded_then_is_told_how_to_save_it(name: str) -> None:
    assert "Save As > CSV UTF-8" in told(name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.csv", b"PK\x03\x04 rest", "a zip archive or an Excel file"),
        ("train.jsonl", b"Rar!\x1a\x07 rest", "a rar archive"),
        ("train.csv", gzip.compress(b"text,label\na,b\n", mtime=0), "packed by gzip"),
        ("train.csv", parquet(texts()), "a parquet file"),
        ("train.csv", b"train.csv".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
        ("train.csv", b"<!DOCTYPE html><html>404</html>", "a web page"),
        ("train.csv", b'{"text": "a", "label": "b"}\n', "JSON, whose name ends in .jsonl"),
        ("train.parquet", b"PK\x03\x04 rest", "a zip archive"),
        ("train.csv.gz", gzip.compress(b"text,label\na,b\n" * 99, mtime=0)[:40], "ended before"),
    ],
)
def test_file_when_not_what_its_name_says_then_is_named(
    folder: Folder, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_split(folder({name: content}))
    assert name in str(caught.value)
    assert "do:" in str(caught.value)


def test_files_when_of_several_kinds_by_the_card_then_the_odd_one_is_named() -> None:
    config = {"config_name": "default", "data_files": ["a.csv", "b.csv", "c.parquet"]}
    message = told("a.csv", "b.csv", "c.parquet", configs=[config])
    assert "several kinds" in message
    assert "org/data: c.parquet" in message


def test_files_when_of_several_kinds_in_one_split_then_a_note_says_which_are_left() -> None:
    found = find_split_files(
        ["train.csv", "train.jsonl", "other.csv"], {}, config=None, split="train", where="d"
    )
    assert found.files == {"train": ("train.jsonl",)}
    assert "train.csv are left aside" in found.notes[0]
