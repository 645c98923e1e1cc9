"""One round: its stages in order, each with what it stands on, and the result as one record."""

import json
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.artifacts import Artifact, digest_of, find_artifact
from hub_trainer.errors import TrainingError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import (
    Pins,
    RoundRecord,
    load_pins,
    pin_round,
    published_round,
    read_rounds,
)
from hub_trainer.recipe import Recipe, RecipeFile

if TYPE_CHECKING:
    from hub_trainer.space.process import RunningSpace

Progress = Callable[[str, float, str], None]
"""Called with the stage, the share done in [0, 1], and what is being done."""

ROUND_STAGES = ("collect", "prepare", "train", "evaluate", "publish")
UPSTREAM_READY = ".upstream-ready"
UPSTREAM_SECONDS = 24 * 3600
FIT_KEYS: tuple[str, ...] = (
    "method",
    "rows",
    "tokens",
    "seconds",
    "rows_per_second",
    "tokens_per_second",
)
FIT_KEYS += ("peak_mb", "trainable_parameters", "epochs", "num_processes")


def silent(stage: str, share: float, doing: str) -> None:
    """Report progress to nobody."""


def default_round_dir(recipe_file: RecipeFile, hub: Hub) -> Path:
    """`rounds/<recipe>/round-<N>`, N being the next round, or the last when nothing is new.

    A round that was sent and then cut off, before its tag perhaps, is gone on with.
    """
    folder = _rounds_folder(recipe_file)
    records = read_rounds(hub, recipe_file.recipe.publish.repo_id)
    last = max((record.round for record in records), default=0)
    newest = folder / f"round-{last:03d}"
    pins = load_pins(newest)
    sent = {record.run_id for record in records}
    if pins and pins.run_id in sent and _nothing_new(pins, newest, recipe_file.recipe, hub):
        return newest
    return folder / f"round-{last + 1:03d}"


