"""A round up to prepare, made by hand, and a Local Hub that holds base models."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from hub_trainer.artifacts import digest_of, write_artifact
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import PinnedRepo, Pins
from hub_trainer.rows.row_files import write_rows

Rows = Sequence[Mapping[str, Any]]


def prepare_round(
    round_dir: Path,
    train: Rows,
    test: Rows,
    *,
    base_model: PinnedRepo | None = None,
    parent: str | None = None,
    round_index: int = 1,
) -> Path:
    """pins.json and the prepare artifact; every fifth training row is for validation."""
    pins = Pins(round_index, f"run {round_index}", parent, base_model, (), "recipe")
    round_dir.mkdir(parents=True, exist_ok=True)
    (round_dir / "pins.json").write_text(json.dumps(asdict(pins)))
    splits = {
        "train": [row for index, row in enumerate(train) if index % 5],
        "validation": [row for index, row in enumerate(train) if not index % 5],
        "test": list(test),
    }
    with write_artifact(
        round_dir / "prepare", {"rows": digest_of([list(train), list(test)])}
    ) as draft:
        for name, rows in splits.items():
            columns = sorted({key for row in train for key in row})
            table = pa.table({key: [row.get(key) for row in rows] for key in columns})
            write_rows(draft.folder / f"{name}.parquet", table)
        draft.outputs |= {
            "label_names": sorted({row["label"] for row in train}),
            "rows": {name: len(rows) for name, rows in splits.items()},
        }
    return round_dir


def push_model(hub: Hub, repo_id: str, folder: Path) -> PinnedRepo:
    """Commit the files of a folder to a model repo."""
    hub.create_repo(Repo(repo_id))
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
    made = hub.commit(Repo(repo_id), Changes(files), message="Seed", run_id=str(folder))
    return PinnedRepo(repo_id, "model", "main", made.commit_sha)
