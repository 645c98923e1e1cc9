import gc
import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import Limits, RowSpec, canonical_rows, read_split
from tests.rows.conftest import Folder, images, parquet, png, texts


def test_read_when_the_files_are_of_each_kind_then_the_rows_are_the_same(folder: Folder) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in texts().to_pylist())
    csv = "text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in texts().to_pylist())
    root = folder(
        {
            "p/train.parquet": texts(),
            "j/train.jsonl": lines,
            "c/train.csv": csv,
            "t/train.tsv": csv.replace(",", "\t"),
            "z/train.csv.gz": gzip.compress(csv.encode()),
        }
    )
    for name in "pjctz":
        assert read_split(root / name).table.to_pylist() == texts().to_pylist(), name
    assert not [
        path
        for path in root.rglob("*")
        if path.suffix not in (".parquet", ".jsonl", ".csv", ".tsv", ".gz") and path.is_file()
    ]


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", 6),
        ("train[:4]", 4),
        ("train[-2:]", 2),
        ("train[50%:]", 3),
        ("train+test[1:3]", 8),
        ("test", 4),
    ],
)
def test_read_when_a_slice_is_asked_for_then_only_it_comes(
    folder: Folder, split: str, rows: int
) -> None:
    root = folder({"data/train-0.parquet": texts(6), "data/test-0.parquet": texts(4)})
    assert read_split(root, split=split).table.num_rows == rows


def test_read_when_labels_are_classes_then_their_names_come_in_order(folder: Folder) -> None:
    card = (
        "dataset_info:\n  features:\n  - {name: text, dtype: string}\n"
        "  - name: label\n    dtype: {class_label: {names: {'0': spam, '1': ham}}}"
    )
    root = folder({"train.csv": "text,label\na,1\nb,0\n"}, card)
    raw = read_split(root)
    assert raw.class_names == {"label": ("spam", "ham")}
    assert raw.table["label"].to_pylist() == [1, 0]


def test_read_when_labels_are_of_several_kinds_then_they_come_as_texts(folder: Folder) -> None:
    root = folder({"train.jsonl": '{"label": 1}\n{"label": "1?"}\n{"label": null}\n'})
    assert read_split(root).table["label"].to_pylist() == ["1", "1?", None]


def test_read_when_whole_numbers_become_fractions_later_then_all_are_fractions(
    folder: Folder,
) -> None:
    lines = "n\n" + "1\n" * 10_000 + "0.5\n"
    assert read_split(folder({"train.csv": lines})).table["n"].type == pa.float64()


def test_read_when_images_have_bytes_then_they_come_as_they_are(folder: Folder) -> None:
    cells = [{"bytes": png(i), "path": f"{i}.png"} for i in range(2)]
    raw = read_split(folder({"train.parquet": images(cells)}))
    assert {name: medium.feature for name, medium in raw.media.items()} == {"image": "Image"}
    assert raw.table["image"].to_pylist() == [png(0), png(1)]


def test_read_when_a_folder_of_images_then_the_files_are_embedded(folder: Folder) -> None:
    root = folder({"cat/1.png": png(1), "dog/2.png": png(2)})
    raw = read_split(root)
    assert raw.table["image"].to_pylist() == [png(1), png(2)]
    assert raw.class_names == {"label": ("cat", "dog")}


def test_read_when_images_come_with_metadata_then_its_columns_come_too(folder: Folder) -> None:
    root = folder({"train/1.png": png(1), "train/metadata.csv": "file_name,label\n1.png,cat\n"})
    assert read_split(root).table.to_pylist() == [{"image": png(1), "label": "cat"}]


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("metadata.csv", "file_name,label\n1.png,None\n2.png,01\n", ["None", "01"]),
        ("metadata.csv", "file_name; label\n1.png; a\n2.png; b\n", [" a", " b"]),
        ("metadata.csv", "\ufefffile_name,label\nmore\\3.png,a\n2.png,\n", ["a", None]),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "a"}\n', ["a"]),
    ],
)
def test_list_of_pictures_when_read_then_its_cells_are_as_written(
    folder: Folder, name: str, content: str, labels: list[str]
) -> None:
    pictures = {"train/1.png": png(1), "train/2.png": png(2), "train/more/3.png": png(3)}
    raw = read_split(folder({**pictures, f"train/{name}": content}))
    assert raw.table["label"].to_pylist() == labels
    missing = 3 - len(labels)
    assert f"{missing} of 3 pictures are in no row of the list" in raw.notes[0]