def run_round(
    recipe_file: RecipeFile,
    round_dir: Path,
    hub: Hub,
    *,
    progress: Progress = silent,
    launch_train: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """All stages of a round; each does nothing when it was done with the same inputs.

    Raises HubError before the first one when the token may not publish. `launch_train` runs the
    train stage in processes of its own.
    """
    hub.assert_can_write(Repo(recipe_file.recipe.publish.repo_id))
    pin_round(recipe_file.recipe, round_dir, hub)
    for stage in ROUND_STAGES:
        if stage == "train" and launch_train:
            launch_train(round_dir)
        run_stage(stage, recipe_file.recipe, round_dir, hub, progress=progress)
    return round_result(round_dir)


def run_until(
    stage: str,
    recipe_file: RecipeFile,
    round_dir: Path,
    hub: Hub,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """One stage, after those that it stands on; in several processes only rank 0 prepares."""
    if int(os.environ.get("RANK", "0")) == 0:
        (round_dir / UPSTREAM_READY).unlink(missing_ok=True)
        pin_round(recipe_file.recipe, round_dir, hub)
        for earlier in ROUND_STAGES[: ROUND_STAGES.index(stage)]:
            run_stage(earlier, recipe_file.recipe, round_dir, hub, progress=progress)
        (round_dir / UPSTREAM_READY).touch()
    else:
        _wait_for_upstream(round_dir / UPSTREAM_READY)
    run_stage(stage, recipe_file.recipe, round_dir, hub, progress=progress)
    return round_result(round_dir)


def run_stage(
    stage: str, recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent
) -> Artifact:
    """One stage by its name."""
    module = import_module(f"hub_trainer.stages.{stage}")

    def report(share: float, doing: str) -> None:
        progress(stage, share, doing)

    artifact: Artifact = module.run(recipe, round_dir, hub, progress=report)
    progress(stage, 1.0, "done")
    return artifact


def round_result(round_dir: Path) -> dict[str, Any]:
    """What is known of the round in `round_dir`; keys of stages not yet run are null."""
    pins = load_pins(round_dir)
    assert pins is not None
    published = _outputs(round_dir, "publish")
    results = _results(round_dir)
    fit = _outputs(round_dir, "train").get("fit")
    comparison = results.get("comparison") or {}
    return {
        "round": pins.round,
        "verdict": published.get("verdict") or results.get("gate", {}).get("verdict"),
        "reasons": results.get("gate", {}).get("reasons", []),
        "parent": pins.parent,
        "model": {
            "repo_id": published.get("repo_id"),
            "commit_sha": published.get("commit_sha"),
            "pull_request": published.get("pull_request"),
        },
        "metrics": results.get("metrics"),
        "published": results.get("published"),
        "p_value": comparison.get("p_value"),
        "win_rate": results.get("win_rate"),
        "primary": results.get("primary"),
        "num_examples": results.get("num_examples"),
        "round_dir": str(round_dir),
        "left_out": {
            stage: _outputs(round_dir, stage).get("left_out") for stage in ("collect", "prepare")
        },
        "train": {key: fit.get(key) for key in FIT_KEYS} if fit else None,
    }


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
    """Push the Space and run what was pushed here, as a process of its own.

    `variables` are added to its environment, as RATINGS_PER_HOUR.

    Without `round_dir` the Spaces of a recipe keep their ratings, and the key of the raters'
    pseudonyms, in one folder over all its rounds.
    """
    from hub_trainer.stages.serve import start

    folder = round_dir or _newest_round_dir(recipe_file, hub)
    pushed = push_space(recipe_file, hub, round_dir=folder)
    place = (round_dir or _rounds_folder(recipe_file)) / "space"
    return start(
        hub,
        pushed["repo_id"],
        folder=place,
        commit_sha=pushed["commit_sha"],
        port=port,
        variables=variables,
    )


def curate_ratings(
    recipe_file: RecipeFile, hub: Hub, *, round_dir: Path | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Turn the ratings collected so far into a pull request on the dataset."""
    folder = round_dir or _newest_round_dir(recipe_file, hub)
    return run_stage("curate", recipe_file.recipe, folder, hub, progress=progress).outputs


def _newest_round_dir(recipe_file: RecipeFile, hub: Hub) -> Path:
    record = published_round(hub, recipe_file.recipe.publish.repo_id)
    return _rounds_folder(recipe_file) / f"round-{record.round:03d}"


def _rounds_folder(recipe_file: RecipeFile) -> Path:
    return Path("rounds") / recipe_file.name


def result_of_record(record: RoundRecord) -> dict[str, Any]:
    """A round read back from the Hub, in the keys of `round_result`."""
    return {
        "round": record.round,
        "verdict": record.verdict,
        "reasons": record.gate.get("reasons", []),
        "parent": record.parent,
        "model": {
            "repo_id": record.recipe["publish"]["repo_id"],
            "commit_sha": record.commit_sha,
            "pull_request": record.pull_request,
        },
        "metrics": record.metrics,
        "published": record.published,
        "p_value": record.p_value,
        "win_rate": (record.written or {}).get("win_rate"),
        "primary": record.primary,
        "created_at": record.created_at,
        "datasets": record.datasets,
    }


def _outputs(round_dir: Path, stage: str) -> dict[str, Any]:
    artifact = find_artifact(round_dir / stage)
    return artifact.outputs if artifact else {}


def _results(round_dir: Path) -> dict[str, Any]:
    if not find_artifact(round_dir / "evaluate"):
        return {}
    content: dict[str, Any] = json.loads((round_dir / "evaluate" / "results.json").read_text())
    return content


def _nothing_new(pins: Pins, round_dir: Path, recipe: Recipe, hub: Hub) -> bool:
    """Whether a round was made from this very recipe and, once finished, from repos as they are."""
    if pins.recipe_digest != digest_of(recipe.model_dump(mode="json")):
        return False
    if not find_artifact(round_dir / "publish"):
        return True
    pinned = [*pins.datasets, *([pins.base_model] if pins.base_model else [])]
    return all(
        hub.resolve(Repo(repo.repo_id, repo.repo_type), repo.revision) == repo.commit_sha
        for repo in pinned
    )


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
