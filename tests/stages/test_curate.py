"""The curate stage against a Local Hub: what merges is a dataset that loads as before, and more."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset
from datasets import Image as ImageFeature
from PIL import Image

from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import curate
from tests.stages.ratings_on_hub import numbered, send, votes

CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
"""


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


NO_RATINGS = "No new example: no ratings."
ON_THE_WAY = (
    "A Space sends its ratings every 30 seconds unless its FLUSH_SECONDS says otherwise; its "
    "/health says how many wait."
)


def _recipe(name: str, task: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "task": task,
        "collect": {"datasets": [f"admin/{name}"], "ratings": f"admin/{name}-ratings"},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": f"admin/{name}-model"},
    }
    return Recipe.model_validate({**values, **changes})


def _dataset(hub: Hub, name: str, files: dict[str, bytes]) -> Repo:
    repo = Repo(f"admin/{name}", "dataset")
    hub.create_repo(repo)
    hub.commit(repo, Changes(dict(files)), message="Rows", run_id=f"seed-{name}")
    return repo


def _parquet(rows: dict[str, Any], features: Features) -> bytes:
    buffer = BytesIO()
    Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def _run(recipe: Recipe, folder: Path, hub: Hub) -> dict[str, Any]:
    return curate.run(recipe, folder, hub).outputs


