"""The train stage: the prepared rows and the pinned base model become a model, resumed if killed.

In several processes the first one downloads and writes; the others wait for its files, not for a
collective operation that could time out, and then all of them train together. All processes must
see the round folder.
"""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hub_trainer.answers.decisions import Sought, assert_decidable
from hub_trainer.artifacts import (
    Artifact,
    Draft,
    draft_folder,
    find_artifact,
    write_artifact,
    write_durably,
)
from hub_trainer.base_models import assert_sound, base_folders
from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.curve import plot_curve
from hub_trainer.finetune.model_folder import (
    adapter_base,
    is_adapter,
    stamp_adapter,
)
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, load_pins
from hub_trainer.lineage.tuned import tuned_recipe
from hub_trainer.ranks import EXPECTED_PROCESSES
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport, PrepareReport
from hub_trainer.rows.row_files import read_rows
from hub_trainer.tasks import ModelFolders, Splits, task_of

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
BASE_READY = "base_model.json"
WAIT_SECONDS = 24 * 3600.0
POLL_SECONDS = 0.5


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Fine-tune as the recipe says; the artifact holds `model/`, `fit.json` and `curve.png`."""
    prepared = _prepared(round_dir)
    pins = load_pins(round_dir)
    assert pins is not None
    recipe = tuned_recipe(recipe, round_dir)
    folder, inputs = round_dir / "train", _inputs(recipe, prepared, pins)
    done = find_artifact(folder, inputs)
    if done:
        return done
    # Stop when the launcher started another number of processes than was asked for.
    expected, running = os.environ.get(EXPECTED_PROCESSES), os.environ.get("WORLD_SIZE", "1")
    if expected is not None and expected != running:
        raise TrainingError(
            f"{expected} processes were asked for.",
            got=f"{running} running",
            do="start it with torchrun: accelerate starts one process only on a CPU",
        )
    base = pins.base_model
    logger.debug(
        "train: %s of %s",
        recipe.train.method,
        (f"{base.repo_id}@{base.commit_sha[:7]}" if base else "a new model"),
    )
    with _training_errors(folder):
        if not _is_first():
            return _follow(recipe, prepared, folder, inputs)
        with write_artifact(folder, inputs, keep_draft=True) as draft:
            report = _lead(recipe, prepared, hub, pins, draft, progress)
    assert draft.artifact is not None
    logger.debug("train: %.1f s, %.1f rows/s", report.seconds, report.rows_per_second)
    for note in report.notes:
        logger.info("train: %s", note)
    return draft.artifact


def _lead(
    recipe: Recipe, prepared: Artifact, hub: Hub, pins: Pins, draft: Draft, progress: Progress
) -> FitReport:
    progress(0.0, "downloading the base model")
    base = _base_model(recipe, pins, hub)
    ready = draft.folder / BASE_READY
    write_durably(ready, json.dumps(_paths(base)).encode())
    report = _fit(recipe, prepared, draft.folder, base, progress)
    ready.unlink()
    _name_base(draft.folder / "model", base, pins, hub)
    shutil.rmtree(draft.folder / "checkpoints", ignore_errors=True)
    content = report.to_json()
    write_durably(draft.folder / "fit.json", json.dumps(content, indent=1).encode())
    plot_curve(report.history, draft.folder / "curve.png", metric=recipe.evaluate.primary)
    draft.outputs |= {"fit": report.summary()}
    return report


def _follow(
    recipe: Recipe, prepared: Artifact, folder: Path, inputs: Mapping[str, Any]
) -> Artifact:
    """What every process but the first does: wait for files, train along, wait for the result."""
    work = draft_folder(folder, inputs)
    paths = json.loads(_wait_for(lambda: _content(work / BASE_READY), "the base model"))
    base = ModelFolders(*(path and Path(path) for path in paths)) if paths else None
    _fit(recipe, prepared, work, base, silent)
    found: Artifact = _wait_for(lambda: find_artifact(folder, inputs), "the saved model")
    return found


def _fit(
    recipe: Recipe,
    prepared: Artifact,
    out_dir: Path,
    base: ModelFolders | None,
    progress: Progress,
) -> FitReport:
    splits = Splits(
        train=read_rows(prepared.folder / "train.parquet"),
        validation=read_rows(prepared.folder / "validation.parquet"),
        label_names=PrepareReport.from_json(prepared.outputs).label_names,
    )
    task = task_of(recipe)
    answer = task.answer
    answer.assert_measurable(recipe.evaluate.metrics, splits.label_names)
    if recipe.evaluate.threshold is not None:
        values = [row[answer.column] for row in splits.validation]
        assert_decidable(Sought.of(recipe.evaluate), values)
    with _logs_in(out_dir / "logs"):
        return task.fit(splits, recipe, out_dir, base=base, progress=progress)


@contextmanager
def _logs_in(folder: Path) -> Iterator[None]:
    """Where the trackers of report_to write, unless the user has said where."""
    places = {"TENSORBOARD_LOGGING_DIR": str(folder), "TRACKIO_DIR": str(folder / "trackio")}
    unset = [name for name in places if name not in os.environ]
    os.environ.update({name: places[name] for name in unset})
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


def _base_model(recipe: Recipe, pins: Pins, hub: Hub) -> ModelFolders | None:
    """Its folder, and that of the model below it when it is an adapter and the task takes one.

    Raises RecipeError for one that does not pass the inspection.
    """
    if pins.base_model is None:
        return None
    needs_weights = recipe.train.method_facts.needs_weights
    folders = base_folders(recipe, pins.base_model, hub, with_weights=needs_weights)
    assert_sound(recipe, pins.base_model, folders)
    return folders


def _name_base(model_dir: Path, base: ModelFolders | None, pins: Pins, hub: Hub) -> None:
    """An adapter says which commit of which model it belongs to; a whole model needs none."""
    if base is None or not is_adapter(model_dir):
        return
    assert pins.base_model is not None
    below = adapter_base(hub, base.model)
    stamp_adapter(model_dir, *(below or (pins.base_model.repo_id, pins.base_model.commit_sha)))


def _paths(base: ModelFolders | None) -> list[str | None] | None:
    return [str(base.model), str(base.base) if base.base else None] if base else None


def _prepared(round_dir: Path) -> Artifact:
    prepared = find_artifact(round_dir / "prepare")
    if prepared is None:
        raise DataError(
            "There are no prepared rows to train on.",
            where=str(round_dir / "prepare"),
            do="run hub-trainer prepare first, or hub-trainer run for the whole round",
        )
    return prepared


def _inputs(recipe: Recipe, prepared: Artifact, pins: Pins) -> dict[str, Any]:
    threshold = recipe.evaluate.threshold
    return {
        "stage": "train",
        "task": recipe.task,
        "prepare": prepared.digest,
        "base_model": pins.base_model.commit_sha if pins.base_model else None,
        "train": recipe.train.model_dump(mode="json"),
        "max_length": recipe.prepare.max_length,
        "augment": recipe.prepare.augment,
        "primary": recipe.evaluate.primary,
        **({"positive": recipe.evaluate.positive} if recipe.evaluate.positive else {}),
        **({"threshold": threshold.model_dump()} if threshold else {}),
    }


@contextmanager
def _training_errors(folder: Path) -> Iterator[None]:
    """A lack of memory or disk outside the training loop, said as such."""
    try:
        yield
    except MemoryError as error:
        raise _out_of_memory(error) from error
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(error) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TrainingError(
            "The disk is full.",
            where=str(folder.parent),
            do="free some space, then run the same command again: it goes on",
        ) from error


def _out_of_memory(error: BaseException) -> TrainingError:
    return TrainingError(
        "There is not enough memory for this model.",
        got=(str(error) or type(error).__name__).splitlines()[0],
        do="take a smaller base model, method lora or head, or a shorter prepare.max_length",
    )


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _wait_for(look: Callable[[], Any], what: str) -> Any:
    started = time.monotonic()
    while (found := look()) is None:
        if time.monotonic() - started > WAIT_SECONDS:
            raise TrainingError(
                f"The first process has not written {what}.",
                got=f"waited {WAIT_SECONDS:.0f} s",
                do="see its own message; all processes must see the same round folder",
            )
        time.sleep(POLL_SECONDS)
    return found
