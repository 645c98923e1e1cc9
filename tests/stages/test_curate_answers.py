"""Ratings of answers against a Local Hub: a dataset that they join loads as before."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import Generation, NewRating, RatedGeneration
from hub_trainer.recipe import Recipe
from hub_trainer.stages import curate
from tests.stages.ratings_on_hub import DAY, send

CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
"""
WHOLE = {"_weight": 1.0, "_finished": [True]}
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with LocalHub() as running:
        yield Hub(running.url, running.token)


def _recipe(name: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "task": "text-generation",
        "base_model": "admin/base",
        "collect": {"datasets": [f"admin/{name}"], "ratings": f"admin/{name}-ratings"},
        "evaluate": {"metrics": ["contains"], "primary": "contains"},
        "publish": {"repo_id": f"admin/{name}-model"},
    }
    return Recipe.model_validate({**values, **changes})


def _rated(
    seq: int, kind: Any, prompt: Any, answer: str, *, said: str = "", rival: str | None = None
) -> RatedGeneration:
    def generation(name: str, text: str) -> Generation:
        row = {"text": str(prompt), "prompt": json.dumps(prompt)}
        sampling = {"max_new_tokens": 8, "seed": seq, "finished": kind != "down"}
        return Generation(name, row, name, "o/m@1", text, {}, "ann", DAY, sampling)

    other = None if rival is None else generation(f"rival-{seq}", rival)
    pair = None if rival is None else f"pair-{seq}"
    rating = NewRating(f"rating-{seq}", f"g-{seq}", "ann", "account", kind, said, "v1", DAY, pair)
    side: Any = None if rival is None else "right"
    return RatedGeneration(seq, rating, generation(f"g-{seq}", answer), other, side)


def _rate(hub: Hub, name: str, rated: Sequence[RatedGeneration]) -> None:
    send(hub, f"admin/{name}-ratings", "text-generation", "prompt", rated)


def _dataset(hub: Hub, name: str, table: pa.Table, split: str = "train") -> Repo:
    repo = Repo(f"admin/{name}", "dataset")
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    hub.create_repo(repo)
    files = {
        "README.md": CARD.replace("train", split).encode(),
        f"data/{split}-0.parquet": buffer.getvalue().to_pybytes(),
    }
    hub.commit(repo, Changes(files), message="Rows", run_id=f"seed-{name}")
    return repo


def _run(recipe: Recipe, folder: Path, hub: Hub) -> dict[str, Any]:
    return curate.run(recipe, folder, hub).outputs


