"""Small data sets of three kinds with their base models on a Local Hub, and recipes for them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from hub_trainer.hub import Changes, Hub, Repo
from tests.tasks.factory import image_base, image_rows, table_rows, text_base, text_rows

OWNER = "admin"
TEXT, IMAGES, TABLE = (f"{OWNER}/{name}" for name in ("texts", "pictures", "animals"))
TEXT_BASE, IMAGE_BASE = f"{OWNER}/tiny-bert", f"{OWNER}/tiny-resnet"
CARD = "---\nlicense: cc-by-4.0\n---\n# Rows to learn from\n\nMade for tests.\n"

ARGUMENTS = {
    "learning_rate": 0.01,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 16,
    "report_to": "none",
}
KINDS: dict[str, dict[str, Any]] = {
    "text": {
        "task": "text-classification",
        "base_model": TEXT_BASE,
        "collect": {"datasets": [{"repo_id": TEXT, "split": "train"}]},
        "prepare": {
            "test_split": {"repo_id": TEXT, "split": "test"},
            "deduplicate": {"near": None},
        },
        "train": {"method": "full", "arguments": ARGUMENTS},
    },
    "image": {
        "task": "image-classification",
        "base_model": IMAGE_BASE,
        "collect": {"datasets": [{"repo_id": IMAGES, "split": "train"}]},
        "prepare": {
            "test_split": {"repo_id": IMAGES, "split": "test"},
            "deduplicate": {"near": None},
        },
        "train": {"method": "full", "arguments": ARGUMENTS},
    },
    "table": {
        "task": "tabular-classification",
        "collect": {"datasets": [{"repo_id": TABLE, "split": "train"}]},
        "prepare": {"test_split": {"repo_id": TABLE, "split": "test"}},
        "train": {"estimator": "logistic_regression"},
    },
}


def write_recipe(path: Path, kind: str, **changes: Any) -> Path:
    """A recipe of a kind that publishes to a repo named after the file; `changes` are sections."""
    content: dict[str, Any] = {
        **KINDS[kind],
        "evaluate": {"metrics": ["accuracy", "f1_macro"], "primary": "accuracy"},
        "publish": {"repo_id": f"{OWNER}/{path.stem}-model", "license": "cc-by-4.0"},
        "serve": {
            "repo_id": f"{OWNER}/{path.stem}-demo",
            "ratings_repo_id": f"{OWNER}/{path.stem}-ratings",
        },
    }
    for section, value in changes.items():
        content[section] = (
            {**content.get(section, {}), **value} if isinstance(value, dict) else value
        )
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def seed(hub: Hub, scratch: Path) -> None:
    """Commit the data sets and the base models."""
    commit(hub, Repo(TEXT, "dataset"), _parquet_files(text_rows(90), text_rows(60, seed=1)))
    commit(hub, Repo(IMAGES, "dataset"), _parquet_files(image_rows(60), image_rows(45, seed=1)))
    tables = {
        name: _csv(rows)
        for name, rows in (("train", table_rows(120)), ("test", table_rows(80, seed=1)))
    }
    commit(
        hub, Repo(TABLE, "dataset"), {f"{name}.csv": content for name, content in tables.items()}
    )
    for repo_id, make in ((TEXT_BASE, text_base), (IMAGE_BASE, image_base)):
        folder = make(scratch / repo_id.split("/")[1])
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        commit(
            hub, Repo(repo_id), {**files, "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n"}
        )


def commit(hub: Hub, repo: Repo, files: Mapping[str, bytes]) -> str:
    """One commit of these files, in a repo that is made when it is missing; gives its sha."""
    hub.create_repo(repo)
    card = {} if repo.repo_type != "dataset" else {"README.md": CARD.encode()}
    names = json.dumps({name: hash(content) for name, content in files.items()})
    made = hub.commit(repo, Changes({**card, **files}), message="Seed", run_id=f"seed {names}")
    return made.commit_sha


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a parquet file, without the columns that tests keep for themselves."""
    plain = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plain), buffer)
    return buffer.getvalue()


def _parquet_files(train: Sequence[Any], test: Sequence[Any]) -> dict[str, bytes]:
    return {"data/train-00000.parquet": parquet(train), "data/test-00000.parquet": parquet(test)}


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names = [name for name in rows[0] if not name.startswith("_")]
    lines = [",".join(names)]
    for row in rows:
        lines.append(",".join("" if row[name] is None else str(row[name]) for name in names))
    return ("\n".join(lines) + "\n").encode()
