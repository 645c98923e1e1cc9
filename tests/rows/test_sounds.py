"""Datasets of sounds: parquet with their bytes, and folders of files, as `datasets` lays them out.

`datasets` itself cannot read a folder of sounds here: it would encode them with torchcodec.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.inputs.media import MEDIA
from hub_trainer.rows import RowSpec, canonical_rows, find_split_files, read_split
from hub_trainer.rows.column_guesses import infer_spec
from tests.rows.conftest import Folder, parquet, png
from tests.sounds import encoded, tone

SPEC = RowSpec("audio", {"audio": "audio", "label": "label"})
LOW, HIGH = encoded(tone(pitch=200)), encoded(tone(pitch=900), kind="FLAC")
BY_LABEL = {"low/1.wav": LOW, "high/1.flac": HIGH, "low/2.wav": encoded(tone(pitch=220))}
CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sounds(contents: list[bytes | None], *, says_so: bool = True) -> pa.Table:
    cells = [{"bytes": content, "path": "a.wav"} for content in contents]
    labels = [["low", "high"][number % 2] for number in range(len(cells))]
    table = pa.table({"audio": pa.array(cells, CELL), "label": labels})
    kinds = {"audio": {"sampling_rate": 8000, "_type": "Audio"}}
    features = json.dumps(
        {"info": {"features": {**kinds, "label": {"dtype": "string", "_type": "Value"}}}}
    )
    return table.replace_schema_metadata({"huggingface": features}) if says_so else table


def read(folder: Path, **options: Any) -> list[dict[str, Any]]:
    raw = read_split(folder, **options)
    return canonical_rows(raw, SPEC, source="org/data@sha").table.to_pylist()


@pytest.mark.parametrize("says_so", [True, False])
def test_parquet_of_sounds_when_read_then_cells_are_their_files(
    folder: Folder, says_so: bool
) -> None:
    made = folder({"train.parquet": sounds([LOW, HIGH], says_so=says_so)})
    raw = read_split(made)
    assert raw.media == {"audio": MEDIA["audio"]}
    rows = canonical_rows(raw, SPEC, source="org/data@sha").table.to_pylist()
    assert [(row["audio"], row["label"]) for row in rows] == [(LOW, "low"), (HIGH, "high")]
    spec = infer_spec(raw)
    assert (spec.modality, dict(spec.kinds)) == ("audio", {"audio": "audio", "label": "label"})


@pytest.mark.parametrize("top", ["", "train/", "data/train/"])
def test_folder_of_sounds_when_by_label_then_labels_are_the_folders(
    folder: Folder, top: str
) -> None:
    made = folder({f"{top}{name}": content for name, content in BY_LABEL.items()})
    names = [path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()]
    found = find_split_files(names, {}, config=None, split="train", where="it")
    assert (found.reader, len(found.files["train"])) == ("audiofolder", 3)
    assert len(found.first_files().files["train"]) == 2
    raw = read_split(made)
    assert raw.class_names == {"label": ("high", "low")}
    rows = canonical_rows(raw, SPEC, source="org/data@sha")
    assert sorted(row["label"] for row in rows.table.to_pylist()) == ["high", "low", "low"]
    assert rows.label_names == ("high", "low")


def test_folder_of_sounds_when_a_split_lacks_a_label_then_names_are_those_of_all(
    folder: Folder,
) -> None:
    made = folder(
        {f"train/{name}": content for name, content in BY_LABEL.items()} | {"test/high/9.wav": LOW}
    )
    assert read_split(made, split="test").class_names == {"label": ("high", "low")}
    assert [row["label"] for row in read(made, split="test")] == ["high"]


def test_folder_of_sounds_when_the_card_declares_classes_then_in_its_order(
    folder: Folder,
) -> None:
    card = """dataset_info:
  features:
  - {name: audio, dtype: audio}
  - name: label
    dtype: {class_label: {names: {'0': low, '1': high}}}"""
    made = folder({f"train/{name}": content for name, content in BY_LABEL.items()}, card=card)
    raw = read_split(made)
    assert raw.class_names == {"label": ("low", "high")}
    assert sorted(raw.table["label"].to_pylist()) == [0, 0, 1]
    listed = "file_name,label\nlow/1.wav,low\nhigh/1.flac,high\n"
    made = folder({"train/metadata.csv": listed})
    assert sorted(row["label"] for row in read(made)) == ["high", "low"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_folder_of_sounds_when_listed_then_a_row_per_line(folder: Folder, name: str) -> None:
    lines = ["file_name,label", "low/1.wav,01", "high/1.flac,None"]
    if name.endswith("jsonl"):
        rows = (
            {"file_name": "low/1.wav", "label": "01"},
            {"file_name": "high/1.flac", "label": "None"},
        )
        lines = [json.dumps(row) for row in rows]
    made = folder({f"train/{path}": content for path, content in BY_LABEL.items()})
    made = folder({f"train/{name}": "\n".join(lines) + "\n"})
    raw = read_split(made)
    assert raw.media == {"audio": MEDIA["audio"]}
    assert "1 of 3 sounds are in no row of the list, the first 2.wav" in raw.notes[0]
    assert [(row["audio"], row["label"]) for row in read(made)] == [(LOW, "01"), (HIGH, "None")]


def test_folder_of_sounds_when_alone_then_error_says_where_labels_go(folder: Folder) -> None:
    made = folder({"train/1.wav": LOW, "train/2.wav": HIGH})
    with pytest.raises(DataError) as caught:
        read(made)
    assert caught.value.what == "The sounds have no labels."
    assert "train/cat/1.wav" in str(caught.value.do)


@pytest.mark.parametrize(
    ("listed", "content", "message"),
    [
        ("metadata.parquet", parquet(pa.table({"file_name": ["low/1.wav"]})), "kind that is not"),
        ("metadata.csv", b"left_file_name,label\nlow/1.wav,a\n", "kind that is not read"),
        ("metadata.csv", b"file,label\nlow/1.wav,a\n", "which row is of which sound"),
        ("metadata.csv", b"file_name,label\n../1.wav,a\n", "A listed sound lies elsewhere"),
        ("metadata.csv", b"file_name,label\nlow/9.wav,a\n", "A listed file is not there"),
    ],
)
def test_list_of_sounds_when_wrong_then_error_says_so(
    folder: Folder, listed: str, content: bytes, message: str
) -> None:
    made = folder({f"train/{path}": sound for path, sound in BY_LABEL.items()})
    (made / "train" / listed).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_split(made)


def test_folder_of_sounds_when_one_is_of_another_format_then_error_names_it() -> None:
    names = [f"train/{name}" for name in (*BY_LABEL, "low/3.aiff")]
    with pytest.raises(DataError) as caught:
        find_split_files(names, {}, config=None, split="train", where="it")
    assert caught.value.what == "A split of sounds holds a file of another kind."
    assert (caught.value.where, caught.value.do) == (
        "it: train/low/3.aiff",
        "Save it as WAV or FLAC, or move it out of the folder.",
    )


def test_sound_when_given_by_its_path_then_error_asks_for_its_bytes(folder: Folder) -> None:
    made = folder({"train.parquet": sounds([LOW, None])})
    with pytest.raises(DataError) as caught:
        read_split(made)
    assert caught.value.what.startswith("A picture or a sound is given by a path")
    assert "row 2, column audio" in str(caught.value.where)


def test_sounds_when_some_cannot_be_used_then_are_left_out_by_row_with_the_reason(
    folder: Folder,
) -> None:
    bad = [b"text", LOW[:400], encoded(np.zeros(8_000, np.float32)), png(), b""]
    made = folder({"train.parquet": sounds([LOW, HIGH, *bad])})
    found = canonical_rows(read_split(made), SPEC, source="org/data@sha")
    assert found.table.num_rows == 2
    assert list(found.first_dropped) == [
        (3, "no sound in a known format"),
        (4, "sound that is cut short: its header says more than the file holds"),
        (5, "silent sound"),
    ]
    assert found.dropped["no sound in a known format"] == 3
    strict = RowSpec("audio", {"audio": "audio", "label": "label"}, clean=False)
    with pytest.raises(DataError, match="no sound in a known format") as caught:
        canonical_rows(read_split(made), strict, source="org/data@sha")
    assert str(caught.value.where).endswith("row 3")


def test_column_when_of_texts_then_is_no_column_of_sounds(folder: Folder) -> None:
    made = folder({"train.parquet": pa.table({"audio": ["a.wav"] * 2, "label": ["a", "b"]})})
    with pytest.raises(DataError) as caught:
        read(made)
    assert caught.value.what == "The column holds no sounds."
    assert "Audio column" in str(caught.value.do)


def test_sounds_when_equal_in_bytes_then_have_one_id(folder: Folder) -> None:
    made = folder({"train.parquet": sounds([LOW, LOW, HIGH])})
    first, second, third = (row["_row_id"] for row in read(made))
    assert first == second != third
