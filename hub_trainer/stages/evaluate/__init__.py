"""The evaluate stage: the new, the published and the base model on the same sealed examples.

The gate's verdict is computed here and obeyed by publish.
"""

import json
import logging
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, Draft, make_artifact, write_durably
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, load_pins, pinned_ratings, read_rounds
from hub_trainer.lineage.tuned import tuned_recipe
from hub_trainer.recipe import Recipe
from hub_trainer.reports import RESULTS_FORM, PrepareReport, Results
from hub_trainer.stages.evaluate.importance import leak_told
from hub_trainer.stages.evaluate.measurement import measure_round
from hub_trainer.stages.evaluate.trained_round import Progress, TrainedRound, finished
from hub_trainer.stats import GateRule, count_looks
from hub_trainer.tasks import task_of

__all__ = ["run"]

logger = logging.getLogger(__name__)


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Measure and judge; the artifact holds results.json, predictions.parquet and any scored."""
    trained, prepared = finished(round_dir, "train"), finished(round_dir, "prepare")
    pins = load_pins(round_dir)
    assert pins is not None
    rounds = read_rounds(hub, recipe.publish.repo_id)
    verdicts = [record.verdict for record in rounds if record.round < pins.round]
    inputs = {
        "stage": "evaluate",
        "form": RESULTS_FORM,
        "task": recipe.task,
        "train": trained.digest,
        "prepare": prepared.digest,
        "published": pins.parent,
        "verdicts": verdicts,
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "gate": recipe.gate.model_dump(mode="json"),
        **_crowd_inputs(recipe, pins),
    }
    num_looks, in_a_row = count_looks(verdicts)  # type: ignore[arg-type]
    rule = GateRule(recipe.gate.alpha, recipe.gate.min_slice_change, num_looks, in_a_row)
    measured = TrainedRound(
        tuned_recipe(recipe, round_dir), trained, prepared, pins, hub, rule, progress
    )

    def make(draft: Draft) -> None:
        rows = PrepareReport.from_json(prepared.outputs).rows
        logger.debug("evaluate: %s sealed examples", rows["test"])
        results = measure_round(measured, task_of(recipe), draft.folder)
        content = json.dumps(results.to_json(), indent=1, ensure_ascii=False).encode()
        write_durably(draft.folder / "results.json", content)
        draft.outputs |= _essentials(results)
        logger.debug("evaluate: %s", results.verdict)

    return make_artifact(round_dir / "evaluate", inputs, make)


def _crowd_inputs(recipe: Recipe, pins: Pins) -> dict[str, Any]:
    """What the crowd says is measured of models that write; the caps are curate's."""
    ratings = pinned_ratings(recipe, pins)
    if ratings is None or task_of(recipe).converses is None:
        return {}
    return {"ratings": ratings.commit_sha, "cap": recipe.curate.max_ratings_per_rater}


def _essentials(results: Results) -> dict[str, Any]:
    content = results.to_json()
    keys = ("metrics", "published", "primary", "num_examples", "num_rows", "comparison")
    gate = {key: results.gate[key] for key in ("verdict", "reasons")}
    leak = leak_told(results.detail.get("importance"))
    writing = results.writing
    return {
        **{key: content[key] for key in keys},
        "gate": gate,
        "num_scored": writing.num_scored.get(results.primary) if writing else None,
        "warnings": [*([leak] if leak else []), *(writing.unscored if writing else ())],
    }
