"""The settings that a round's search has chosen, which its later stages train and judge with."""

import json
from pathlib import Path

from hub_trainer.artifacts import find_artifact
from hub_trainer.errors import DataError
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.search import with_settings
from hub_trainer.reports import TuneReport

REPORT = "tune.json"


def tuned_recipe(recipe: Recipe, round_dir: Path) -> Recipe:
    """The recipe with what the round's search chose; as it is where nothing is searched.

    Raises DataError when the search has not been made.
    """
    found = read_tuned(recipe, round_dir)
    if found is None:
        return recipe
    return recipe.model_copy(update={"train": with_settings(recipe.train, found.chosen)})


def read_tuned(recipe: Recipe, round_dir: Path) -> TuneReport | None:
    """What the round's search has found; None where the recipe asks for none."""
    if not recipe.tune.is_on:
        return None
    made = find_artifact(round_dir / "tune")
    if made is None:
        raise DataError(
            "The search over settings has not been made.",
            where=str(round_dir / "tune"),
            do="run hub-trainer tune first, or hub-trainer run for the whole round",
        )
    content = json.loads((made.folder / REPORT).read_text(encoding="utf-8"))
    return TuneReport.from_json(content)
