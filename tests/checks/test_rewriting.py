"""Files of a pull request that are written anew in the dataset's own schema."""

from pathlib import Path
from typing import Any

import pytest

from hub_trainer.checks.rewriting import BY_FOLDER, convert_files
from hub_trainer.errors import DataError
from hub_trainer.rows.own_schema import describe_folder
from tests.rows.conftest import png

TEXTS = {"train.csv": b"text,label\na,ham\nb,spam\n"}
FOLDERS = {f"train/{label}/{n}.png": png(n) for n, label in enumerate(("cat", "dog"))}


def answered(
    folder: Path, base: dict[str, bytes], new: dict[str, bytes], suffix: str
) -> dict[str, Any]:
    """What the child says of these files."""
    for top, files in (("base", base), ("new", new)):
        for name, content in files.items():
            (folder / top / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / top / name).write_bytes(content)
    job: dict[str, Any] = {
        "out": str(folder / "out"),
        "described": describe_folder(str(folder / "base"), "train"),
        "suffix": suffix,
        "limits": {},
    }
    (folder / "out").mkdir()
    return convert_files(str(folder / "new"), job, paths=list(new), other_names={}, optional=[])


def converted(
    folder: Path, base: dict[str, bytes], new: dict[str, bytes], suffix: str
) -> dict[str, bytes]:
    """The files that the child writes for these, by name."""
    answer = answered(folder, base, new, suffix)
    assert "faults" not in answer, answer["faults"]
    return {one["name"]: (folder / "out" / one["name"]).read_bytes() for one in answer["files"]}


def test_texts_when_quotes_are_behind_backslashes_then_are_whole(tmp_path: Path) -> None:
    new = {"a.csv": b'text,label\n"say \\"hi, you\\"",ham\n'}
    made = converted(tmp_path, TEXTS, new, "csv")
    assert made["rows.csv"] == b'"text","label"\n"say ""hi, you""","ham"\n'


def test_file_when_broken_then_error_names_it_as_the_sender_does(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        converted(
            tmp_path, TEXTS, {"more/a.jsonl": b'{"text": "a", "label": "ham"}\n{"t"\n'}, "csv"
        )
    assert caught.value.where == "more/a.jsonl, line 2"


def test_picture_when_broken_then_error_says_why(tmp_path: Path) -> None:
    new = {"train/cat/8.png": png(8), "train/dog/9.png": b"hello"}
    with pytest.raises(DataError, match="cannot be used") as caught:
        converted(tmp_path, FOLDERS, new, BY_FOLDER)
    assert (caught.value.where, caught.value.got) == (
        "the pictures, row 2", "no image in a known format"
    )  # fmt: skip


def test_list_of_pictures_when_from_windows_then_is_followed(tmp_path: Path) -> None:
    new = {"up/more/1.png": png(8), "up/metadata.csv": b"file_name,label\nmore\\1.png,cat\n"}
    made = converted(tmp_path, FOLDERS, new, BY_FOLDER)
    assert list(made.values()) == [png(8)]
    assert next(iter(made)).startswith("cat/")


def test_list_of_pictures_when_one_is_missing_then_error_names_it(tmp_path: Path) -> None:
    new = {"up/1.png": png(8), "up/metadata.csv": b"file_name,label\n7.png,cat\n"}
    with pytest.raises(DataError, match="is not there") as caught:
        converted(tmp_path, FOLDERS, new, BY_FOLDER)
    assert (caught.value.where, caught.value.got) == ("up/metadata.csv, row 1", "'7.png'")


def test_cells_when_several_files_do_not_fit_then_all_are_told_by_their_rows(
    tmp_path: Path,
) -> None:
    base = {"train.csv": b"age,day,label\n1,2024-01-02,a\n2,2024-01-03,b\n"}
    new = {
        "a.csv": b"age,day,label\n3,2024-02-02,a\nold,2024-02-03,b\n",
        "b.csv": b"age,day,label\n4,2024-02-02,a\n5,2024-02-31,a\n6,2024-02-03,b\nyo,2024-02-03,a",
    }
    [first, second, third] = answered(tmp_path, base, new, "csv")["faults"]
    assert (
        first["what"] == second["what"] == "Column 'age' cannot be written as the dataset has it."
    )
    assert (first["rows"], second["rows"]) == ([2], [6])
    assert (first["file"], second["file"]) == ("a.csv", "b.csv")
    assert (third["what"], third["rows"]) == ("A cell cannot be read as a date.", [4])
    assert "yo," not in str([first, second, third])
