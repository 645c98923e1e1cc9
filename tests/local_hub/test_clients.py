"""Unmodified clients, each in a process of its own, with only three variables set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub

DATASET = """
import datasets
rows = {"text": ["a", "b", "c"], "label": [0, 1, 0]}
datasets.Dataset.from_dict(rows).push_to_hub("admin/rows")
back = datasets.load_dataset("admin/rows", split="train")
assert back["text"] == rows["text"], back["text"]
again = datasets.Dataset.from_dict({"text": ["d"], "label": [1]})
again.push_to_hub("admin/rows", split="test")
assert datasets.load_dataset("admin/rows")["test"].num_rows == 1
streamed = datasets.load_dataset("admin/rows", split="train", streaming=True)
assert [row["text"] for row in streamed] == rows["text"]
"""
MODEL = """
import torch, transformers
config = transformers.BertConfig(
    vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
)
model = transformers.BertModel(config)
model.push_to_hub("admin/tiny", private=True)
back = transformers.AutoModel.from_pretrained("admin/tiny")
for one, other in zip(model.parameters(), back.parameters(), strict=True):
    assert torch.equal(one, other)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = tmp_path_factory.mktemp("home")
    with LocalHub() as hub:
        kept = {key: os.environ[key] for key in ("PATH", "OMP_NUM_THREADS") if key in os.environ}
        told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1"}
        yield {**kept, **told, "HOME": str(home), "HF_HOME": str(home / "hf")}


def run(environment: object, *words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        words,
        env=environment,  # type: ignore[arg-type]
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_hf_command_when_used_then_repos_files_and_discussions(
    environment: dict[str, str], tmp_path: Path
) -> None:
    hf = str(Path(sys.executable).parent / "hf")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("hello")
    (tmp_path / "folder" / "w.bin").write_bytes(b"\0" * 1000)
    run(environment, hf, "repos", "create", "by-hand", "--repo-type", "dataset")
    run(environment, hf, "upload", "admin/by-hand", str(tmp_path / "folder"), "--repo-type=dataset")
    down = tmp_path / "down"
    words = ("download", "admin/by-hand", "--repo-type=dataset", "--local-dir", str(down))
    run(environment, hf, *words)
    assert (down / "a.txt").read_text() == "hello"
    assert (down / "w.bin").read_bytes() == b"\0" * 1000
    words = ("create", "admin/by-hand", "--title", "A question", "--repo-type=dataset")
    run(environment, hf, "discussions", *words)
    listed = run(environment, hf, "discussions", "list", "admin/by-hand", "--repo-type=dataset")
    assert "A question" in listed
    api = HfApi(endpoint=environment["HF_ENDPOINT"], token=environment["HF_TOKEN"])
    assert api.get_discussion_details("admin/by-hand", 1, repo_type="dataset").status == "open"


@pytest.mark.slow
def test_datasets_when_pushed_then_loaded_and_streamed(environment: dict[str, str]) -> None:
    run(environment, sys.executable, "-c", DATASET)


@pytest.mark.slow
def test_transformers_when_pushed_then_loaded_the_same(environment: dict[str, str]) -> None:
    run(environment, sys.executable, "-c", MODEL)
