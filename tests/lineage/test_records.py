"""Rounds are pinned once and read back from the Hub alone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import HubError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.lineage import (
    RoundRecord,
    load_pins,
    pin_round,
    published_round,
    read_record,
    read_rounds,
)
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe

MODEL = Repo("ada/model")
DATA = Repo("ada/data", "dataset")


def recipe(**changes: Any) -> Recipe:
    content: dict[str, Any] = {
        "task": "text-classification",
        "base_model": "ada/base",
        "collect": {"datasets": ["ada/data"], "ratings": "ada/ratings"},
        "prepare": {"test_split": {"repo_id": "ada/data", "split": "test"}},
        "evaluate": {"metrics": ["accuracy"], "primary": "accuracy"},
        "publish": {"repo_id": "ada/model"},
    }
    return Recipe.model_validate({**content, **changes})


def record(number: int, verdict: str = "promote") -> RoundRecord:
    return RoundRecord(
        round=number,
        run_id=f"run-{number}-{verdict}",
        created_at=f"2026-01-0{number}T00:00:00Z",
        parent=None,
        task="text-classification",
        recipe=recipe().model_dump(mode="json"),
        recipe_digest="d",
        base_model=None,
        datasets=[],
        ratings=None,
        seed=0,
        versions={},
        train={},
        metrics={"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
        published=None,
        base=None,
        primary="accuracy",
        p_value=None,
        gate={"verdict": verdict, "reasons": []},
        label_names=["a", "b"],
        files=["round.json"],
    )


def publish(hub: Hub, made: RoundRecord, pull_request: str | None = None) -> str:
    changes = Changes({"round.json": json.dumps(made.to_json()).encode()})
    message = f"Round {made.round}"
    commit = hub.commit(
        MODEL, changes, message=message, run_id=made.run_id, pull_request=pull_request
    )
    return commit.commit_sha


@pytest.fixture
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def hub(local: LocalHub) -> Hub:
    hub = Hub(local.url, local.add_user("ada"))
    for repo in (Repo("ada/base"), DATA, MODEL):
        hub.create_repo(repo, private=False)
    return hub


def test_pins_when_a_round_was_begun_then_it_keeps_them_though_the_data_moved(
    hub: Hub, tmp_path: Path
) -> None:
    pins = pin_round(recipe(), tmp_path, hub)
    assert pins.round == 1
    assert pins.parent is None
    assert [repo.repo_id for repo in pins.datasets] == ["ada/data"]
    hub.commit(DATA, Changes({"a.csv": b"x"}), message="More", run_id="r")
    assert pin_round(recipe(), tmp_path, hub) == pins == load_pins(tmp_path)


def test_pins_when_the_recipe_changed_then_pinned_anew(hub: Hub, tmp_path: Path) -> None:
    pins = pin_round(recipe(), tmp_path, hub)
    again = pin_round(recipe(train={"seed": 1}), tmp_path, hub)
    assert again.run_id != pins.run_id


def test_pins_when_a_repo_is_not_pinned_then_asking_for_it_is_our_mistake(
    hub: Hub, tmp_path: Path
) -> None:
    pins = pin_round(recipe(), tmp_path, hub)
    assert pins.sha_of("dataset", "ada/data", "main") == hub.resolve(DATA)
    with pytest.raises(KeyError, match="ada/other@main is not pinned"):
        pins.sha_of("dataset", "ada/other", "main")


def test_rounds_when_promoted_and_held_then_both_count(hub: Hub, tmp_path: Path) -> None:
    first = publish(hub, record(1))
    publish(hub, record(2, "hold"), pull_request="Held back")
    rounds = read_rounds(hub, "ada/model")
    assert [(r.round, r.verdict, r.pull_request) for r in rounds] == [
        (1, "promote", None),
        (2, "hold", 1),
    ]
    pins = pin_round(recipe(), tmp_path, hub)
    assert (pins.round, pins.parent) == (3, first)
    assert published_round(hub, "ada/model").commit_sha == first


def test_rounds_when_a_person_edits_the_card_then_parent_is_the_tip(
    hub: Hub, tmp_path: Path
) -> None:
    publish(hub, record(1))
    edit = hub.commit(MODEL, Changes({"NOTES.md": b"hi"}), message="Edit", run_id="e")
    assert len(read_rounds(hub, "ada/model")) == 1
    assert pin_round(recipe(), tmp_path, hub).parent == edit.commit_sha


def test_rounds_when_a_stranger_opens_a_pull_request_then_it_is_no_round(
    hub: Hub, local: LocalHub
) -> None:
    publish(hub, record(1))
    stranger = Hub(local.url, local.add_user("mallory"))
    publish(stranger, replace(record(2, "promote"), run_id="forged"), pull_request="Trust me")
    assert [r.round for r in read_rounds(hub, "ada/model")] == [1]


def test_rounds_when_the_repo_is_new_or_missing_then_none(hub: Hub) -> None:
    assert read_rounds(hub, "ada/model") == []
    assert read_rounds(hub, "ada/nothing") == []
    with pytest.raises(HubError, match="No round of this model has been published yet"):
        published_round(hub, "ada/model")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"round": 1}'])
def test_record_when_it_cannot_be_read_then_none(hub: Hub, content: bytes) -> None:
    made = hub.commit(MODEL, Changes({"round.json": content}), message="x", run_id="x")
    assert read_record(hub, "ada/model", made.commit_sha) is None


def test_record_when_written_and_read_then_the_same() -> None:
    made = record(1)
    assert RoundRecord.from_json(made.to_json()) == made


def test_record_when_of_version_1_then_it_is_read_still(hub: Hub) -> None:
    content = Path(__file__).with_name("round_v1.json").read_bytes()
    made = hub.commit(MODEL, Changes({"round.json": content}), message="Round 1", run_id="v1")
    found = read_record(hub, "ada/model", made.commit_sha)
    assert found is not None
    assert (found.round, found.verdict, found.hashes, found.repo) == (1, "promote", {}, None)
    assert found.baselines is None
    assert found.to_json()["schema_version"] == 3


def test_record_when_written_before_models_that_write_then_it_is_read_still(hub: Hub) -> None:
    content = record(1).to_json()
    assert content.pop("written") is None
    assert RoundRecord.from_json(content).written is None
    with pytest.raises(ValueError, match=r"round\.json lacks gate, seed"):
        RoundRecord.from_json({k: v for k, v in content.items() if k not in ("seed", "gate")})
