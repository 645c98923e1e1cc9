"""Numbers and sets of labels through the whole loop: round, gate, card, Space, ratings, review."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from hub_trainer.hub import Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import RatingStore
from hub_trainer.space.application import build_app
from hub_trainer.space.settings import load_settings
from hub_trainer.space.shown_rows import read_shown
from tests.cli.conftest import Cli
from tests.cli.seeded import ARGUMENTS, OWNER, TEXT_BASE, commit, parquet
from tests.space.factory import QUIET, event_loop, served
from tests.stages.ratings_on_hub import numbered, send, votes
from tests.tasks.factory import LABELS, WORDS

pytestmark = [*QUIET, pytest.mark.slow, pytest.mark.timeout(900)]

Row = dict[str, Any]
SAID_IN_CARD = ("## Errors", "figures/predictions.png", "lower is better", "numbers were the same")


def houses(count: int, seed: int) -> list[Row]:
    """A price that follows from size and age, not in a straight line, with some noise."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(count):
        size, age = float(np.round(rng.uniform(30, 200), 1)), int(rng.integers(0, 90))
        town = str(rng.choice(["Rome", "Bari"]))
        price = size * (3.0 if age < 30 else 1.5) + 60 * (town == "Rome") + rng.normal(0, 8)
        rows.append({"size": size, "age": age, "town": town, "price": round(float(price), 1)})
    return rows