def _loaded(hub: Hub, outputs: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    repo = Repo(outputs["repo_id"], "dataset")
    hub.download(repo, outputs["commit_sha"], allow=["*"], into=folder / "loaded")
    cache = str(folder / "cache")
    return list(load_dataset(str(folder / "loaded"), split="train", cache_dir=cache))


def test_thumbs_when_there_is_no_dataset_then_one_is_made_that_loads(
    hub: Hub, tmp_path: Path
) -> None:
    personal = "Write to ann.smith@gmail.com about a. "
    ratings = Repo("admin/thumbs-ratings", "dataset")
    hub.create_repo(ratings)
    card = {"README.md": b"---\nlicense: cc-by-4.0\n---\n"}
    hub.commit(ratings, Changes(card), message="Card", run_id="thumbs-card")
    _rate(
        hub,
        "thumbs",
        [
            _rated(1, "up", "Say a. ", "a"),
            _rated(2, "down", "Say b. ", "a"),
            _rated(3, "up", personal, "a"),
            _rated(4, "tie", "Say c. ", "a", rival="b"),
        ],
    )
    told = _run(_recipe("thumbs"), tmp_path, hub)
    assert told["summary"] == "Made admin/thumbs with 2 examples, from 3 ratings of 1 rater."
    assert (told["kind"], told["pull_request"]) == ("ratings", None)
    assert told["left_out"] == {"with personal data": 1}
    assert told["dropped_ratings"] == {"without a preference": 1}
    rows = sorted(_loaded(hub, told, tmp_path), key=lambda row: str(row["prompt"]))
    assert rows == [
        {"prompt": "Say a. ", "completion": "a", "label": True, **WHOLE},
        {
            "prompt": "Say b. ",
            "completion": "a",
            "label": False,
            "_weight": 1.0,
            "_finished": [False],
        },
    ]
    made = hub.read_file(Repo("admin/thumbs", "dataset"), "README.md", told["commit_sha"])
    assert made is not None
    assert b"admin/thumbs-ratings@" in made
    assert b"license: cc-by-4.0" in made
    again = _run(_recipe("thumbs"), tmp_path / "again", hub)
    assert again["summary"].startswith(
        "No new example: 2 examples are in the dataset already, 1 example has personal data"
    )


@pytest.mark.slow
def test_pairs_when_the_dataset_holds_dialogues_then_they_join_in_its_own_form(
    hub: Hub, tmp_path: Path
) -> None:
    asked = [{"role": "user", "content": "Hello"}]
    said = [{"role": "assistant", "content": "Hi"}], [{"role": "assistant", "content": "No"}]
    columns = {"id": [7], "prompt": [asked], "chosen": [said[0]], "rejected": [said[1]]}
    schema = pa.schema(
        [("id", pa.int64()), *((n, pa.list_(TURN)) for n in ("prompt", "chosen", "rejected"))]
    )
    _dataset(hub, "pairs", pa.table(columns, schema=schema))
    other = [{"role": "user", "content": "Bye"}]
    _rate(
        hub,
        "pairs",
        [
            _rated(1, "prefer", other, "See you", rival="Go"),
            _rated(2, "edit", other, "Go away", said="Farewell"),
            _rated(3, "prefer", asked, "Hi", rival="No"),
            _rated(4, "up", other, "See you"),
        ],
    )
    told = _run(_recipe("pairs"), tmp_path, hub)
    assert (
        told["summary"]
        == "Pull request 1 on admin/pairs adds 2 examples, from 4 ratings of 1 rater."
    )
    assert told["skipped_rows"] == {"in the dataset already": 1}
    new = [row for row in _loaded(hub, told, tmp_path) if row["id"] is None]
    chosen = sorted((row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in new)
    assert chosen == [("Farewell", "Go away"), ("See you", "Go")]
    assert all(row["prompt"] == other for row in new)


@pytest.mark.slow
def test_edits_when_their_prompt_is_sealed_then_they_stay_out(hub: Hub, tmp_path: Path) -> None:
    columns = {"prompt": ["One. "], "completion": ["1"]}
    _dataset(hub, "edits", pa.table(columns))
    _dataset(hub, "edits-test", pa.table({"prompt": ["Two. "], "completion": ["2"]}), "test")
    _rate(
        hub,
        "edits",
        [_rated(1, "edit", "Two. ", "3", said="2!"), _rated(2, "edit", "Six. ", "3", said="6")],
    )
    test = {"test_split": {"repo_id": "admin/edits-test", "split": "test"}}
    told = _run(_recipe("edits", prepare=test), tmp_path, hub)
    assert told["skipped_rows"] == {"sealed for the test": 1}
    rows = {(row["prompt"], row["completion"]) for row in _loaded(hub, told, tmp_path)}
    assert rows == {("One. ", "1"), ("Six. ", "6")}


def test_thumbs_when_the_dataset_names_its_classes_then_they_are_kept(
    hub: Hub, tmp_path: Path
) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features(
        prompt=Value("string"),
        completion=Value("string"),
        label=ClassLabel(names=["false", "true"]),
    )
    rows = {"prompt": ["x "], "completion": ["y"], "label": [1]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    _dataset(hub, "classes", pq.read_table(tmp_path / "rows.parquet"))
    _rate(hub, "classes", [_rated(1, "down", "z ", "y")])
    told = _run(_recipe("classes"), tmp_path, hub)
    found = [row for row in _loaded(hub, told, tmp_path) if row["prompt"] == "z "]
    assert [row["label"] for row in found] == [0]


def test_ratings_when_there_are_none_then_it_is_said(hub: Hub, tmp_path: Path) -> None:
    told = _run(_recipe("silent"), tmp_path, hub)
    assert told["summary"] == "admin/silent-ratings does not exist yet: there are no ratings."


@pytest.mark.parametrize(
    ("loss_type", "kind"), [("nll", "demonstrations"), ("robust", "preferences"), (None, "ratings")]
)
def test_dataset_when_made_then_it_is_of_the_kind_that_the_loss_wants(
    hub: Hub, tmp_path: Path, loss_type: str | None, kind: str
) -> None:
    name = f"made-{kind}"
    rated = [_rated(n, "up", f"{n} ", "a") for n in range(1, 4)]
    rated += [_rated(4, "edit", "x ", "a", said="b"), _rated(5, "prefer", "y ", "a", rival="b")]
    _rate(hub, name, rated)
    language = {"language": {"loss_type": loss_type}} if loss_type else {}
    told = _run(_recipe(name, train=language), tmp_path, hub)
    assert told["kind"] == kind
    assert told["rows"] == {"demonstrations": 1, "preferences": 2, "ratings": 3}[kind]
