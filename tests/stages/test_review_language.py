"""Pull requests on language data, reviewed with the recipe that learns from it, in the sandbox."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.checks import conversion, inspection
from hub_trainer.contribute import contribute
from hub_trainer.hub import Changes, Repo
from hub_trainer.recipe import Recipe
from hub_trainer.stages import review
from tests.stages.review_hub import ReviewHub, bench, call_here

CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: train*.jsonl
  - split: test
    path: test*.jsonl
---
"""
PLACES = ("the park", "the sea", "a farm", "school", "a hill", "the wood", "a shop", "the river")


@pytest.fixture(scope="module")
def shop() -> Iterator[ReviewHub]:
    with bench() as made:
        yield made


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files in this process: what the checks say is tested, not the sandbox."""
    for module in (inspection, conversion):
        monkeypatch.setattr(module, "run_sandboxed", call_here)


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def _rated(numbers: range, *, of: str = "Tell me of") -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{of} number {n} and {PLACES[n % 8]}.",
            "completion": f"There were {n * 7919} birds, and {PLACES[(n + 3) % 8]} was {n} away.",
            "label": n % 2 == 0,
        }
        for n in numbers
    ]


def _dataset(shop: ReviewHub, name: str) -> Repo:
    repo = Repo(f"{shop.local.user}/{name}", "dataset")
    shop.owner.create_repo(repo, private=False)
    files = {
        "README.md": CARD.encode(),
        "train-0.jsonl": _lines(_rated(range(40))),
        "test-0.jsonl": _lines(_rated(range(100, 140))),
    }
    shop.owner.commit(repo, Changes(files), message="Begin", run_id=name)
    return repo


def _recipe(repo: Repo) -> Recipe:
    values = {
        "task": "text-generation",
        "base_model": "org/base",
        "collect": {"datasets": [repo.repo_id]},
        "prepare": {"test_split": {"repo_id": repo.repo_id, "split": "test"}},
        "evaluate": {"metrics": ["contains"], "primary": "contains"},
        "publish": {"repo_id": "org/model"},
        "review": {"max_label_shift": 0.3},
    }
    return Recipe.model_validate(values)


def _judged(
    shop: ReviewHub, repo: Repo, rows: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    path.write_bytes(_lines(rows))
    made = contribute(shop.contributor, repo.repo_id, path)
    answer = review.run(
        shop.owner, repo.repo_id, number=made.pull_request, recipe=_recipe(repo)
    ).to_dict()
    [verdict] = answer["pull_requests"]
    return dict(verdict)


def test_ratings_when_new_then_they_are_merged(shop: ReviewHub, tmp_path: Path) -> None:
    repo = _dataset(shop, "ratings")
    verdict = _judged(shop, repo, _rated(range(40, 60)), tmp_path)
    assert verdict["verdict"] == "merge"
    assert "label quality" not in {check["name"] for check in verdict["checks"]}
    listed = {file.path for file in shop.owner.list_files(repo, "main")}
    assert len([path for path in listed if path.startswith("train")]) == 2


def test_ratings_when_they_answer_sealed_prompts_then_they_are_refused(
    shop: ReviewHub, tmp_path: Path
) -> None:
    repo = _dataset(shop, "sealed")
    rows = [{**row, "completion": "Quite another answer."} for row in _rated(range(100, 120))]
    verdict = _judged(shop, repo, rows, tmp_path)
    assert verdict["verdict"] == "refuse"
    failed = {check["name"]: check["detail"] for check in verdict["checks"] if not check["passed"]}
    assert "20" in failed["test leakage"]


def test_ratings_when_all_of_one_kind_then_a_person_decides(
    shop: ReviewHub, tmp_path: Path
) -> None:
    repo = _dataset(shop, "one-sided")
    rows = [{**row, "label": True} for row in _rated(range(40, 90))]
    verdict = _judged(shop, repo, rows, tmp_path)
    assert verdict["verdict"] == "human"
    failed = {check["name"] for check in verdict["checks"] if not check["passed"]}
    assert failed == {"label spread"}


def _chats(numbers: range) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{n}",
            "messages": [
                {"role": "user", "content": f"Tell me of number {n} and {PLACES[n % 8]}."},
                {"role": "assistant", "content": f"There were {n * 7919} birds, {n} away."},
            ],
        }
        for n in numbers
    ]


def test_chats_when_they_lack_an_optional_column_then_merged_with_nulls(shop: ReviewHub) -> None:
    repo = Repo(f"{shop.local.user}/chats", "dataset")
    shop.owner.create_repo(repo, private=False)
    files = {"README.md": CARD.encode(), "train-0.jsonl": _lines(_chats(range(60)))}
    files["test-0.jsonl"] = _lines(_chats(range(200, 220)))
    shop.owner.commit(repo, Changes(files), message="Begin", run_id="chats")
    bare = [{"messages": row["messages"]} for row in _chats(range(100, 130))]
    shop.contributor.commit(
        repo, Changes({"more.jsonl": _lines(bare)}), message="More", run_id="m", pull_request="More"
    )
    [verdict] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert (verdict["verdict"], verdict["converted"]) == ("merge", True), verdict["reasons"]
    [path] = [f.path for f in shop.owner.list_files(repo, "main") if f.path.startswith("train-")][
        1:
    ]
    merged = shop.owner.read_file(repo, path, "main")
    assert merged is not None
    rows = [json.loads(line) for line in merged.decode().splitlines()]
    assert [row["messages"] for row in rows] == [row["messages"] for row in bare]
    assert {row["id"] for row in rows} == {None}


def test_chats_when_their_turns_hold_other_keys_then_kept_or_named(shop: ReviewHub) -> None:
    keyed = [
        {"messages": [{**turn, "name": "ann"} for turn in row["messages"]]}
        for row in _chats(range(100, 130))
    ]
    found = {}
    for name, rows in (
        ("any-keys", _chats(range(30)) + keyed[:9]),
        ("two-keys", _chats(range(60))),
    ):
        repo = Repo(f"{shop.local.user}/{name}", "dataset")
        shop.owner.create_repo(repo, private=False)
        there = [{"messages": row["messages"]} for row in rows]
        files = {"README.md": CARD.encode(), "train-0.jsonl": _lines(there)}
        files["test-0.jsonl"] = _lines(_chats(range(200, 220)))
        shop.owner.commit(repo, Changes(files), message="Begin", run_id=name)
        shop.contributor.commit(
            repo, Changes({"train-1.jsonl": _lines(keyed[9:])}), message="More", run_id="m",
            pull_request="More",
        )  # fmt: skip
        [found[name]] = review.run(shop.owner, repo.repo_id).to_dict()["pull_requests"]
    assert found["any-keys"]["verdict"] == "merge", found["any-keys"]["reasons"]
    assert found["two-keys"]["verdict"] == "refuse"
    assert "no room for the key 'name'" in str(found["two-keys"]["reasons"])