def _merged(hub: Hub, repo: Repo, outputs: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Rows of the dataset as anyone loads them once the pull request is merged."""
    hub.download(repo, outputs["commit_sha"], allow=["*"], into=folder / "merged")
    cache = str(folder / "cache")
    return list(load_dataset(str(folder / "merged"), split="train", cache_dir=cache))


INTENTS = Features(
    {
        "utterance": Value("string"),
        "intent": ClassLabel(names=["card", "loan"]),
        "note": Value("int32"),
    }
)


def test_text_when_agreed_joins_a_dataset_with_its_own_names_and_types(
    hub: Hub, tmp_path: Path
) -> None:
    rows = {"utterance": ["my card is gone", "sealed"], "intent": [0, 1], "note": [7, 8]}
    shard = _parquet(rows, INTENTS)
    repo = _dataset(
        hub, "intents", {"README.md": CARD.encode(), "data/train-00000-of-00001.parquet": shard}
    )
    source = {"repo_id": "admin/intents", "columns": {"text": "utterance", "label": "intent"}}
    recipe = _recipe(
        "intents",
        "text-classification",
        collect={"datasets": [source], "ratings": "admin/intents-ratings"},
    )
    ratings = numbered(
        votes({"text": "i need a loan"}, "loan", "loan", "card"),
        votes({"text": "My card is gone"}, "card", "card", "card"),
        votes({"text": "what?"}, "neither", "neither", "neither"),
        votes({"text": "hm"}, "card", "loan"),
    )
    sha = send(hub, "admin/intents-ratings", "text-classification", "text", ratings)

    outputs = _run(recipe, tmp_path / "round", hub)
    assert outputs["rows"] == 1
    assert outputs["unknown_labels"] == 1
    assert outputs["skipped_rows"] == {
        "in the dataset already": 1,
        "with too few raters": 1,
    }
    assert outputs["summary"] == (
        f"Pull request {outputs['pull_request']} on admin/intents adds 1 example, "
        "from 11 ratings of 3 raters."
    )
    assert outputs["hints"] == [ON_THE_WAY]
    assert outputs["path"].startswith("data/train-ratings-")
    merged = _merged(hub, repo, outputs, tmp_path)
    assert merged[-1] == {"utterance": "i need a loan", "intent": 1, "note": None}
    assert len(merged) == 3

    request = hub.pull_request(repo, outputs["pull_request"])
    assert outputs["url"] == hub.discussion_page(repo, outputs["pull_request"])
    assert request.title == "Add examples that raters agree on"
    [(_, text)] = hub.comments(repo, outputs["pull_request"])[:1]
    assert "1 example that raters of admin/intents-model agree on" in text
    assert sha in text
    assert "majority of at least 3 raters" in text
    assert "rater-0" not in text
    assert "need a loan" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1


@pytest.mark.slow
def test_curate_when_repeated_finds_the_same_pull_request(hub: Hub, tmp_path: Path) -> None:
    line = json.dumps({"text": "a", "label": "x"}).encode()
    repo = _dataset(hub, "repeat", {"train.jsonl": line + b"\n"})
    recipe = _recipe("repeat", "text-classification")
    send(
        hub,
        "admin/repeat-ratings",
        "text-classification",
        "text",
        numbered(votes({"text": "b"}, "y", "y", "y")),
    )
    first = _run(recipe, tmp_path / "one", hub)
    again = _run(recipe, tmp_path / "one", hub)
    assert again["pull_request"] == first["pull_request"]
    assert _run(recipe, tmp_path / "one", hub) == again
    elsewhere = _run(recipe, tmp_path / "two", hub)
    assert elsewhere["pull_request"] == first["pull_request"]
    assert len(hub.pull_requests(repo, status=None)) == 1
    assert first["path"].endswith(".jsonl")
    assert [row["label"] for row in _merged(hub, repo, first, tmp_path)] == ["x", "y"]


def _png(colour: tuple[int, int, int]) -> bytes:
    """A picture of a colour, whose lower half is black and of a pattern of its own."""
    buffer = BytesIO()
    picture = Image.new("RGB", (8, 8), colour)
    rng = np.random.default_rng(sum(colour[1:]) + 2 * colour[2])
    dots = rng.integers(0, 2, (4, 8), dtype=np.uint8) * 255
    picture.paste(Image.fromarray(dots).convert("RGB"), (0, 4))
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_images_when_agreed_join_and_sealed_ones_do_not(hub: Hub, tmp_path: Path) -> None:
    red, green, blue = _png((255, 0, 0)), _png((0, 255, 0)), _png((0, 0, 255))
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["warm", "cold"])})
    shard = _parquet({"image": [{"bytes": red, "path": None}], "label": [0]}, features)
    repo = _dataset(
        hub, "colours", {"README.md": CARD.encode(), "data/train-00000-of-00001.parquet": shard}
    )
    sealed = _parquet({"image": [{"bytes": green, "path": None}], "label": [1]}, features)
    _dataset(hub, "colours-sealed", {"test.parquet": sealed})
    recipe = _recipe(
        "colours",
        "image-classification",
        base_model="admin/none",
        prepare={"test_split": {"repo_id": "admin/colours-sealed", "split": "test"}},
    )
    hub.create_repo(Repo("admin/none"))
    ratings = numbered(
        votes({"image": blue}, "cold", "cold", "cold"),
        votes({"image": green}, "cold", "cold", "cold"),
        votes({"image": red}, "warm", "warm", "warm"),
    )
    send(hub, "admin/colours-ratings", "image-classification", "image", ratings)
    outputs = _run(recipe, tmp_path / "round", hub)
    assert outputs["rows"] == 1
    assert outputs["skipped_rows"] == {"in the dataset already": 1, "sealed for the test": 1}
    merged = _merged(hub, repo, outputs, tmp_path)
    assert [row["label"] for row in merged] == [0, 1]
    assert merged[1]["image"].getpixel((1, 1)) == (0, 0, 255)


def test_tables_when_agreed_join_with_their_own_types(hub: Hub, tmp_path: Path) -> None:
    csv = b"age,city,rich\n30,Rome,1\n40,Oslo,0\n"
    repo = _dataset(hub, "people", {"data/train.csv": csv})
    source = {"repo_id": "admin/people", "columns": {"label": "rich"}}
    recipe = _recipe(
        "people",
        "tabular-classification",
        collect={"datasets": [source], "ratings": "admin/people-ratings"},
    )
    row = {"age": 50.0, "city": "Bonn, Rhein"}
    send(
        hub,
        "admin/people-ratings",
        "tabular-classification",
        "table",
        numbered(votes(row, "1", "1", "0")),
    )
    outputs = _run(recipe, tmp_path / "round", hub)
    assert _merged(hub, repo, outputs, tmp_path)[-1] == {
        "age": 50,
        "city": "Bonn, Rhein",
        "rich": 1,
    }


def test_curate_when_there_are_no_ratings_says_so(hub: Hub, tmp_path: Path) -> None:
    repo = _dataset(hub, "quiet", {"train.csv": b"text,label\na,x\n"})
    outputs = _run(_recipe("quiet", "text-classification"), tmp_path / "none", hub)
    assert (outputs["pull_request"], outputs["rows"]) == (None, 0)
    assert "does not exist yet" in outputs["summary"]
    assert outputs["hints"] == [ON_THE_WAY]
    hub.create_repo(Repo("admin/quiet-ratings", "dataset"))
    outputs = _run(_recipe("quiet", "text-classification"), tmp_path / "empty", hub)
    assert (outputs["summary"], outputs["hints"]) == (NO_RATINGS, [ON_THE_WAY])
    assert hub.pull_requests(repo, status=None) == []


def test_curate_when_the_recipe_names_no_ratings_reads_those_of_its_space(
    hub: Hub, tmp_path: Path
) -> None:
    _dataset(hub, "mute", {"train.csv": b"text,label\na,x\n"})
    serve = {"repo_id": "admin/demo", "ratings_repo_id": "admin/mute-ratings"}
    collect = {"datasets": ["admin/mute"]}
    recipe = _recipe("mute", "text-classification", collect=collect, serve=serve)
    outputs = _run(recipe, tmp_path / "none", hub)
    assert outputs["summary"].startswith("admin/mute-ratings does not exist yet")
    hub.create_repo(Repo("admin/mute-ratings", "dataset"))
    assert _run(recipe, tmp_path / "empty", hub)["summary"] == NO_RATINGS


def test_curate_when_there_is_no_space_either_says_what_to_add(hub: Hub, tmp_path: Path) -> None:
    recipe = _recipe("mute", "text-classification", collect={"datasets": ["admin/mute"]})
    with pytest.raises(UsageError, match="names no dataset of ratings") as caught:
        _run(recipe, tmp_path, hub)
    assert "collect.ratings: org/name-ratings; or a section serve" in str(caught.value)


def test_curate_when_the_target_is_not_collected_names_those_that_are(
    hub: Hub, tmp_path: Path
) -> None:
    recipe = _recipe("mute", "text-classification", curate={"repo_id": "admin/elsewhere"})
    with pytest.raises(UsageError, match="only join a dataset that the recipe collects") as caught:
        _run(recipe, tmp_path, hub)
    assert "admin/mute" in str(caught.value)


def test_ratings_when_a_shard_is_broken_names_the_file(hub: Hub, tmp_path: Path) -> None:
    _dataset(hub, "torn", {"train.csv": b"text,label\na,x\n"})
    buffer = BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    ratings = _dataset(hub, "torn-ratings", {"ratings/s/e/odd.parquet": buffer.getvalue()})
    assert hub.exists(ratings)
    with pytest.raises(DataError, match="another schema than ratings") as caught:
        _run(_recipe("torn", "text-classification"), tmp_path, hub)
    assert "ratings/s/e/odd.parquet" in str(caught.value)
