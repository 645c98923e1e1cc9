"""What is wrong with a recipe before anything is trained: opens what it names, reports it all."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hub_trainer.errors import (
    DataError,
    ExitCode,
    HubTrainerError,
    Problem,
    ProblemsError,
)
from hub_trainer.hub import Hub, Repo
from hub_trainer.recipe import Recipe, RecipeFile, load_recipe
from hub_trainer.recipe.schema import DatasetSource
from hub_trainer.tasks import ModelFolders, Preview, Task, is_generation, load_task

Found = TypeVar("Found")
FIRST_ROWS = 64
MIN_FREE_BYTES = 2_000_000_000


@dataclass
class CheckReport:
    """What a check found: faults, and a line for each thing that was opened."""

    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    example: Preview | None = None
    """The first training example of a language model, as the model reads it."""
    exit_code: int = ExitCode.DONE

    def add(self, problems: Sequence[Problem], exit_code: int) -> None:
        """Take in faults; the first kind of fault decides the exit code."""
        self.problems += problems
        if problems and self.exit_code == ExitCode.DONE:
            self.exit_code = exit_code


@dataclass(frozen=True)
class _Look:
    """A recipe under check: what is read for it, and where faults go."""

    recipe_file: RecipeFile
    hub: Hub
    report: CheckReport

    @property
    def recipe(self) -> Recipe:
        return self.recipe_file.recipe

    def guarded(self, key: str, find: Callable[[], Found]) -> Found | None:
        """What `find` finds, or None with its error in the report."""
        try:
            return find()
        except ProblemsError as error:
            self.add(error.problems, error.exit_code)
        except HubTrainerError as error:
            self.add([Problem(key, f"{key}: {_one_line(error)}")], error.exit_code)
        return None

    def add(self, problems: Sequence[Problem], exit_code: int) -> None:
        """Take in faults, each with its line in the recipe."""
        located = [replace(p, line=self.recipe_file.problem(p.key, "").line) for p in problems]
        self.report.add(located, exit_code)


def check_recipe(path: Path, overrides: Sequence[str], hub: Hub) -> CheckReport:
    """Every fault of a recipe and of what it names: data, base model, targets, disk."""
    report = CheckReport()
    try:
        recipe_file = load_recipe(path, overrides)
    except ProblemsError as error:
        report.add(error.problems, error.exit_code)
        return report
    look = _Look(recipe_file, hub, report)
    task = look.guarded("task", lambda: load_task(look.recipe.task))
    if task and _hub_answers(look):
        base = _check_base_model(look, task)
        _check_splits(look, task, base)
        _check_targets(look)
    _check_disk(report, Path.cwd())
    return report


def named_splits(recipe: Recipe) -> Iterator[tuple[str, DatasetSource]]:
    """(key in the recipe, split) of every split that the recipe names."""
    for index, source in enumerate(recipe.collect.datasets):
        yield f"collect.datasets.{index}", source
    for key in ("test_split", "validation_split"):
        source = getattr(recipe.prepare, key)
        if source:
            yield f"prepare.{key}", source


def _hub_answers(look: _Look) -> bool:
    user = look.guarded("publish.repo_id", look.hub.user)
    if user:
        look.report.lines.append(f"hub         {look.hub.url} as {user['name']}")
    return user is not None or not any("not answer" in p.message for p in look.report.problems)


def _check_base_model(look: _Look, task: Task) -> ModelFolders | None:
    from hub_trainer.finetune.model_folder import download_folders, download_model

    base = look.recipe.base_model
    folders = None
    if base:

        def download() -> ModelFolders:
            sha = look.hub.resolve(Repo(base.repo_id), base.revision)
            at = (look.hub, base.repo_id, sha)
            if is_generation(task):
                return ModelFolders(*download_folders(*at, with_weights=False))
            return ModelFolders(download_model(*at, with_weights=False))

        folders = look.guarded("base_model", download)
        if folders is None:
            return None
        look.report.lines.append(f"base model  {base.repo_id}@{base.revision}")
    if is_generation(task):
        problems = task.recipe_problems(look.recipe, folders)
    else:
        problems = task.recipe_problems(look.recipe, folders.model if folders else None)
    look.add(problems, ExitCode.RECIPE)
    return None if problems else folders


def _check_splits(look: _Look, task: Task, base: ModelFolders | None) -> None:
    """Open every split, side by side: most of the time goes into starting the readers.

    Of language data the first example is read as the base model will read it.
    """
    from hub_trainer.stages.evaluate.exam import assert_answerable

    named = list(named_splits(look.recipe))
    prefix = "hub-trainer-check-"
    with tempfile.TemporaryDirectory(prefix=prefix) as scratch, ThreadPoolExecutor(4) as pool:
        looks = [
            (key, pool.submit(_look_at_split, look, task, key, source, Path(scratch) / key))
            for key, source in named
        ]
        for key, looked in looks:
            found = look.guarded(key, looked.result)
            if found is None:
                continue
            line, rows = found
            look.report.lines.append(line)
            if is_generation(task) and _is_sealed(key, look.recipe):
                answerable = partial(assert_answerable, rows, look.recipe.evaluate.metrics)
                look.guarded("evaluate.metrics", answerable)
            if is_generation(task) and base and look.report.example is None:
                preview = partial(task.preview, rows, look.recipe, base)
                look.report.example = look.guarded(key, preview)


def _is_sealed(key: str, recipe: Recipe) -> bool:
    """Whether test rows come from this split."""
    if recipe.prepare.test_split is None:
        return key.startswith("collect.")
    return key == "prepare.test_split"


def _look_at_split(
    look: _Look, task: Task, key: str, source: DatasetSource, folder: Path
) -> tuple[str, list[dict[str, Any]]]:
    """Open the split's first file and read its first rows, in a child without token."""
    from hub_trainer.rows.fetch import fetch_rows
    from hub_trainer.rows.labels import in_order
    from hub_trainer.stages.collect import Source, row_spec

    sha = look.hub.resolve(Repo(source.repo_id, "dataset"), source.revision)
    split = Source(source, sha, "test" if key == "prepare.test_split" else "train")
    first = source.model_copy(update={"split": _first_rows(source.split)})
    spec = row_spec(look.recipe, task, split)
    read = fetch_rows(look.hub, first, sha, spec, scratch=folder, first_file_only=True)
    rows = read.table.to_pylist()
    good = _good_rows(task, rows, split.where)
    labels = read.result.label_names or in_order({row["label"] for row in rows})
    kinds = ", ".join(labels) if is_generation(task) else _named(labels)
    notes = [f"\n            note: {note}" for note in read.result.notes]
    return f"data        {split.where}: {len(rows)} rows read, {kinds}{''.join(notes)}", good


