"""The tune stage: settings tried on training rows and scored on validation rows; one set chosen.

Sealed rows are not read. What is chosen is trained anew by the train stage.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, find_artifact, write_artifact
from hub_trainer.base_models import assert_sound, base_folders
from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, load_pins
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.reports import PrepareReport
from hub_trainer.tasks import task_of

__all__ = ["run"]

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
LOSS = "validation loss"
"""What settings of a model that writes are scored by."""


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def assert_search(recipe: Recipe) -> None:
    """Raises UsageError for a recipe that names nothing to search."""
    if not recipe.tune.is_on:
        raise UsageError(
            "The recipe asks for no search.",
            where="tune.trials",
            got="0",
            do="write tune.trials and tune.search",
        )


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Choose settings; the artifact holds the study, `trials.json` and `tune.json`.

    Trials that an earlier process has made stay; one that was at work is made again.
    """
    assert_search(recipe)
    prepared, pins = find_artifact(round_dir / "prepare"), load_pins(round_dir)
    if prepared is None or pins is None:
        raise DataError(
            "There are no prepared rows to try settings on.",
            where=str(round_dir / "prepare"),
            do="run hub-trainer prepare first, or hub-trainer run for the whole round",
        )
    if not PrepareReport.from_json(prepared.outputs).rows["validation"]:
        raise DataError(
            "There are no validation rows to score settings on.",
            where="prepare.validation_fraction",
            do="take more rows or a larger share, or set tune.trials: 0",
        )
    folder, inputs = round_dir / "tune", _inputs(recipe, prepared, pins)
    done = find_artifact(folder, inputs)
    if done:
        return done
    from hub_trainer.stages.tune.trials import search_settings  # optuna, which no trial needs

    with write_artifact(folder, inputs, keep_draft=True) as draft:
        progress(0.0, "downloading the base model")
        setup = _setup(recipe, prepared, pins, hub)
        report = search_settings(recipe, setup, draft.folder, progress)
        draft.outputs |= {"tune": report.to_json()}
    assert draft.artifact is not None
    logger.debug("tune: %s trials, %s %s", report.trials, report.metric, report.score)
    return draft.artifact


def _inputs(recipe: Recipe, prepared: Artifact, pins: Pins) -> dict[str, Any]:
    return {
        "stage": "tune",
        "task": recipe.task,
        "prepare": prepared.digest,
        "base_model": pins.base_model.commit_sha if pins.base_model else None,
        "train": recipe.train.model_dump(mode="json"),
        "max_length": recipe.prepare.max_length,
        "augment": recipe.prepare.augment,
        "primary": recipe.evaluate.primary,
        "positive": recipe.evaluate.positive,
        "tune": recipe.tune.model_dump(mode="json", exclude={"workers"}),
    }


def _setup(recipe: Recipe, prepared: Artifact, pins: Pins, hub: Hub) -> dict[str, Any]:
    """What each process is told before its first trial."""
    base = None
    if pins.base_model:
        tried = recipe.tune.search.get("train.method")
        methods = tried.choices if tried else [recipe.train.method]
        needs_weights = any(METHODS[name].needs_weights for name in methods)  # type: ignore[index]
        base = base_folders(recipe, pins.base_model, hub, with_weights=needs_weights)
        assert_sound(recipe, pins.base_model, base)
    writes = task_of(recipe).converses is not None
    return {
        "recipe": recipe.model_dump(mode="json", exclude_unset=True),
        "prepared": str(prepared.folder.resolve()),
        "label_names": list(PrepareReport.from_json(prepared.outputs).label_names),
        "base": [str(base.model), str(base.base) if base.base else None] if base else None,
        "metric": LOSS if writes else recipe.evaluate.primary,
        "maximizes": not writes and not lower_is_better(recipe.evaluate.primary),
        "workers": recipe.tune.workers,
        "num_gpus": _num_gpus() if base else 0,
    }


def _num_gpus() -> int:
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0
