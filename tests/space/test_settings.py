"""What a Space is told."""

import json
from pathlib import Path

import pytest

from hub_trainer.errors import UsageError
from hub_trainer.recipe import GenerationSection
from hub_trainer.space.settings import RivalModel, load_settings, ratings_folder
from hub_trainer.space.shown_rows import ShownRows, encode_shown, read_shown
from tests.space.factory import settings_of

RIVAL = {"repo_id": "org/rival", "commit_sha": "f" * 40}
WRITES: dict[str, object] = {"label_names": [], "generation": {}}


def _write(folder: Path, **changes: object) -> Path:
    content = settings_of().model_dump() | changes
    (folder / "space.json").write_text(json.dumps(content))
    return folder


def test_settings_when_written_are_read_back(tmp_path: Path) -> None:
    assert load_settings(_write(tmp_path), {}) == settings_of()


def test_settings_when_of_a_model_that_writes_have_its_sampling_and_rival(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path, **WRITES, rival=RIVAL), {})
    assert settings.generation == GenerationSection()
    assert settings.rival == RivalModel(repo_id="org/rival", commit_sha="f" * 40)


def test_settings_when_the_environment_says_otherwise_follow_it(tmp_path: Path) -> None:
    settings = load_settings(_write(tmp_path), {"RATINGS_PER_HOUR": "500", "FLUSH_SECONDS": "1.5"})
    assert (settings.ratings_per_hour, settings.flush_seconds) == (500, 1.5)


def test_settings_when_missing_say_how_to_push_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no space\.json") as caught:
        load_settings(tmp_path, {})
    assert "hub-trainer serve" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "environment", "fault"),
    [
        ({"commit_sha": "main"}, {}, "commit_sha"),
        ({"label_names": []}, {}, "a Space has either label_names, or answer, or generation"),
        ({"generation": {}}, {}, "a Space has either label_names, or answer, or generation"),
        ({"rival": RIVAL}, {}, "rival goes with generation"),
        ({**WRITES, "rival": {**RIVAL, "commit_sha": "main"}}, {}, "rival.commit_sha"),
        ({**WRITES, "generation": {"top_k": 1}}, {}, "generation: "),
        ({"colour": "red"}, {}, "colour"),
        ({}, {"RATINGS_PER_HOUR": "many"}, "ratings_per_hour"),
        ({}, {"FLUSH_SECONDS": "0"}, "flush_seconds"),
    ],
)
def test_settings_when_wrong_name_the_fault(
    tmp_path: Path, changes: dict[str, object], environment: dict[str, str], fault: str
) -> None:
    with pytest.raises(UsageError, match="is wrong") as caught:
        load_settings(_write(tmp_path, **changes), environment)
    assert fault in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_settings_when_no_json_object_say_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "space.json").write_text(content)
    with pytest.raises(UsageError, match="is wrong"):
        load_settings(tmp_path, {"RATINGS_PER_HOUR": "5"})


def test_folder_of_ratings_when_named_is_that_one(tmp_path: Path) -> None:
    assert ratings_folder({"RATINGS_DIR": str(tmp_path)}) == tmp_path
    assert ratings_folder({}).name == "ratings"


def test_examples_when_written_are_read_back_with_their_pictures(tmp_path: Path) -> None:
    rows = [{"image": b"\x89PNG"}, {"text": "é", "size": 1.5, "none": None}]
    assert read_shown(tmp_path).examples == []
    (tmp_path / "examples.json").write_bytes(encode_shown(ShownRows(rows))["examples.json"])
    assert read_shown(tmp_path).examples == rows
