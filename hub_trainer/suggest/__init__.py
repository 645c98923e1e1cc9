"""Base models for a recipe, ranked by a linear probe; with size, licence and language."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import find_artifact
from hub_trainer.base_models import assert_sound, base_folders, fetch_base
from hub_trainer.errors import HubTrainerError, ProblemsError, UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import PinnedRepo, pin_round
from hub_trainer.loop import run_stage
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.recipe import Recipe, RecipeFile, RepoRef
from hub_trainer.recipe.schema import REPO_ID
from hub_trainer.reports import PrepareReport
from hub_trainer.rows.row_files import read_rows
from hub_trainer.stages.publish.publish_faults import publish_problems
from hub_trainer.suggest.frozen_probe import HasFeatures, Probed, probe_base
from hub_trainer.tasks import ModelFolders, Splits, task_of
from hub_trainer.tasks.starters import STARTERS

Tell = Callable[[str], None]
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Suggestion:
    """One base model for the recipe."""

    repo_id: str
    commit_sha: str | None = None
    size_bytes: int | None = None
    """Of its weights."""
    licence: str | None = None
    downloads: int | None = None
    language: tuple[str, ...] = ()
    probe: Probed | None = None
    """None where the task has no features before it has learned, or `check` refuses the model."""
    problems: tuple[str, ...] = ()
    """Why `check` would refuse it."""

    @property
    def line(self) -> str:
        """What to paste into the recipe."""
        return f"base_model: {self.repo_id}"

    def to_json(self) -> dict[str, Any]:
        """What programs are told."""
        return {**asdict(self), "line": None if self.problems else self.line}


@dataclass(frozen=True)
class Wanted:
    """Which models are looked at."""

    named: Sequence[str] = ()
    """Repos, as `org/name` or `org/name@revision`; none asks the Hub."""
    max_parameters: int = 200 * MEGABYTE
    """Of models that the Hub finds."""
    limit: int = 8
    """Models that the Hub finds at most."""


@dataclass(frozen=True)
class _Search:
    recipe: Recipe
    hub: Hub
    splits: Splits | None
    scratch: Path


def suggest_models(
    recipe_file: RecipeFile, hub: Hub, wanted: Wanted, *, tell: Tell = lambda line: None
) -> list[Suggestion]:
    """The models that are named, or that the Hub has for the task, best first.

    Raises UsageError for a task that starts from no base model, or when there is none to look at.
    """
    recipe = recipe_file.recipe
    for name in wanted.named:
        if not REPO_ID.match(name.partition("@")[0]):
            do = "Write owner/name, as on the model's page."
            raise UsageError(
                "That is no name of a model repo.", where="--base-model", got=name, do=do
            )
    starter, task = STARTERS.get(recipe.task), task_of(recipe)
    if starter is None or not starter.base_tags:
        do = "See train.estimator for what is fitted; tune.search can try several."
        do = f"Leave base_model out. {do}" if recipe.base_model else do
        raise UsageError(f"{recipe.task} starts from no base model.", where="task", do=do)
    data = recipe.collect.datasets[0]
    # A Hub that is down, or data that is not there, is told at once; a search would try for long.
    hub.resolve(Repo(data.repo_id, "dataset"), data.revision)
    named = list(wanted.named or _found(hub, starter.base_tags, wanted))
    if recipe.base_model and not wanted.named:
        ref = recipe.base_model
        named.insert(0, ref.repo_id if ref.revision == "main" else f"{ref.repo_id}@{ref.revision}")
    if not named:
        raise UsageError(
            "The Hub has no model for this task that could be suggested.",
            where=hub.url,
            got=f"nothing under {', '.join(starter.base_tags)} up to {wanted.max_parameters:,}"
            " parameters with safetensors",
            do="name some with --base-model, or raise --max-parameters",
        )
    with tempfile.TemporaryDirectory(prefix="hub-trainer-suggest-") as name:
        splits = None
        if isinstance(task, HasFeatures):
            splits = _splits(recipe, hub, Path(name), tell)
        search = _Search(recipe, hub, splits, Path(name))
        found = [_suggestion(search, one, tell) for one in dict.fromkeys(named)]
    return ranked(found)


def ranked(found: Sequence[Suggestion]) -> list[Suggestion]:
    """Best score first, then the smaller; those that `check` refuses come last."""

    def key(one: Suggestion) -> tuple[bool, bool, float, int]:
        score = 0.0
        if one.probe:
            score = one.probe.value if lower_is_better(one.probe.metric) else -one.probe.value
        return bool(one.problems), one.probe is None, score, one.size_bytes or 0

    return sorted(found, key=key)


def _found(hub: Hub, tags: Sequence[str], wanted: Wanted) -> list[str]:
    """Models under these tags, most downloaded first."""
    size, limit = wanted.max_parameters, wanted.limit
    found = {
        repo_id: downloads
        for tag in tags
        for repo_id, downloads in hub.find_models(tag, max_parameters=size, limit=limit)
    }
    return sorted(found, key=lambda repo_id: -found[repo_id])[:limit]


def _splits(recipe: Recipe, hub: Hub, round_dir: Path, tell: Tell) -> Splits:
    """Training and validation rows, collected and prepared as a round would; no sealed ones."""
    pin_round(recipe, round_dir, hub)
    for stage in ("collect", "prepare"):
        tell(f"{stage} the rows")
        run_stage(stage, recipe, round_dir, hub)
    prepared = find_artifact(round_dir / "prepare")
    assert prepared is not None
    train, validation = (
        read_rows(prepared.folder / f"{name}.parquet") for name in ("train", "validation")
    )
    return Splits(train, validation, PrepareReport.from_json(prepared.outputs).label_names)


def _suggestion(search: _Search, named: str, tell: Tell) -> Suggestion:
    """What is known of a model, with a probe where nothing stands against it."""
    tell(f"looking at {named}")
    hub, ref = search.hub, RepoRef.model_validate(named)
    known = Suggestion(named)
    recipe = search.recipe.model_copy(update={"base_model": ref})
    repo = Repo(ref.repo_id)
    try:
        sha = hub.resolve(repo, ref.revision)
        card, files = hub.card_data(repo, sha), hub.list_files(repo, sha)
        sizes = [one.size_bytes for one in files if one.path.endswith(".safetensors")]
        licence, language = _listed(card.get("license")), _listed(card.get("language"))
        told = ", ".join(licence) or None
        known = replace(known, commit_sha=sha, licence=told, language=language)
        known = replace(known, size_bytes=sum(sizes) or None, downloads=hub.downloads(repo))
        found = publish_problems(recipe, hub)
        against = [one.message for one in found if one.key == "publish.license"]
        if against:
            return replace(known, problems=tuple(against))
        pinned = PinnedRepo(ref.repo_id, "model", ref.revision, sha)
        folders = _checked(recipe, hub, pinned, search.scratch / "look" / sha)
        task, splits = task_of(recipe), search.splits
        if splits is None or not isinstance(task, HasFeatures):
            return known
        return replace(known, probe=probe_base(task, splits, recipe, folders.model))
    except ProblemsError as error:
        return replace(known, problems=tuple(one.message for one in error.problems))
    except HubTrainerError as error:
        told = f"{error.what} {error.got or ''}".strip()
        return replace(known, problems=(told,))


def _checked(recipe: Recipe, hub: Hub, pinned: PinnedRepo, scratch: Path) -> ModelFolders:
    """The model's folders. Raises RecipeError with what `check` would say against it."""
    scratch.mkdir(parents=True, exist_ok=True)
    fetch_base(recipe, pinned, hub, scratch)
    task = task_of(recipe)
    folders = base_folders(recipe, pinned, hub, with_weights=isinstance(task, HasFeatures))
    problems = task.recipe_problems(recipe, folders)
    if problems:
        raise ProblemsError(problems, source=pinned.repo_id)
    assert_sound(recipe, pinned, folders)
    return folders


def _listed(value: Any) -> tuple[str, ...]:
    """A card's field that is a text or a list of some."""
    values = value if isinstance(value, list) else [value] if value else []
    return tuple(str(one) for one in values)