def _good_rows(task: Task, rows: Sequence[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Those without a fault. Raises DataError when they are not even half of them."""
    bad = [(index, problems) for index, row in enumerate(rows) if (problems := task.problems(row))]
    if len(bad) > len(rows) / 2:
        index, problems = bad[0]
        raise DataError(
            f"Most of the first {len(rows)} rows cannot be used.",
            where=f"{where}, row {index}",
            got="; ".join(problems),
            do="Check columns: in the recipe.",
        )
    faulty = {index for index, _ in bad}
    return [row for index, row in enumerate(rows) if index not in faulty]


def _check_targets(look: _Look) -> None:
    from hub_trainer.stages.publish.preflight import publish_problems

    found = look.guarded("publish.repo_id", lambda: publish_problems(look.recipe, look.hub))
    by_hub = [problem for problem in found or [] if problem.key == "publish.repo_id"]
    by_recipe = [problem for problem in found or [] if problem not in by_hub]
    look.add(by_recipe, ExitCode.RECIPE)
    look.add(by_hub, ExitCode.HUB)
    serve = look.recipe.serve
    if serve:
        space, ratings = Repo(serve.repo_id, "space"), Repo(serve.ratings_repo_id, "dataset")
        look.guarded("serve.repo_id", lambda: look.hub.assert_can_write(space))
        look.guarded("serve.ratings_repo_id", lambda: look.hub.assert_can_write(ratings))


def _check_disk(report: CheckReport, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        message = f"the disk under {folder} has {free / 1e9:.1f} GB free, a round needs at least"
        message += f" {MIN_FREE_BYTES / 1e9:.0f} GB; free some, or choose another --round-dir"
        report.add([Problem("round_dir", message)], ExitCode.TRAINING)
    else:
        report.lines.append(f"disk        {free / 1e9:.0f} GB free")


def _one_line(error: HubTrainerError) -> str:
    parts = [error.what, *(f"{name}: {value}" for name, value in _details(error))]
    return " | ".join(parts)


def _details(error: HubTrainerError) -> Iterator[tuple[str, str]]:
    for name in ("where", "got", "do"):
        value = getattr(error, name)
        if value:
            yield name, value


def _first_rows(split: str) -> str:
    """The first rows of a split; a slice is read as it stands."""
    return split if "[" in split or "+" in split else f"{split}[:{FIRST_ROWS}]"


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:6])
    return f"{len(labels)} labels: {shown}{', ...' if len(labels) > 6 else ''}"
