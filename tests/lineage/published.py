"""Rounds on a Local Hub that nothing was trained for: records, weights and data, sent by hand."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from hub_trainer.artifacts import write_artifact
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import Pins, RoundRecord, write_pins
from hub_trainer.recipe import Recipe, RecipeFile, load_recipe
from hub_trainer.reports import DatasetReport

OWNER = "ada"
MODEL = Repo(f"{OWNER}/model")
DATA = Repo(f"{OWNER}/data", "dataset")
BASE = Repo(f"{OWNER}/base")
CARD = b"---\nlicense: cc-by-4.0\n---\n# Words\n"
RECIPE = """\
# a round of a small model
task: text-classification
base_model: ada/base
collect: {datasets: [ada/data]}
prepare: {test_split: {repo_id: ada/data, split: test}}
train: {arguments: {learning_rate: 0.01}}
evaluate: {metrics: [accuracy], primary: accuracy}
publish: {repo_id: ada/model}
"""


def seed(hub: Hub) -> None:
    """Data of two splits, and a base model."""
    for repo, files in (
        (DATA, {"README.md": CARD, "train.csv": b"text,label\na,b\n", "test.csv": b"text,label\n"}),
        (BASE, {"config.json": b"{}", "model.safetensors": b"base", "README.md": CARD}),
    ):
        hub.create_repo(repo, private=False)
        put(hub, repo, files, "Seed")


def put(hub: Hub, repo: Repo, files: dict[str, bytes], message: str, *gone: str) -> str:
    """One commit on main; gives its sha."""
    return hub.commit(
        repo,
        Changes(files, deletions=gone),
        message=message,
        run_id=f"{message} {sorted(files)} {gone}",
    ).commit_sha


def recipe_file(folder: Path, *overrides: str, text: str = RECIPE) -> RecipeFile:
    """The recipe above."""
    path = folder / "pets.yaml"
    path.write_text(text)
    return load_recipe(path, overrides)


def record_of(hub: Hub, recipe: Recipe, number: int, verdict: str = "promote") -> RoundRecord:
    """A record of a round that read the data and the base model as they are now."""
    data, base = hub.identify(DATA), hub.identify(BASE)
    read = DatasetReport(DATA.repo_id, data.commit_sha, hub_id=data.hub_id, owner=data.owner)
    return RoundRecord(
        round=number,
        run_id=f"run-{number}-{verdict}",
        created_at=f"2026-01-0{number}T00:00:00Z",
        parent=None,
        task=recipe.task,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest="d",
        base_model={
            "repo_id": BASE.repo_id,
            "commit_sha": base.commit_sha,
            "hub_id": base.hub_id,
            "owner": base.owner,
        },
        datasets=[replace(read, role=role) for role in ("train", "test")],
        ratings=None,
        seed=0,
        versions={},
        train={"rows": 1},
        metrics={"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
        published=None,
        base=None,
        primary="accuracy",
        p_value=None,
        gate={"verdict": verdict, "reasons": []},
        label_names=["a", "b"],
        files=["model.safetensors", "round.json"],
    )


def send(
    hub: Hub, record: RoundRecord, weights: bytes = b"weights", *, named: bool = True
) -> RoundRecord:
    """Send a round as publish does: onto main and tagged, or as a pull request."""
    hub.create_repo(MODEL, private=False)
    found = hub.identify(MODEL)
    if named:
        hashes = {"model.safetensors": hashlib.sha256(weights).hexdigest()}
        repo = {"hub_id": found.hub_id, "owner": found.owner}
        record = replace(record, hashes=hashes, repo=repo)
    content = json.dumps(record.to_json()).encode()
    promoted = record.verdict == "promote"
    made = hub.commit(
        MODEL,
        Changes({"round.json": content, "model.safetensors": weights}),
        message=f"Round {record.round}",
        run_id=record.run_id,
        pull_request=None if promoted else "Held back",
    )
    if promoted:
        hub.tag(MODEL, f"round-{record.round}", made.commit_sha)
    return replace(record, commit_sha=made.commit_sha, pull_request=made.pull_request)


def keep(hub: Hub, round_dir: Path, record: RoundRecord, pins: Pins) -> None:
    """The folder that a round leaves on the machine that made it."""
    write_pins(round_dir, replace(pins, run_id=record.run_id, round=record.round))
    with write_artifact(round_dir / "publish", {"run": record.run_id}) as draft:
        draft.outputs |= {
            "repo_id": MODEL.repo_id,
            "commit_sha": record.commit_sha,
            "pull_request": record.pull_request,
            "repo": asdict(hub.identify(MODEL)),
        }
