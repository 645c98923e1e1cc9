"""The first rows of a dataset's files, read from what strangers pushed."""

import io
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from PIL import Image

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.page import rows, rows_child
from hub_trainer.local_hub.repo_rows import find_repo
from tests.local_hub.test_page import commit


def picture(size: tuple[int, int] = (8, 8)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def read(kind: str, data: bytes, num_rows: int = 20) -> dict[str, object]:
    """What the child says of these bytes."""
    with tempfile.TemporaryFile() as stream:
        stream.write(data)
        stream.seek(0)
        return dict(json.loads(run("-I", rows_child.__file__, kind, str(num_rows), stdin=stream)))


def run(*words: str, stdin: IO[bytes] | None = None) -> bytes:
    done = subprocess.run(
        [sys.executable, *words], stdin=stdin, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def dataset(new_repo: Callable[..., str]) -> str:
    return new_repo(repo_type="dataset")


def test_parquet_when_shown_then_labels_by_name_and_pictures_anew(
    api: HfApi, anyone: httpx.Client, dataset: str
) -> None:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": picture(), "path": "/etc/passwd"}] * 30, struct)
    table = pa.table({"image": images, "label": [0, 1] * 15, "score": [0.5] * 30})
    features = {"label": {"_type": "ClassLabel", "names": ["cat <b>", "dog"]}}
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    data = parquet(table.replace_schema_metadata(meta))
    commit(api, dataset, {"data/train-0.parquet": data}, repo_type="dataset")
    html = anyone.get(f"/datasets/{dataset}/viewer/main").text
    assert html.count('<img src="data:image/png;base64,') == 20
    assert '<span class="chip">cat &lt;b&gt;</span>' in html
    assert "The first 20 rows of 30" in html
    assert "passwd" not in html


def test_files_when_several_then_the_train_split_first_and_any_can_be_chosen(
    api: HfApi, anyone: httpx.Client, dataset: str
) -> None:
    files = {
        "a.csv": b'text,n\n"two\nlines, and a comma",7\nshort\n',
        "b.tsv": b"x\ty\n1\t2\n",
        "c.json": b'[{"k": [1, 2]}, "loose"]',
        "train.jsonl": b'{"text": "<script>"}\n\n{"text": null, "more": true}\n',
        ".hidden/x.csv": b"no\n1\n",
    }
    commit(api, dataset, files, repo_type="dataset")
    url = f"/datasets/{dataset}/viewer/main"
    html = anyone.get(url).text
    assert "<option selected>train.jsonl</option>" in html
    assert "&lt;script&gt;" in html
    assert ".hidden" not in html
    assert "two\nlines, and a comma" in anyone.get(url, params={"file": "a.csv"}).text
    assert '<th scope="col"><bdi>y</bdi></th>' in anyone.get(url, params={"file": "b.tsv"}).text
    listed = anyone.get(url, params={"file": "c.json"}).text
    assert "[1, 2]" in listed
    assert "loose" in listed
    for path in ("../train.jsonl", "README.md", "none.csv"):
        assert anyone.get(url, params={"file": path}).status_code == 404


def test_dataset_when_without_rows_then_said_so(anyone: httpx.Client, dataset: str) -> None:
    assert "No rows to show" in anyone.get(f"/datasets/{dataset}/viewer/main").text


def test_file_when_broken_then_the_reason_and_no_failure(
    api: HfApi, anyone: httpx.Client, dataset: str
) -> None:
    files = {"train.parquet": b"PAR1 nonsense PAR1", "b.jsonl": b"{", "c.csv": b""}
    commit(api, dataset, files, repo_type="dataset")
    url = f"/datasets/{dataset}/viewer/main"
    assert "cannot be shown as rows: Arrow" in anyone.get(url).text
    assert "JSONDecodeError" in anyone.get(url, params={"file": "b.jsonl"}).text
    assert anyone.get(url, params={"file": "c.csv"}).status_code == 200


def test_large_file_of_another_repo_when_only_its_pointer_is_known_then_no_rows(
    api: HfApi, hub: LocalHub, anyone: httpx.Client, dataset: str, new_repo: Callable[..., str]
) -> None:
    hidden = new_repo(repo_type="dataset", private=True)
    data = parquet(pa.table({"secret": ["the treasure"]}))
    commit(api, hidden, {"train.parquet": data}, repo_type="dataset")
    core = hub.core
    repo = find_repo(core.store, "dataset", hidden)
    stranger = find_repo(core.store, "dataset", dataset)
    assert repo is not None
    assert stranger is not None
    git = core.git(repo)
    main = git.references["refs/heads/main"].peel()
    assert rows.first_rows(core, repo, git, main, "train.parquet").columns == ["secret"]
    seen = rows.first_rows(core, stranger, git, main, "train.parquet")
    assert seen.columns == []
    assert seen.problem


def test_bomb_when_a_picture_or_a_cell_is_huge_then_only_its_size() -> None:
    struct = pa.struct([("bytes", pa.binary())])
    bomb = picture((6000, 6000))
    found = read("parquet", parquet(pa.table({"image": pa.array([{"bytes": bomb}], struct)})))
    assert found["rows"] == [[{"kind": "none", "text": f"{len(bomb):,} bytes"}]]
    long = read("jsonl", json.dumps({"text": "x" * 10_000}).encode())
    assert len(long["rows"][0][0]["text"]) == rows_child.MAX_CELL + 1  # type: ignore[index]
    wide = read("jsonl", json.dumps({str(n): n for n in range(500)}).encode())
    assert len(wide["columns"]) == rows_child.MAX_COLUMNS  # type: ignore[arg-type]
    many = read(
        "parquet", parquet(pa.table({"image": pa.array([{"bytes": picture()}] * 150, struct)})), 150
    )
    shown = [cell["kind"] for row in many["rows"] for cell in row]  # type: ignore[attr-defined]
    assert shown.count("image") == rows_child.MAX_IMAGES


LIMITED = """
import importlib.util, sys
found = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(found)
found.loader.exec_module(child)
child.limit_process()
try:
    bytearray(child.MEMORY_BYTES)
except MemoryError:
    print("no memory")
try:
    with open(sys.argv[2], "w") as file:
        file.write("x")
except OSError as error:
    print("no file:", error.strerror)
"""


def test_child_when_limited_then_neither_memory_nor_files(tmp_path: Path) -> None:
    said = run("-I", "-c", LIMITED, rows_child.__file__, str(tmp_path / "x")).decode()
    assert said.splitlines() == ["no memory", "no file: File too large"]


def test_child_when_it_dies_or_hangs_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    monkeypatch.setattr(rows, "_CHILD", child)
    monkeypatch.setattr(rows, "MAX_SECONDS", 1)
    for code, reason in (
        ("import os; os.abort()", "stopped before it had an answer"),
        ("import time; time.sleep(60)", "took longer than 1 seconds"),
    ):
        child.write_text(code)
        with tempfile.TemporaryFile() as stream:
            assert reason in rows._read(stream, "csv").problem


def test_previews_when_too_many_at_once_then_told_to_come_again(
    api: HfApi, anyone: httpx.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_children", threading.Semaphore(0))
    monkeypatch.setattr(rows, "MAX_WAIT_SECONDS", 0.01)
    commit(api, dataset, {"train.csv": b"busy,now\n1,2\n"}, repo_type="dataset")
    assert "other previews are being read" in anyone.get(f"/datasets/{dataset}/viewer/main").text


def test_deep_json_when_read_then_a_problem_and_not_a_crash() -> None:
    found = read("json", b"[" * 200_000)
    assert "problem" in found


def test_pull_request_when_it_adds_rows_then_its_page_shows_their_start(
    api: HfApi, anyone: httpx.Client, dataset: str
) -> None:
    commit(api, dataset, {"train.csv": b"text,label\nold row,a\n"}, repo_type="dataset")
    num = api.create_pull_request(dataset, title="More", repo_type="dataset").num
    files = {
        "more.csv": b'text,label\n"<script>alert(1)</script>",b\n',
        "data/cat/1.png": picture(),
        "data/broken.parquet": b"PAR1",
    }
    commit(api, dataset, files, repo_type="dataset", revision=f"refs/pr/{num}")
    html = anyone.get(f"/datasets/{dataset}/discussions/{num}").text
    assert "Added rows" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>" not in html
    assert "The first 1 row" in html
    assert "This file cannot be shown as rows" in html
    assert "old row" not in html
    source = f"/datasets/{dataset}/image/refs%2Fpr%2F{num}/data/cat/1.png"
    assert f'<img src="{source}" alt="" loading="lazy">' in html
    assert anyone.get(source).headers["content-type"] == "image/png"


def test_discussion_when_no_pull_request_then_no_rows(
    api: HfApi, anyone: httpx.Client, dataset: str
) -> None:
    num = api.create_discussion(dataset, title="Hello", repo_type="dataset").num
    assert "Added rows" not in anyone.get(f"/datasets/{dataset}/discussions/{num}").text


def test_comment_when_it_folds_a_part_then_only_that_html_is_taken() -> None:
    from hub_trainer.local_hub.page.markdown_html import render_markdown

    html = render_markdown(
        "<details>\n<summary>3 passed</summary>\n\n| a |\n|---|\n| b |\n\n</details>"
    )
    assert "<details>" in html
    assert "<summary>3 passed</summary>" in html
    assert "<td" in html.split("</details>")[0]
    bad = render_markdown(
        "<details open ontoggle=alert(1)>\n<summary>x</summary>\n\nhello\n\n</details>"
    )
    assert "<details open" not in bad
