"""What the repos of a round hold is held against what the rounds before have made and read."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hub_trainer.errors import HubError
from hub_trainer.hub import Hub
from hub_trainer.lineage import (
    Memory,
    RoundRecord,
    assert_continuous,
    assert_pins_hold,
    assert_sources_continuous,
    is_documentation,
    new_pins,
    read_model_repo,
    remember,
)
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from tests.lineage.published import (
    BASE,
    CARD,
    DATA,
    MODEL,
    keep,
    put,
    recipe_file,
    record_of,
    seed,
    send,
)


@pytest.fixture
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def hub(local: LocalHub) -> Hub:
    hub = Hub(local.url, local.add_user("ada"))
    seed(hub)
    return hub


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return recipe_file(tmp_path).recipe


@pytest.fixture
def first(hub: Hub, recipe: Recipe) -> RoundRecord:
    return send(hub, record_of(hub, recipe, 1))


def verify(hub: Hub, recipe: Recipe, folder: Path, **publish: Any) -> None:
    named = recipe.publish.model_copy(update=publish)
    chosen = recipe.model_copy(update={"publish": named})
    memory = remember(folder, MODEL.repo_id)
    assert_continuous(hub, chosen, read_model_repo(hub, MODEL.repo_id), memory)


def refused(hub: Hub, recipe: Recipe, folder: Path, **publish: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        verify(hub, recipe, folder, **publish)
    return caught.value


def test_main_when_people_write_documentation_then_all_is_well(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    put(hub, MODEL, {"README.md": CARD + b"Mine", "NOTES.md": b"x", "figures/a.png": b"x"}, "Words")
    put(hub, MODEL, {"LICENSE": b"x", ".eval_results/other.yaml": b"[]"}, "More words")
    verify(hub, recipe, tmp_path)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"model.safetensors": b"other weights"}, "model.safetensors changed in"),
        ({"backdoor.py": b"import os", "README.md": CARD + b"Mine"}, "backdoor.py added in"),
        ({"config.json": b"{}"}, "config.json added in"),
        ({"round.json": b'{"round": 1'}, "round.json is no valid JSON (Expecting ',' delimiter"),
        ({"round.json": b""}, "round.json is no valid JSON"),
        ({"round.json": b'{"a": "\xc3("}'}, "round.json is no text in UTF-8"),
        ({"round.json": b"[" * 100_000}, "round.json is nested too deeply"),
        ({"round.json": b"[]"}, "round.json holds no record"),
        ({"round.json": b'{"round": 1}'}, "round.json lacks base, base_model"),
        ({"round.json": b'{"schema_version": 4}'}, "schema_version 4: hub-trainer is too old"),
    ],
)
def test_main_when_somebody_writes_what_no_round_made_then_told_what_and_who(
    hub: Hub,
    recipe: Recipe,
    first: RoundRecord,
    tmp_path: Path,
    files: dict[str, bytes],
    told: str,
) -> None:
    put(hub, MODEL, {"README.md": CARD + b"Mine"}, "Words")
    tip = put(hub, MODEL, files, "Better than before")
    error = refused(hub, recipe, tmp_path)
    assert error.what == "Main of the model repo is not what round 1 published."
    assert error.where == f"{hub.url}/ada/model"
    assert told in str(error.got)
    assert f"{tip[:7]} ('Better than before' by ada, " in str(error.got)
    assert "Words" not in str(error.got)
    assert f"publish.accept_commit={tip}" in str(error.do)
    verify(hub, recipe, tmp_path, accept_commit=tip)
    put(hub, MODEL, {"more.py": b"x"}, "And more")
    assert "more.py added" in str(refused(hub, recipe, tmp_path, accept_commit=tip).got)


def edited(record: RoundRecord, **changes: Any) -> bytes:
    return json.dumps({**record.to_json(), **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gate": [1]}, "in round.json gate takes a mapping, got [1]"),
        ({"gate": {"verdict": "best"}}, "gate.verdict is 'best'"),
        ({"round": 0}, "round is 0"),
        ({"round": "x"}, "in round.json round takes a whole number, got 'x'"),
        ({"primary": "f1"}, "metrics has no value of 'f1'"),
        ({"datasets": [{}]}, "an entry of datasets names no repo at a commit"),
        ({"recipe": {}}, "recipe names no model repo"),
        ({"seed": 7}, "round.json changed in"),
    ],
)
def test_main_when_the_record_was_edited_then_told_what_is_wrong(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path, changes: Any, told: str
) -> None:
    put(hub, MODEL, {"round.json": edited(first, **changes)}, "Edit")
    assert told in str(refused(hub, recipe, tmp_path).got)


def test_main_when_files_go_then_told(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    put(hub, MODEL, {}, "Tidy", "round.json")
    assert "round.json removed in" in str(refused(hub, recipe, tmp_path).got)


def test_main_when_it_is_put_back_then_all_is_well(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    put(hub, MODEL, {"model.safetensors": b"other"}, "Better")
    put(hub, MODEL, {"model.safetensors": b"weights"}, "Back")
    verify(hub, recipe, tmp_path)


def test_main_when_it_holds_a_model_of_no_round_then_told(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    hub.create_repo(MODEL)
    tip = put(hub, MODEL, {"model.safetensors": b"x", "round.json": b"{"}, "By hand")
    error = refused(hub, recipe, tmp_path)
    assert error.what == "Main of the model repo holds what no round made."
    assert "model.safetensors added, round.json added" in str(error.got)
    assert "is no valid JSON" in str(error.got)
    verify(hub, recipe, tmp_path, accept_commit=tip)
    unknown = refused(hub, recipe, tmp_path, accept_commit="a" * 40)
    assert unknown.what == "publish.accept_commit is no commit of main."


def test_main_when_a_record_lies_about_its_weights_then_told(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    """Somebody copied a whole record beside weights of their own, as a first commit."""
    made = send(hub, replace(record_of(hub, recipe, 1), run_id="forged"), named=False)
    lying = replace(made, hashes={"model.safetensors": "0" * 64}, run_id="other")
    put(hub, MODEL, {"round.json": edited(lying)}, "Round 1")
    error = refused(hub, recipe, tmp_path)
    assert error.what == "The model of round 1 is not the one that its round.json describes."
    assert "model.safetensors has another sha256; committed in" in str(error.got)


def test_record_when_of_version_1_then_main_is_held_against_its_commit(
    hub: Hub, recipe: Recipe, tmp_path: Path
) -> None:
    send(hub, record_of(hub, recipe, 1), named=False)
    verify(hub, recipe, tmp_path)
    put(hub, MODEL, {"model.safetensors": b"other"}, "Better")
    assert "model.safetensors changed" in str(refused(hub, recipe, tmp_path).got)


def test_history_when_rewritten_then_told_by_tags_records_and_this_machine(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    held = replace(record_of(hub, recipe, 2, "hold"), parent=first.commit_sha)
    send(hub, held)
    pins = new_pins(recipe, hub, read_model_repo(hub, MODEL.repo_id))
    keep(hub, tmp_path / "round-001", first, pins)
    HfApi(hub.url, hub._token).super_squash_history(MODEL.repo_id)
    sha = str(first.commit_sha)[:7]
    error = refused(hub, recipe, tmp_path)
    assert error.what == "The history of the model repo was rewritten."
    for told in ("round 1 was sent as", "round-1 is the tag of", "round 2 stood on"):
        assert f"{told} {sha}" in str(error.got)
    assert "no ancestor of main" in str(error.got)
    elsewhere = refused(hub, recipe, tmp_path / "elsewhere")
    assert elsewhere.what == error.what
    verify(hub, recipe, tmp_path, accept_commit=hub.resolve(MODEL))


def test_repo_when_made_anew_with_the_same_files_then_told(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    record = hub.read_file(MODEL, "round.json", str(first.commit_sha))
    assert record is not None
    HfApi(hub.url, hub._token).delete_repo(MODEL.repo_id)
    pins = new_pins(recipe, hub, None)
    hub.create_repo(MODEL)
    put(hub, MODEL, {"round.json": record, "model.safetensors": b"weights"}, "Round 1")
    error = refused(hub, recipe, tmp_path)
    assert error.what == "Another repo has taken the model repo's name."
    assert "round 1 knows " in str(error.got)
    assert pins.model_repo is None
    verify(hub, recipe, tmp_path, accept_commit=hub.resolve(MODEL))


def test_repo_when_gone_or_emptied_then_this_machine_remembers(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    pins = new_pins(recipe, hub, read_model_repo(hub, MODEL.repo_id))
    keep(hub, tmp_path / "round-001", first, pins)
    (tmp_path / "round-000").mkdir()
    (tmp_path / "round-000" / "pins.json").write_text("{")
    HfApi(hub.url, hub._token).delete_repo(MODEL.repo_id)
    gone = refused(hub, recipe, tmp_path)
    assert gone.what == "The model repo is gone."
    assert f"round 1 was published there at {str(first.commit_sha)[:7]}" in str(gone.got)
    hub.create_repo(MODEL)
    assert refused(hub, recipe, tmp_path).what == "Another repo has taken the model repo's name."
    assert_continuous(hub, recipe, None, Memory(tmp_path / "none"))


def test_repo_when_private_and_no_token_is_set_then_it_is_not_said_to_be_gone_for_sure(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(hub, tmp_path / "round-001", first, new_pins(recipe, hub, None))
    HfApi(hub.url, hub._token).update_repo_settings(MODEL.repo_id, private=True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    hidden = refused(Hub(hub.url), recipe, tmp_path)
    assert hidden.what == "The model repo is gone, or it is private and no token is set."
    assert hidden.do.startswith("Set HF_TOKEN to a token that may see it, or log in")


def test_repo_when_another_owner_has_it_then_told(
    hub: Hub, local: LocalHub, recipe: Recipe, first: RoundRecord, tmp_path: Path
) -> None:
    local.add_org("pets", {"ada": "admin"})
    HfApi(hub.url, hub._token).move_repo(MODEL.repo_id, "pets/model")
    error = refused(hub, recipe, tmp_path)
    assert error.what == "The model repo has another owner."
    assert "pets/model of pets; round 1 knows it of ada" in str(error.got)
    assert "publish.repo_id: pets/model" in str(error.do)


@pytest.mark.parametrize(("repo", "kind"), [(DATA, "dataset"), (BASE, "base model")])
def test_sources_when_made_anew_or_squashed_then_told(
    hub: Hub, recipe: Recipe, first: RoundRecord, tmp_path: Path, repo: Any, kind: str
) -> None:
    pins = new_pins(recipe, hub, None)
    assert_sources_continuous(hub, [first], pins.all())
    put(hub, repo, {"README.md": CARD + b"Mine"}, "Words")
    assert_sources_continuous(hub, [first], new_pins(recipe, hub, None).all())
    assert_pins_hold(hub, pins, tmp_path)
    api = HfApi(hub.url, hub._token)
    api.super_squash_history(repo.repo_id, repo_type=repo.repo_type)
    told = f"The {kind} is not the repo that the rounds before read"
    with pytest.raises(HubError, match=told) as squashed:
        assert_sources_continuous(hub, [first], new_pins(recipe, hub, None).all())
    assert "is no ancestor of main any more" in str(squashed.value.got)
    assert f"revision: {hub.resolve(repo)}" in str(squashed.value.do)
    api.delete_repo(repo.repo_id, repo_type=repo.repo_type)
    hub.create_repo(repo)
    with pytest.raises(HubError, match=told) as anew:
        assert_sources_continuous(hub, [first], new_pins(recipe, hub, None).all())
    assert "round 1 read" in str(anew.value.got)
    with pytest.raises(HubError, match=f"The {kind} that this round was begun with is gone") as of:
        assert_pins_hold(hub, pins, tmp_path)
    assert "--fresh" in str(of.value.do)
    trusted = [replace(one, revision=one.commit_sha) for one in new_pins(recipe, hub, None).all()]
    assert_sources_continuous(hub, [first], trusted)


def test_documentation_when_named_then_nothing_else_is() -> None:
    assert all(map(is_documentation, ["README.md", "a/b.PNG", "LICENSE", ".eval_results/x.yaml"]))
    loaded = ["x.py", "round.json", "vocab.txt", "a.yaml", "pytorch_model.bin", "x.md.py"]
    assert not any(map(is_documentation, loaded))
