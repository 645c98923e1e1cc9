"""A published round of a table model on a Local Hub, with the recipe that it came from."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import RoundRecord
from hub_trainer.recipe import Recipe
from hub_trainer.reports import DatasetReport
from hub_trainer.rows import row_id, write_rows
from hub_trainer.tasks import Splits, load_task

LABELS = ["light", "heavy"]


def table_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Parcels: heavy from ten kilograms on."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        kilograms = rng.uniform(0, 20)
        row = {"kilograms": kilograms, "colour": rng.choice(["red", "blue"])}
        label = LABELS[kilograms >= 10]
        rows.append({**row, "label": label, "_row_id": row_id(row, "table")})
    return rows


def table_recipe(owner: str, **changes: Any) -> Recipe:
    """The recipe of the parcels."""
    values: dict[str, Any] = {
        "task": "tabular-classification",
        "collect": {"datasets": [f"{owner}/parcels"], "ratings": f"{owner}/parcels-ratings"},
        "train": {"method": "full", "estimator": "logistic_regression"},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": f"{owner}/parcel-model"},
        "serve": {
            "repo_id": f"{owner}/parcel-demo",
            "ratings_repo_id": f"{owner}/parcels-ratings",
            "private": False,
        },
    }
    return Recipe.model_validate({**values, **changes})


def prepared_round(round_dir: Path) -> Path:
    """A round whose rows are at hand, so that none has to be fetched."""
    (round_dir / "prepare").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(table_rows(10, seed=1))
    write_rows(round_dir / "prepare" / "train.parquet", table)
    return round_dir


def publish_model(
    hub: Hub, recipe: Recipe, folder: Path, *, card: str = "", license_name: str = "cc0-1.0"
) -> RoundRecord:
    """Fit and publish round 1 as the publish stage would; returns its record."""
    rows = table_rows(80)
    splits = Splits(rows[:60], rows[60:], LABELS)
    load_task(recipe.task).fit(
        splits, recipe, folder, base=None, progress=lambda share, doing: None
    )
    dataset = Repo(recipe.collect.datasets[0].repo_id, "dataset")
    hub.create_repo(dataset)
    lines = "".join(
        json.dumps({k: v for k, v in row.items() if k != "_row_id"}) + "\n" for row in rows
    )
    rows_and_card: dict[str, bytes | Path] = {"train.jsonl": lines.encode()}
    rows_and_card |= {"README.md": card.encode()} if card else {}
    data = hub.commit(dataset, Changes(rows_and_card), message="Rows", run_id="rows")
    record = _record(recipe, data.commit_sha, license_name)
    repo = Repo(recipe.publish.repo_id)
    hub.create_repo(repo)
    files: dict[str, bytes | Path] = {p.name: p for p in (folder / "model").iterdir()}
    files["round.json"] = json.dumps(record.to_json()).encode()
    hub.commit(repo, Changes(files), message="Round 1", run_id=record.run_id)
    return record


def _record(recipe: Recipe, dataset_sha: str, license_name: str) -> RoundRecord:
    source = recipe.collect.datasets[0]
    dataset = DatasetReport(source.repo_id, dataset_sha, "default", rows=80, license=license_name)
    return RoundRecord(
        round=1,
        run_id="round-one",
        created_at="2026-01-01T00:00:00+00:00",
        parent=None,
        task=recipe.task,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest="digest",
        base_model=None,
        datasets=[dataset],
        ratings=None,
        seed=0,
        versions={},
        train={},
        metrics={"accuracy": {"value": 1.0, "low": 0.9, "high": 1.0}},
        published=None,
        base=None,
        primary="accuracy",
        p_value=None,
        gate={"verdict": "promote", "reasons": []},
        label_names=LABELS,
        files=[],
    )
