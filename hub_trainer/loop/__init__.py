"""One round: its stages in order, each with what it stands on, and the result as one record."""

import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.artifacts import Artifact
from hub_trainer.errors import RecipeError, TrainingError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import pin_round, published_round
from hub_trainer.loop.claim import claimed
from hub_trainer.loop.round_results import (
    begun_as,
    pull_request_page,
    read_status,
    result_of_record,
    result_of_start,
    round_result,
    stage_summary,
)
from hub_trainer.loop.start import (
    Start,
    begin_round,
    rounds_folder,
    start_round,
    verified_repo,
)
from hub_trainer.recipe import Recipe, RecipeFile
from hub_trainer.reports import RoundResult
from hub_trainer.tasks import task_of

if TYPE_CHECKING:
    from hub_trainer.space.process import RunningSpace

__all__ = [
    "ROUND_STAGES",
    "Start",
    "assert_offered",
    "begin_round",
    "begun_as",
    "curate_ratings",
    "pull_request_page",
    "push_space",
    "read_status",
    "result_of_record",
    "result_of_start",
    "round_result",
    "run_round",
    "run_stage",
    "run_until",
    "stages_of",
    "start_round",
    "start_space",
    "verified_repo",
]

Progress = Callable[[str, float, str], None]
"""Called with the stage, the share done in [0, 1], and what is being done."""

ROUND_STAGES = ("collect", "prepare", "tune", "train", "evaluate", "publish")
UPSTREAM_READY = ".upstream-ready"
UPSTREAM_SECONDS = 24 * 3600
ALMOST = 0.99
"""Of a stage that has done its work and still writes it down."""


def silent(stage: str, share: float, doing: str) -> None:
    """Report progress to nobody."""


def run_round(
    recipe_file: RecipeFile,
    round_dir: Path,
    hub: Hub,
    *,
    progress: Progress = silent,
    launch_train: Callable[[Path], None] | None = None,
) -> RoundResult:
    """All stages of a round; each does nothing when it was done with the same inputs.

    Raises HubError before the first one when the token may not publish, and RecipeError for what
    the task does not offer. `launch_train` runs the train stage in processes of its own.
    """
    hub.assert_can_write(Repo(recipe_file.recipe.publish.repo_id))
    assert_offered(recipe_file)
    with claimed(round_dir):
        pin_round(recipe_file.recipe, round_dir, hub)
        for stage in stages_of(recipe_file.recipe):
            told = progress
            if stage == "train" and launch_train:
                launch_train(round_dir)
                told = silent  # the launched processes have told it
            run_stage(stage, recipe_file.recipe, round_dir, hub, progress=told)
    return round_result(round_dir)


def run_until(
    stage: str,
    recipe_file: RecipeFile,
    round_dir: Path,
    hub: Hub,
    *,
    progress: Progress = silent,
) -> RoundResult:
    """One stage, after those that it stands on; in several processes only rank 0 prepares."""
    if int(os.environ.get("RANK", "0")) == 0:
        (round_dir / UPSTREAM_READY).unlink(missing_ok=True)
        if os.environ.get("WORLD_SIZE", "1") == "1":
            # TrainingArguments would wait here for the other processes, which wait for this one.
            assert_offered(recipe_file)
        begin_round(start_round(recipe_file, hub, round_dir=round_dir))
        pin_round(recipe_file.recipe, round_dir, hub)
        for earlier in stages_of(recipe_file.recipe, before=stage):
            run_stage(earlier, recipe_file.recipe, round_dir, hub, progress=progress)
        (round_dir / UPSTREAM_READY).touch()
    else:
        _wait_for_upstream(round_dir / UPSTREAM_READY)
    run_stage(stage, recipe_file.recipe, round_dir, hub, progress=progress)
    return round_result(round_dir)


def assert_offered(recipe_file: RecipeFile) -> None:
    """Raise RecipeError for what the task does not offer: the round would end in training by it."""
    if problems := task_of(recipe_file.recipe).recipe_problems(recipe_file.recipe, None):
        located = [recipe_file.places.located(one) for one in problems]
        raise RecipeError(located, source=str(recipe_file.path))


def stages_of(recipe: Recipe, *, before: str | None = None) -> list[str]:
    """The stages of a recipe's round in order, all or those before one."""
    stages = ROUND_STAGES[: ROUND_STAGES.index(before)] if before else ROUND_STAGES
    return [stage for stage in stages if stage != "tune" or recipe.tune.is_on]


def run_stage(
    stage: str, recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent
) -> Artifact:
    """One stage by its name."""
    module = import_module(f"hub_trainer.stages.{stage}")

    def report(share: float, doing: str) -> None:
        progress(stage, min(share, ALMOST), doing)

    artifact: Artifact = module.run(recipe, round_dir, hub, progress=report)
    progress(stage, 1.0, stage_summary(stage, artifact.outputs))
    return artifact


def push_space(
    recipe_file: RecipeFile, hub: Hub, *, round_dir: Path | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Push the Space of the newest published round; gives its repo, commit sha and address."""
    folder = round_dir or _newest_round_dir(recipe_file, hub)
    return run_stage("serve", recipe_file.recipe, folder, hub, progress=progress).outputs


def start_space(
    recipe_file: RecipeFile,
    hub: Hub,
    *,
    round_dir: Path | None = None,
    port: int = 0,
    variables: Mapping[str, str] | None = None,
) -> "RunningSpace":
    """Push the Space and run the files that were made for it here, as a process of its own.

    `variables` are added to its environment, as RATINGS_PER_HOUR.

    Without `round_dir` the Spaces of a recipe keep their ratings, and the key of the raters'
    pseudonyms, in one folder over all its rounds.
    """
    from hub_trainer.stages.serve import start

    folder = round_dir or _newest_round_dir(recipe_file, hub)
    made = run_stage("serve", recipe_file.recipe, folder, hub)
    place = (round_dir or rounds_folder(recipe_file)) / "space"
    return start(hub, made, folder=place, port=port, variables=variables)


def curate_ratings(
    recipe_file: RecipeFile, hub: Hub, *, round_dir: Path | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Turn the ratings collected so far into a pull request on the dataset."""
    folder = round_dir or _newest_round_dir(recipe_file, hub)
    return run_stage("curate", recipe_file.recipe, folder, hub, progress=progress).outputs


def _newest_round_dir(recipe_file: RecipeFile, hub: Hub) -> Path:
    verified_repo(recipe_file, hub)
    record = published_round(hub, recipe_file.recipe.publish.repo_id)
    return rounds_folder(recipe_file) / f"round-{record.round:03d}"


def _wait_for_upstream(marker: Path) -> None:
    """Wait on a file, not on a collective, so that slow preparation never trips a time limit."""
    started = time.time()
    while not (marker.exists() and marker.stat().st_mtime > started - 120):
        if time.time() - started > UPSTREAM_SECONDS:
            raise TrainingError(
                "Rank 0 has not finished preparing the round.",
                where=str(marker.parent),
                do="Run hub-trainer prepare first, then launch again.",
            )
        time.sleep(0.5)