@pytest.mark.parametrize(
    ("content", "message", "got"),
    [
        ("image,label\n1.png,a\n", "which row is of which picture", "columns image, label"),
        ("file_name,label\n../../x.png,a\n", "lies elsewhere", "'../../x.png'"),
        ("file_name,label\n1.png,a\nhttp://x/1.png,a\n", "lies elsewhere", "row 2"),
        ("file_name,label\n1,a\n", "file is not there", "train/1"),
    ],
)
def test_list_of_pictures_when_wrong_then_error_says_where(
    folder: Folder, content: str, message: str, got: str
) -> None:
    root = folder({"train/1.png": png(1), "train/metadata.csv": content})
    with pytest.raises(DataError, match=message) as caught:
        read_split(root)
    assert got in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [{"train/1.png": png(3)}, {"train/cat/more/1.png": png(3)}, {"train/labels.csv": "a,b\n1,2"}],
)
def test_pictures_when_their_folders_are_no_labels_then_error_says_how(
    folder: Folder, more: dict[str, bytes | str]
) -> None:
    files: dict[str, bytes | str] = {"train/cat/1.png": png(1), "train/cat/2.png": png(2), **more}
    spec = RowSpec("image", {"image": "image", "label": "label"})
    with pytest.raises(DataError, match="pictures have no labels") as caught:
        canonical_rows(read_split(folder(files)), spec, source="ds")
    assert "metadata.csv" in str(caught.value)


def test_file_when_a_pointer_of_git_lfs_then_error_says_how_to_get_it(folder: Folder) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    for name in ("train.csv", "train.jsonl"):
        with pytest.raises(DataError, match="not what its name says") as caught:
            read_split(folder({name: pointer}))
        assert "git lfs pull" in str(caught.value)
        (folder({}) / name).unlink()


def test_column_when_its_name_has_white_space_then_the_hint_quotes_it(folder: Folder) -> None:
    root = folder({"train.jsonl": '{" text": "a", "label": "x"}\n'})
    spec = RowSpec("text", {"text": "text", "label": "label"})
    with pytest.raises(DataError) as caught:
        canonical_rows(read_split(root), spec, source="ds")
    assert 'columns: {text: " text"}' in str(caught.value)


