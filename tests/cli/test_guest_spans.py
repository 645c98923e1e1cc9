"""Spans of words through the whole loop: round, gate, card, Space, ratings, curate, review."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from hub_trainer.answers import load_answer
from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli
from tests.cli.seeded import ARGUMENTS, OWNER, TEXT_BASE, commit
from tests.cli.test_guest_answers import ask, recipe, space
from tests.space.factory import QUIET
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import tagged_rows

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

SPANS = load_answer("spans")
NAMES = ["O", "B-color", "I-color", "B-thing", "I-thing"]
FEATURES = datasets.Features(
    {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
    }
)
COLUMNS = {"tags": "ner_tags"}


def own(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the dataset has it, with tags as classes."""
    words, tags = zip(*row["tags"], strict=True)
    return {"tokens": list(words), "ner_tags": [NAMES.index(tag) for tag in tags]}


def seed(hub: Hub, splits: dict[str, Sequence[dict[str, Any]]]) -> None:
    files = {}
    for name, rows in splits.items():
        buffer = BytesIO()
        made = datasets.Dataset.from_list([own(row) for row in rows], features=FEATURES)
        made.to_parquet(buffer)
        files[f"data/{name}-0.parquet"] = buffer.getvalue()
    commit(hub, Repo(f"{OWNER}/cards", "dataset"), files)


@pytest.fixture
def path(cli: Cli, hub: Hub) -> Path:
    """A recipe of a dataset on the Hub."""
    seed(hub, {"train": tagged_rows(260), "test": tagged_rows(120, seed=1)})
    arguments = {**ARGUMENTS, "learning_rate": 0.003, "num_train_epochs": 10}
    return recipe(
        cli.folder / "cards.yaml",
        "cards",
        COLUMNS,
        task="token-classification",
        base_model=TEXT_BASE,
        train={"method": "full", "arguments": arguments},
        evaluate={"metrics": ["entity_f1", "entity_recall"], "primary": "entity_f1"},
    )


def test_spans_when_the_loop_runs_then_every_stage_knows_them(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path, path: Path
) -> None:
    checked = cli("check", path)
    assert (checked.code, "2 types: color, thing" in checked.err) == (0, True), checked.err
    assert cli("plan", path).code == 0
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["entity_f1"]["value"] > 0.95
    baselines = {one["name"]: one for one in made.json["baselines"]}
    assert list(baselines) == ["constant", "base", "probe"]
    model = Repo(f"{OWNER}/cards-model")
    config = json.loads(hub.read_file(model, "config.json", "main") or b"")
    assert list(config["id2label"].values()) == NAMES
    card = (hub.read_file(model, "README.md", "main") or b"").decode()
    for said in (
        "with spans of 2 types",
        "## Per type",
        "## Mistakes",
        "the spans were the same",
        'aggregation_strategy="first"',
        "no span in any of the test rows",
        "the commonest tag of each word on words as written",
    ):
        assert said in card, said
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        shown, ticket = ask(client, "where is my card please the red a")
        found = [(one["token"], one["class_or_confidence"]) for one in shown if
                 one["class_or_confidence"]]  # fmt: skip
        assert found == [("my card", "thing"), ("red", "color")]
        sent = {"generation_id": ticket, "rating": "wrong", "answer": "lost -> thing"}
        refused = client.post("/rate", json=sent)
        assert (refused.status_code, "does not stand in the text" in refused.text) == (422, True)
        kept = client.post("/rate", json={**sent, "answer": "card -> thing\nred -> color"})
        assert kept.status_code == 200, kept.text
        assert client.get("/health").json()["answer"] == "spans"


def test_ratings_when_curated_then_the_agreed_spans_in_the_datasets_own_columns(
    cli: Cli, hub: Hub, path: Path
) -> None:
    """Two of three raters say the same, and one says that there is no span."""
    fresh = tagged_rows(30, seed=9)
    short = [[[word, "O"] for word, _ in row["tags"]] for row in fresh]
    said = [
        votes({"text": row["text"]}, *map(SPANS.dumps, (row["tags"], less, row["tags"])))
        for row, less in zip(fresh, short, strict=True)
    ]
    repo = f"{OWNER}/cards-ratings"
    send(hub, repo, "token-classification", "text", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"] > 15) == (0, True), curated.err
    reviewed = cli("review", f"{OWNER}/cards", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
    repo = Repo(f"{OWNER}/cards", "dataset")
    [file] = [
        one for one in hub.list_files(repo, f"refs/pr/{verdict['number']}")
        if one.path.startswith("data/train-") and one.path != "data/train-0.parquet"
    ]  # fmt: skip
    content = hub.read_file(repo, file.path, f"refs/pr/{verdict['number']}")
    rows = pq.read_table(BytesIO(content or b"")).to_pylist()
    known = {tuple(own(row)["tokens"]): own(row)["ner_tags"] for row in fresh}
    assert rows
    assert all(known[tuple(row["tokens"])] == row["ner_tags"] for row in rows)


@pytest.mark.parametrize(("name", "moves", "fits"), [("right", 0, True), ("wrong", 2, False)])
def test_contribution_when_tags_stand_by_the_wrong_words_then_they_look_wrong(
    cli: Cli, hub: Hub, path: Path, name: str, moves: int, fits: bool
) -> None:
    rows = [own(row) for row in tagged_rows(60, seed=21 + moves)]
    for row in rows:
        tags = [NAMES[index] for index in row["ner_tags"]]
        row["ner_tags"] = [*tags[moves:], *tags[:moves]]
    file = cli.folder / f"{name}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    sent_in = cli("contribute", f"{OWNER}/cards", file, "--yes")
    assert sent_in.code == 0, sent_in.err
    reviewed = cli("review", f"{OWNER}/cards", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    failed = {one["name"] for one in verdict["checks"] if not one["passed"]}
    assert ("label quality" not in failed) == fits, verdict["checks"]


def test_init_when_given_words_with_tags_then_a_dataset_and_its_recipe(cli: Cli, hub: Hub) -> None:
    rows = [own(row) for row in tagged_rows(80)]
    for row in rows:
        row["ner_tags"] = [NAMES[index] for index in row["ner_tags"]]
    file = cli.folder / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    begun = cli("init", "--task", "token-classification", "--data", file, "--base-model",
                TEXT_BASE, "--json")  # fmt: skip
    assert begun.code == 0, begun.err
    assert begun.json["columns"] == COLUMNS
    assert set(begun.json["labels"]) == {"color", "thing"}
    checked = cli("check", begun.json["recipe"])
    assert checked.code == 0, checked.err
