import json
import os
from pathlib import Path

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows import Limits, ReadJob, ReadResult, RowSpec, read_rows, read_sandboxed
from tests.rows.conftest import Folder, images, png, texts


def test_jobs_when_read_in_the_child_then_rows_and_answers_come_back(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    cells = [{"bytes": png(i), "path": None} for i in range(2)]
    root = folder({"a/train.parquet": texts(), "b/train.parquet": images(cells)})
    out = tmp_path / "out"
    text = RowSpec("text", {"text": "text", "label": "label"})
    image = RowSpec("image", {"image": "image", "label": "label"})
    results = read_sandboxed(
        [
            ReadJob(root / "a", out / "a.parquet", text, "org/a@1", split="train[:4]"),
            ReadJob(root / "b", out / "b.parquet", image, "org/b@2"),
        ],
        folder=out,
    )
    assert results == [
        ReadResult(4, "default", None, {}, {}),
        ReadResult(2, "default", None, {}, {}),
    ]
    assert [row["text"] for row in read_rows(out / "a.parquet")] == [f"text {i}" for i in range(4)]
    assert [row["image"] for row in read_rows(out / "b.parquet")] == [png(0), png(1)]
    assert {row["_source"] for row in read_rows(out / "a.parquet")} == {"org/a@1"}
    assert sorted(os.listdir(root / "a")) == ["train.parquet"]


def test_jobs_when_the_data_is_wrong_then_the_childs_error_is_ours(
    folder: Folder, tmp_path: Path
) -> None:
    spec = RowSpec("text", {"text": "text", "label": "label"})
    job = ReadJob(
        folder({"train.parquet": texts(9)}),
        tmp_path / "out" / "a.parquet",
        spec,
        "org/a@1",
        where="org/a@1, split train",
        limits=Limits(max_rows=5),
    )
    with pytest.raises(DataError, match="too many rows") as caught:
        read_sandboxed([job], folder=tmp_path / "out")
    assert caught.value.where == "org/a@1, split train"
    assert caught.value.do == "The limit is 5; split the data."
    assert not (tmp_path / "out" / "a.parquet").exists()


def test_spec_when_written_and_read_then_the_same_and_of_less_the_usual_is_assumed() -> None:
    columns = {"text": "title", "label": "topic"}
    spec = RowSpec(
        "text", {"text": "text", "label": "label"}, columns, ("site",), ("id",), clean=False
    )
    assert RowSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    known = {"modality": "text", "kinds": {"text": "text", "label": "label"}}
    assert RowSpec.from_json(known) == RowSpec(**known)
