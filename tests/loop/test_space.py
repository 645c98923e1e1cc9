"""The loop over rounds: where a Space that is run here keeps what must outlive its round."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub_trainer import loop
from hub_trainer.hub import Hub
from hub_trainer.recipe import RecipeFile, load_recipe
from hub_trainer.stages import serve

RECIPE = """\
task: tabular-classification
collect: {datasets: [org/data]}
evaluate: {metrics: [accuracy], primary: accuracy}
publish: {repo_id: org/model}
serve: {repo_id: org/space, ratings_repo_id: org/ratings}
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of the Spaces that would have been started; each is of a later round."""
    folders: list[Path] = []

    def start(*args: Any, folder: Path, **named: Any) -> None:
        folders.append(folder)

    def newest(*args: Any) -> Any:
        return SimpleNamespace(round=len(folders) + 1)

    monkeypatch.setattr(serve, "start", start)
    monkeypatch.setattr(loop, "published_round", newest)
    monkeypatch.setattr(loop, "verified_repo", lambda *args: None)
    monkeypatch.setattr(loop, "run_stage", lambda *args, **named: None)
    return folders


@pytest.fixture
def recipe_file(tmp_path: Path) -> RecipeFile:
    path = tmp_path / "pets.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def test_space_when_started_for_later_rounds_then_in_one_folder_of_the_recipe(
    recipe_file: RecipeFile, started: list[Path]
) -> None:
    for _ in range(2):
        loop.start_space(recipe_file, Hub("http://127.0.0.1:9", "hf_x"))
    assert started == [Path("rounds/pets/space")] * 2


def test_space_when_a_round_folder_is_named_then_in_there(
    recipe_file: RecipeFile, started: list[Path], tmp_path: Path
) -> None:
    loop.start_space(recipe_file, Hub("http://127.0.0.1:9", "hf_x"), round_dir=tmp_path)
    assert started == [tmp_path / "space"]
