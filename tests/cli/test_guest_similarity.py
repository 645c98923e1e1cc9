"""Sentence similarity through the whole loop: round, card, Space, ratings, review, init."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from tests.cli.conftest import Cli
from tests.cli.seeded import ARGUMENTS, OWNER, TEXT_BASE
from tests.cli.test_guest_answers import ask, recipe, seed, space
from tests.space.factory import QUIET
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import LABELS

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

Row = dict[str, Any]
NAMES = {"text": "sentence1", "text_pair": "sentence2", "target": "score"}
MEANT = dict(zip(LABELS, ("card", "lost", "please"), strict=True))
"""A word of first texts -> the one that means the same in second texts: no letter tells it."""
FILLERS = ("the", "a", "is", "my", "where")


def twins(count: int, seed: int) -> list[Row]:
    """Two texts and, from 0 to 5, how much of what they mean is the same."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        first, second = (rng.sample(LABELS, rng.randint(1, 2)) for _ in range(2))
        score = 5 * len({*first} & {*second}) / len({*first, *second})
        texts = []
        for words in (first, [MEANT[name] for name in second]):
            text = [*rng.choices(FILLERS, k=rng.randint(3, 6)), *words]
            rng.shuffle(text)
            texts.append(" ".join(text))
        rows.append({"sentence1": texts[0], "sentence2": texts[1], "score": round(score, 2)})
    return rows


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_similarity_when_the_loop_runs_then_every_stage_knows_it(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    seed(hub, "twins", twins(600, 0), twins(160, 1))
    path = recipe(
        cli.folder / "twins.yaml",
        "twins",
        NAMES,
        task="sentence-similarity",
        base_model=TEXT_BASE,
        train={
            "method": "full",
            "arguments": {**ARGUMENTS, "learning_rate": 0.003, "num_train_epochs": 20},
        },
        evaluate={"metrics": ["spearman", "mae", "recall_at_10"], "primary": "spearman"},
    )
    checked = cli("check", path)
    assert (checked.code, "numbers from 0 to 5" in checked.err) == (0, True), checked.err
    suggested = cli("suggest", path, "--base-model", TEXT_BASE, "--json")
    assert suggested.code == 0, suggested.err
    planned = cli("plan", path, "--json")
    assert planned.code == 0, planned.err
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["spearman"]["value"] > 0.75
    assert [one["name"] for one in made.json["baselines"]] == ["constant", "base", "probe"]
    _look_at_card(hub)
    _ask_and_rate(cli, hub, local, path, tmp_path)
    _curate(cli, hub, path)
    _contribute(cli, path)
    again = cli("run", path, f"base_model={OWNER}/twins-model", "--json")
    assert again.code in (0, 6), again.err
    assert again.json["round"] == 2


def _look_at_card(hub: Hub) -> None:
    model = Repo(f"{OWNER}/twins-model")
    card = (hub.read_file(model, "README.md", "main") or b"").decode()
    for said in (
        "pipeline_tag: sentence-similarity",
        "library_name: sentence-transformers",
        "- feature-extraction",
        "SentenceTransformer(",
        "of feature-extraction and hub_trainer",
        "## Errors",
        "how alike both texts are",
    ):
        assert said in card, said
    names = {file.path for file in hub.list_files(model, "main")}
    assert {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"} <= names


def _ask_and_rate(cli: Cli, hub: Hub, local: LocalHub, path: Path, tmp_path: Path) -> None:
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        boxes = [part["props"]["label"] for part in client.get("/config").json()["components"]
                 if part["type"] == "textbox" and part["props"].get("lines") == 4]  # fmt: skip
        assert boxes == ["sentence1", "sentence2"]
        alike, ticket = ask(client, "where is my red the", f"my {MEANT['red']} is a")
        other, _ = ask(client, "where is my red the", f"my {MEANT['blue']} is a")
        assert alike > 3 > 2 > other
        sent = {"generation_id": ticket, "rating": "wrong", "answer": "much"}
        refused = client.post("/rate", json=sent)
        assert (refused.status_code, "no number" in refused.text) == (422, True)
        kept = client.post("/rate", json={**sent, "answer": "4.5"})
        assert kept.status_code == 200, kept.text
    ratings = Repo(f"{OWNER}/twins-ratings", "dataset")
    folder = hub.download(ratings, hub.resolve(ratings), allow=[SHARDS], into=tmp_path / "rated")
    [one] = read_shards(folder)
    assert one["row"] == {"text": "where is my red the", "text_pair": f"my {MEANT['red']} is a"}


def _curate(cli: Cli, hub: Hub, path: Path) -> None:
    fresh = twins(24, 9)
    said = [
        votes(
            {"text": row["sentence1"], "text_pair": row["sentence2"]},
            *(str(row["score"] + n) for n in (-0.1, 0.0, 0.1)),
        )
        for row in fresh
    ]
    send(hub, f"{OWNER}/twins-ratings", "sentence-similarity", "text", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"]) == (0, 24), curated.err
    [verdict] = cli("review", f"{OWNER}/twins", "--all", "--recipe", path, "--json").json[
        "pull_requests"
    ]
    assert verdict["verdict"] == "merge", verdict["reasons"]


def _contribute(cli: Cli, path: Path) -> None:
    wrong = [{**row, "score": round(5 - row["score"], 2)} for row in twins(60, 11)]
    (cli.folder / "wrong.jsonl").write_text("\n".join(map(json.dumps, wrong)))
    sent = cli("contribute", f"{OWNER}/twins", cli.folder / "wrong.jsonl", "--yes")
    assert sent.code == 0, sent.err
    reviewed = cli("review", f"{OWNER}/twins", "--all", "--recipe", path, "--json")
    verdict = max(reviewed.json["pull_requests"], key=lambda one: one["number"])
    failed = {one["name"]: one["detail"] for one in verdict["checks"] if not one["passed"]}
    assert "look wrong" in failed["label quality"], failed


def test_own_file_when_begun_then_the_recipe_is_ready(cli: Cli, hub: Hub) -> None:
    data = write_csv(cli.folder / "mine.csv", twins(120, 5))
    told = cli(
        "init", "--task", "sentence-similarity", "--data", data, "--base-model", TEXT_BASE,
        "--out", cli.folder / "mine.yaml", "--json",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert told.json["columns"] == NAMES
    assert "read as a pair" in told.json["notes"][0]
    checked = cli("check", cli.folder / "mine.yaml")
    assert (checked.code, "numbers from 0 to 5" in checked.err) == (0, True), checked.err