def sayings(count: int, seed: int) -> list[Row]:
    """Texts that name some colours, or none, among other words that the tiny encoder knows."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(count):
        chosen = [name for name in LABELS if rng.random() < 0.45]
        others = rng.choice(WORDS[:8], size=int(rng.integers(3, 9))).tolist()
        rows.append({"text": " ".join(rng.permutation([*chosen, *others])), "tags": chosen})
    return rows


def recipe(path: Path, name: str, column: Mapping[str, str], **sections: Any) -> Path:
    repo = f"{OWNER}/{name}"
    source = {"repo_id": repo, "columns": dict(column)}
    content = {
        "collect": {
            "datasets": [{**source, "split": "train"}],
            "ratings": {"repo_id": f"{repo}-ratings"},
        },
        "prepare": {"test_split": {**source, "split": "test"}, "deduplicate": {"near": None}},
        "publish": {"repo_id": f"{repo}-model", "license": "cc-by-4.0"},
        "serve": {"repo_id": f"{repo}-demo", "ratings_repo_id": f"{repo}-ratings"},
        **sections,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def seed(hub: Hub, name: str, train: list[Row], test: list[Row]) -> None:
    files = {"data/train-0.parquet": parquet(train), "data/test-0.parquet": parquet(test)}
    commit(hub, Repo(f"{OWNER}/{name}", "dataset"), files)


@contextmanager
def space(hub: Hub, cli: Cli, path: Path, tmp_path: Path, token: str) -> Iterator[httpx.Client]:
    """The Space of the newest round, as its files on the Hub say, and a person with an account."""
    account = {"Authorization": f"Bearer {token}"}
    pushed = cli("serve", path, "--push-only", "--json")
    assert pushed.code == 0, pushed.err
    repo = Repo(pushed.json["repo_id"], "space")
    folder = hub.download(repo, pushed.json["commit_sha"], allow=["*"], into=tmp_path / "space")
    store = RatingStore(tmp_path / "ratings")
    with event_loop():
        app = build_app(load_settings(folder, {}), hub, store, shown=read_shown(folder))
        with served(app) as url, httpx.Client(base_url=url, headers=account, timeout=30) as client:
            yield client
    store.close()


def ask(client: httpx.Client, *values: Any) -> list[Any]:
    started = client.post("/gradio_api/call/predict", json={"data": list(values)})
    said = client.get(f"/gradio_api/call/predict/{started.json()['event_id']}").text
    assert "event: complete" in said, said
    found: list[Any] = json.loads(said.split("event: complete\ndata: ", 1)[1].splitlines()[0])
    return found


def test_numbers_when_the_loop_runs_then_every_stage_knows_them(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    seed(hub, "houses", houses(260, 0), houses(160, 1))
    path = recipe(
        cli.folder / "houses.yaml",
        "houses",
        {"target": "price"},
        task="tabular-regression",
        train={"estimator": "hist_gradient_boosting"},
        evaluate={"metrics": ["mae", "r2", "spearman"], "primary": "mae"},
    )
    checked = cli("check", path)
    assert (checked.code, "numbers from" in checked.err) == (0, True), checked.err
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["r2"]["value"] > 0.9
    names = [one["name"] for one in made.json["baselines"]]
    assert names == ["constant", "probe"]
    card = hub.read_file(Repo(f"{OWNER}/houses-model"), "README.md", "main")
    assert card is not None
    text = card.decode()
    for said in (
        "## Errors",
        "figures/predictions.png",
        "lower is better",
        "numbers were the same",
    ):
        assert said in text
    assert "label" not in text.split("## Training data")[0]
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        value, ticket = ask(client, 100.0, 10.0, "Rome")
        assert value == pytest.approx(3 * 100 + 60, abs=40)
        sent = {"generation_id": ticket, "rating": "wrong", "answer": "ten"}
        refused = client.post("/rate", json=sent)
        assert (refused.status_code, "no number" in refused.text) == (422, True)
        kept = client.post("/rate", json={**sent, "answer": "250"})
        assert kept.status_code == 200, kept.text
        assert client.get("/health").json()["answer"] == "number"
    _curate_and_review(cli, hub, path)


def _curate_and_review(cli: Cli, hub: Hub, path: Path) -> None:
    fresh = [{k: v for k, v in row.items() if k != "price"} for row in houses(14, 9)]
    prices = [row["price"] for row in houses(14, 9)]
    said = [
        votes(row, *(str(price + n) for n in (-0.5, 0.0, 0.5)))
        for row, price in zip(fresh, prices, strict=True)
    ]
    send(hub, f"{OWNER}/houses-ratings", "tabular-regression", "table", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"]) == (0, 14), curated.err
    reviewed = cli("review", f"{OWNER}/houses", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
    wrong = [{**row, "price": float(np.random.default_rng(n).uniform(500, 900))}
             for n, row in enumerate(houses(60, 11))]  # fmt: skip
    (cli.folder / "wrong.jsonl").write_text("\n".join(map(json.dumps, wrong)))
    sent_in = cli("contribute", f"{OWNER}/houses", cli.folder / "wrong.jsonl", "--yes")
    assert sent_in.code == 0, sent_in.err
    reviewed = cli("review", f"{OWNER}/houses", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] != "merge"
    failed = {one["name"]: one["detail"] for one in verdict["checks"] if not one["passed"]}
    assert "look wrong" in failed["label quality"]


def test_sets_of_labels_when_the_loop_runs_then_every_stage_knows_them(
    cli: Cli, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    seed(hub, "sayings", sayings(300, 0), sayings(150, 1))
    path = recipe(
        cli.folder / "sayings.yaml",
        "sayings",
        {"labels": "tags"},
        task="text-classification",
        base_model=TEXT_BASE,
        train={
            "method": "full",
            "arguments": {**ARGUMENTS, "learning_rate": 0.003, "num_train_epochs": 25},
        },
        evaluate={"metrics": ["f1_micro", "f1_macro", "exact_match"], "primary": "f1_micro"},
    )
    checked = cli("check", path)
    assert (checked.code, "3 labels: blue" in checked.err) == (0, True), checked.err
    made = cli("run", path, "--json")
    assert (made.code, made.json["verdict"]) == (0, "promote"), made.err
    assert made.json["metrics"]["f1_micro"]["value"] > 0.95
    assert [one["name"] for one in made.json["baselines"]] == ["constant", "base", "probe"]
    config = json.loads(hub.read_file(Repo(f"{OWNER}/sayings-model"), "config.json", "main") or b"")
    assert set(config["thresholds"]) == set(LABELS)
    card = (hub.read_file(Repo(f"{OWNER}/sayings-model"), "README.md", "main") or b"").decode()
    assert "with any of 3 labels" in card
    assert "thresholds[one" in card
    with space(hub, cli, path, tmp_path, local.add_user("ada")) as client:
        shown, ticket = ask(client, f"the {LABELS[0]} card is {LABELS[1]}")
        assert shown["label"] == f"{LABELS[0]}, {LABELS[1]}"
        sent = {"generation_id": ticket, "rating": "wrong", "answer": json.dumps(["purple"])}
        refused = client.post("/rate", json=sent)
        assert (refused.status_code, "is no label" in refused.text) == (422, True)
        kept = client.post("/rate", json={**sent, "answer": json.dumps([LABELS[2]])})
        assert kept.status_code == 200, kept.text
    fresh = [row for row in sayings(40, 9) if len(row["text"].split()) > 4][:12]
    said = [votes({"text": row["text"]}, *[json.dumps(row["tags"])] * 3) for row in fresh]
    send(hub, f"{OWNER}/sayings-ratings", "text-classification", "text", numbered(*said))
    curated = cli("curate", path, "--json")
    assert (curated.code, curated.json["rows"] > 8) == (0, True), curated.err
    reviewed = cli("review", f"{OWNER}/sayings", "--all", "--recipe", path, "--json")
    [verdict] = reviewed.json["pull_requests"]
    assert verdict["verdict"] == "merge", verdict["reasons"]
