"""Pairs of texts through the whole loop: round, gate, card, Space, ratings, review, contribute."""

import csv
import io
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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
from tests.tasks.factory import LABELS, WORDS

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

Row = dict[str, Any]
NAMES = {"text": "premise", "text_pair": "hypothesis", "label": "gold"}


def claims(count: int, seed: int) -> list[Row]:
    """Two texts of which the second one's colour is the answer; the columns in no order of ours."""
    rng, rows = random.Random(seed), []
    for index in range(count):
        sides = []
        for color in (rng.choice(LABELS), LABELS[index % 3]):
            words = [*rng.choices(WORDS[:8], k=rng.randint(2, 5)), color]
            rng.shuffle(words)
            sides.append(" ".join(words))
        first, second = sides
        rows.append(
            {"gold": LABELS[index % 3], "hypothesis": second, "id": seed * 1000 + index,
             "premise": first}
        )  # fmt: skip
    return rows


def rated(row: Row) -> Row:
    return {"text": row["premise"], "text_pair": row["hypothesis"]}


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def review(cli: Cli, path: Path) -> dict[str, Any]:
    reviewed = cli("review", f"{OWNER}/claims", "--all", "--recipe", path, "--json")
    newest: dict[str, Any] = max(reviewed.json["pull_requests"], key=lambda one: one["number"])
    return newest


def test_pairs_when_the_loop_runs_then_every_stage_reads_both_texts(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    test = claims(150, 1)
    seed(hub, "claims", claims(480, 0), test)
    path = recipe(
        cli.folder / "claims.yaml",
        "claims",
        NAMES,
        task="text-classification",
        base_model=TEXT_BASE,
        train={
            "method": "full",
            "arguments": {**ARGUMENTS, "learning_rate": 0.003, "num_train_epochs": 25},
        },
        evaluate={"metrics": ["accuracy", "f1_macro"], "primary": "accuracy"},
    )
    checked = cli("check", path)
    assert checked.code == 0, checked.err
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["accuracy"]["value"] > 0.95
    card = (hub.read_file(Repo(f"{OWNER}/claims-model"), "README.md", "main") or b"").decode()
    assert '"text_pair": "And here the second."' in card
    assert "how alike both texts are" in card
    _ask_and_rate(cli, hub, local, path, tmp_path)
    _curate(cli, hub, path)
    _contribute(cli, path, test)


def _ask_and_rate(cli: Cli, hub: Hub, local: LocalHub, path: Path, tmp_path: Path) -> None:
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        boxes = [part["props"]["label"] for part in client.get("/config").json()["components"]
                 if part["type"] == "textbox" and part["props"].get("lines") == 4]  # fmt: skip
        assert boxes == ["premise", "hypothesis"]
        shown, ticket = ask(client, "the red card", "my blue card is lost")
        assert shown["label"] == "blue"
        shown, _ = ask(client, "my blue card is lost", "the red card")
        assert shown["label"] == "red"
        sent = {"generation_id": ticket, "rating": "wrong", "answer": "green"}
        kept = client.post("/rate", json=sent)
        assert kept.status_code == 200, kept.text
    ratings = Repo(f"{OWNER}/claims-ratings", "dataset")
    folder = hub.download(ratings, hub.resolve(ratings), allow=[SHARDS], into=tmp_path / "rated")
    [one] = read_shards(folder)
    assert one["row"] == {"text": "the red card", "text_pair": "my blue card is lost"}


def _curate(cli: Cli, hub: Hub, path: Path) -> None:
    fresh = claims(24, 9)
    said = [votes(rated(row), *[row["gold"]] * 3) for row in fresh]
    send(hub, f"{OWNER}/claims-ratings", "text-classification", "text", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"]) == (0, 24), curated.err
    verdict = review(cli, path)
    assert verdict["verdict"] == "merge", verdict["reasons"]
    repo = Repo(f"{OWNER}/claims", "dataset")
    request = hub.resolve(repo, f"refs/pr/{verdict['number']}")
    [added] = [f.path for f in hub.list_files(repo, request) if "ratings" in f.path]
    table = pq.read_table(io.BytesIO(hub.read_file(repo, added, request) or b""))
    assert table.column_names == ["gold", "hypothesis", "id", "premise"]
    asked = {(row["premise"], row["hypothesis"], row["gold"]) for row in table.to_pylist()}
    assert asked == {(row["premise"], row["hypothesis"], row["gold"]) for row in fresh}


def _contribute(cli: Cli, path: Path, test: list[Row]) -> None:
    write_csv(cli.folder / "sealed.csv", [*claims(10, 12), *test[:20]])
    sent = cli("contribute", f"{OWNER}/claims", cli.folder / "sealed.csv", "--yes")
    assert sent.code == 0, sent.err
    failed = {one["name"]: one["detail"] for one in review(cli, path)["checks"]
              if not one["passed"]}  # fmt: skip
    assert failed["test leakage"].startswith("20 exact and 0 near repeats")
    mixed = [
        {**one, "hypothesis": other["hypothesis"], "gold": other["gold"]}
        for one, other in zip(test[:20], claims(20, 15), strict=True)
    ]
    write_csv(cli.folder / "honest.csv", mixed)
    sent = cli("contribute", f"{OWNER}/claims", cli.folder / "honest.csv", "--json", "--yes")
    assert (sent.code, sent.json["rows"]) == (0, 20), sent.err
    assert sent.json["labels"] == {"blue": 7, "green": 7, "red": 6}
    verdict = review(cli, path)
    assert verdict["verdict"] == "merge", verdict["reasons"]