@pytest.mark.parametrize("path", ["SECRET", "http://127.0.0.1:PORT/x.png", "../x.png", "1.png"])
def test_read_when_an_image_is_only_a_path_then_it_is_not_followed(
    folder: Folder, tmp_path: Path, path: str
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = path.replace("SECRET", str(secret)).replace("PORT", str(server.getsockname()[1]))
        cells = [{"bytes": png(0), "path": None}, {"bytes": None, "path": path}]
        root = folder({"train.parquet": images(cells), "1.txt": "x"})
        with pytest.raises(DataError, match="by a path or an address") as caught:
            read_split(root)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert "row 2, column image" in str(caught.value)
    assert repr(path) in str(caught.value)
    assert "push_to_hub" in str(caught.value)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves metadata.csv open
def test_read_when_metadata_names_a_file_that_is_missing_then_says_which(folder: Folder) -> None:
    lines = "file_name,label\n1.png,cat\ngone.png,dog\n"
    with pytest.raises(DataError, match="file is not there") as caught:
        read_split(folder({"train/1.png": png(1), "train/metadata.csv": lines}))
    assert "row 2, column image" in str(caught.value)
    assert "got:   train/gone.png" in str(caught.value)
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves metadata.csv open
@pytest.mark.parametrize("name", ["/etc/hostname", "../../outside.png", "file:///etc/hostname"])
def test_read_when_metadata_names_a_file_outside_then_refuses(folder: Folder, name: str) -> None:
    root = folder({"train/1.png": png(1), "train/metadata.csv": f"file_name,label\n{name},cat\n"})
    with pytest.raises(DataError) as caught:
        read_split(root)
    assert name in str(caught.value)
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # datasets leaves metadata.csv open
def test_read_when_metadata_holds_an_image_by_path_then_the_path_is_not_followed(
    folder: Folder, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    cells = [{"bytes": None, "path": str(secret)}, {"bytes": png(0), "path": None}]
    metadata = images(cells).append_column("file_name", [["1.png", "2.png"]])
    files = {"train/1.png": png(1), "train/2.png": png(2), "train/metadata.parquet": metadata}
    table = read_split(folder(files)).table
    assert table["image"].to_pylist() == [png(1), png(2)]
    gc.collect()


def test_read_when_a_file_is_a_link_then_refuses(folder: Folder, tmp_path: Path) -> None:
    root = folder({"train.csv": "text,label\na,b\n"})
    (tmp_path / "outside.csv").write_text("text,label\nsecret,x\n")
    (root / "more.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(DataError, match="symbolic link") as caught:
        read_split(root)
    assert "more.csv" in str(caught.value)


def test_read_when_the_card_points_outside_then_refuses(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("text,label\nsecret,x\n")
    card = f"configs:\n- config_name: x\n  data_files: {tmp_path}/outside.csv"
    with pytest.raises(DataError, match="outside the repo"):
        read_split(folder({"train.csv": "text,label\na,b\n"}, card))


def test_read_when_settings_hide_beside_the_card_then_refuses(folder: Folder) -> None:
    root = folder({"train.csv": "text,label\na,b\n", ".huggingface.yaml": "configs: []"})
    with pytest.raises(DataError, match="outside its card"):
        read_split(root)


def test_read_when_a_file_is_broken_then_it_is_named(folder: Folder) -> None:
    root = folder({"train-0.csv": "a,b\n1,2\n", "train-1.csv": "a,b\n1,2\n1,2,3\n"})
    with pytest.raises(DataError, match="more cells than the header") as caught:
        read_split(root)
    assert "train-1.csv, line 3" in str(caught.value)
    assert "3 cells under 2 names" in str(caught.value)


def test_read_when_files_have_other_columns_then_says_so(folder: Folder) -> None:
    root = folder({"train-0.parquet": texts(), "train-1.parquet": pa.table({"other": [1]})})
    with pytest.raises(DataError, match="other columns") as caught:
        read_split(root)
    assert "train-1.parquet, beside train-0.parquet" in str(caught.value)
    assert "lacks label, text; has also other" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train.parquet": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"},
            "not what its name says",
        ),
        ({"train.parquet": parquet(texts())[:-20]}, "is broken"),
        ({"train.csv": b""}, "file is empty"),
        ({"train.csv": b"text,label\n"}, "a header and no rows"),
        ({"train.parquet": parquet(texts(0))}, "has no rows"),
        ({"train.csv.gz": b"\x1f\x8b not gzip"}, "compressed file is broken"),
        ({"train.csv": "text,label\né,x\n".encode("latin1")}, "text is not UTF-8"),
        ({"train.jsonl": b'{"text": "a"}\n{"text": \n'}, "cannot be read"),
        ({"train.json": b"[" * 5_000}, "cannot be read"),
    ],
)
def test_read_when_a_file_cannot_be_used_then_says_why(
    folder: Folder, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_split(folder(files))
    assert "data-set, split train" in str(caught.value)


def test_read_when_a_slice_is_empty_then_says_so(folder: Folder) -> None:
    with pytest.raises(DataError, match="has no rows") as caught:
        read_split(folder({"train.parquet": texts()}), split="train[:0]")
    assert "train[:0]" in str(caught.value)


def test_read_when_a_row_or_column_budget_is_broken_then_names_the_limit(folder: Folder) -> None:
    root = folder({"train.parquet": texts(50)})
    with pytest.raises(DataError, match="too many rows") as caught:
        read_split(root, limits=Limits(max_rows=20))
    assert "The limit is 20" in str(caught.value)
    with pytest.raises(DataError, match="too many columns"):
        read_split(root, limits=Limits(max_columns=1))
    with pytest.raises(DataError, match="cell is too large") as caught:
        read_split(root, limits=Limits(max_cell_bytes=6))
    assert "row 11, column text" in str(caught.value)


def test_read_when_csv_has_too_many_columns_then_refuses(folder: Folder) -> None:
    line = ",".join(f"c{i}" for i in range(3_000)) + "\n"
    with pytest.raises(DataError, match="too many columns"):
        read_split(folder({"train.csv": line + line}))


def test_picture_when_its_file_does_not_say_so_then_is_read_as_one(tmp_path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": b"one", "path": "one.png"}, {"bytes": b"two", "path": None}]
    table = pa.table({"image": pa.array(cells, kind), "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "train.parquet")
    raw = read_split(tmp_path)
    assert {name: medium.feature for name, medium in raw.media.items()} == {"image": "Image"}
    assert raw.table["image"].to_pylist() == [b"one", b"two"]


def test_picture_when_its_file_is_empty_then_only_its_row_is_left_out(folder: Folder) -> None:
    root = folder({"train/a/1.png": png(10), "train/b/2.png": png(200), "train/b/3.png": b""})
    spec = RowSpec("image", {"image": "image", "label": "label"})
    rows = canonical_rows(read_split(root), spec, source="ds")
    assert rows.table.num_rows == 2
    assert rows.dropped == {"no image in a known format": 1}


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        ([1, 2], [0.5, 3.0], [1.0, 2.0, 0.5, 3.0]),
        (pa.nulls(2), ["r", "s"], [None, None, "r", "s"]),
        (pa.array(["r", "s"]).dictionary_encode(), ["t", "u"], ["r", "s", "t", "u"]),
    ],
)
def test_parquet_when_files_differ_in_type_then_are_joined_by_what_fits_both(
    folder: Folder, first: Any, second: Any, whole: list[Any]
) -> None:
    root = folder(
        {"train-0.parquet": pa.table({"a": first}), "train-1.parquet": pa.table({"a": second})}
    )
    assert read_split(root).table["a"].to_pylist() == whole


@pytest.mark.parametrize(
    ("tables", "got"),
    [
        ([pa.table({"a": [1]}), pa.table({"a": ["x"]})], "Field a has incompatible types"),
        ([pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])], "got:   a"),
    ],
)
def test_parquet_when_columns_contradict_then_error_names_them(
    folder: Folder, tables: list[pa.Table], got: str
) -> None:
    root = folder({f"train-{n}.parquet": table for n, table in enumerate(tables)})
    with pytest.raises(DataError) as caught:
        read_split(root)
    assert got in str(caught.value)


def test_text_when_a_parquet_file_holds_bytes_that_are_none_then_error_names_the_file(
    folder: Folder,
) -> None:
    places = pa.py_buffer(b"\0\0\0\0\x01\0\0\0")
    broken = pa.StringArray.from_buffers(1, places, pa.py_buffer(b"\xe9"))
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_split(folder({"train.parquet": pa.table({"text": broken})}))
    assert "train.parquet" in str(caught.value.where)
    assert "Invalid UTF8" in str(caught.value.got)


def test_read_when_torch_is_not_needed_then_it_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "a", "label": "b"}\n')
    code = (
        "import sys; from pathlib import Path; from hub_trainer.rows import read_split;"
        f"read_split(Path({str(tmp_path)!r}), config=None, split='train', where='here');"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
