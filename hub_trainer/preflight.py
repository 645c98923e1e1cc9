"""Check of a recipe before anything is trained: opens what it names and reports every fault.

What others wrote is read in children without the token: each split in one of its own, and the base
model with the first rows in another, which has imported the task's libraries by then. This process
imports none of them.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from hub_trainer.base_models import FetchedBase, fetch_base, open_inspector
from hub_trainer.errors import (
    DataError,
    ExitCode,
    HubTrainerError,
    Problem,
    ProblemsError,
)
from hub_trainer.hub import Hub, Repo, RepoType
from hub_trainer.inputs import load_input
from hub_trainer.lineage import PinnedRepo
from hub_trainer.recipe import ReadRecipe, Recipe, RepoRef, read_recipe
from hub_trainer.recipe.load import Places
from hub_trainer.recipe.schema import REPO_ID, DatasetSource
from hub_trainer.recipe.search import end_problems
from hub_trainer.rows.fetch import find_files
from hub_trainer.rows.left_out import unwritten_note
from hub_trainer.rows.reading_child import open_reader
from hub_trainer.rows.row_files import read_rows
from hub_trainer.sandbox import Sandbox
from hub_trainer.tasks import (
    ModelFolders,
    Preview,
    Segment,
    load_task,
    outline_for,
    task_of,
)

Found = TypeVar("Found")
FIRST_ROWS = 64
MIN_FREE_BYTES = 2_000_000_000
SERVED: Mapping[str, RepoType] = {"serve.repo_id": "space", "serve.ratings_repo_id": "dataset"}
"""Key -> kind of the repo that serving writes to."""
Tell = Callable[[str], None]


@dataclass
class CheckReport:
    """What a check found: faults, and a line for each thing that was opened."""

    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    example: Preview | None = None
    """The first training example of a language model, as the model reads it."""
    exit_code: int = ExitCode.DONE
    tell: Tell = lambda line: None

    def say(self, line: str) -> None:
        """A line for people, at once."""
        self.lines.append(line)
        self.tell(line)

    def add(self, problems: Sequence[Problem], exit_code: int) -> None:
        """Take in faults; the first kind of fault decides the exit code."""
        self.problems += problems
        if problems and self.exit_code == ExitCode.DONE:
            self.exit_code = exit_code


@dataclass(frozen=True)
class _Look:
    """A recipe under check: where its keys stand, and where faults go."""

    places: Places
    hub: Hub
    report: CheckReport

    def guarded(self, key: str, find: Callable[[], Found]) -> Found | None:
        """What `find` finds, or None with its error in the report."""
        try:
            return find()
        except ProblemsError as error:
            self.add(error.problems, error.exit_code)
        except HubTrainerError as error:
            self.add([Problem.of(error, key)], error.exit_code)
        return None

    def add(self, problems: Sequence[Problem], exit_code: int) -> None:
        """Take in faults, each once and with the place where its key was set."""
        located = [self.places.located(one) for one in problems]
        self.report.add([p for p in located if p not in self.report.problems], exit_code)


def check_recipe(
    path: Path, overrides: Sequence[str], hub: Hub, *, tell: Tell = lambda line: None
) -> CheckReport:
    """Every fault of a recipe and of what it names: data, base model, targets, disk."""
    report = CheckReport(tell=tell)
    try:
        read = read_recipe(path, overrides)
    except ProblemsError as error:
        report.add(error.problems, error.exit_code)
        return report
    report.add(read.problems, ExitCode.RECIPE)
    look = _Look(read.places, hub, report)
    if read.recipe is not None and _task_is_clear(look, read.recipe):
        _check_all(look, read.path, read.recipe)
    elif _hub_answers(look):
        _check_named(look, read)
    _check_disk(report)
    return report


def _task_is_clear(look: _Look, recipe: Recipe) -> bool:
    """Whether there is such a task, and it can learn what the columns name."""
    try:
        outline_for(recipe)
    except ProblemsError as error:
        if not any(problem.key == "task" for problem in look.report.problems):
            look.add(error.problems, error.exit_code)
        return False
    return True


def _check_all(look: _Look, path: Path, recipe: Recipe) -> None:
    """Check what a whole recipe names: data, base model, targets, and what the task says of it."""
    how = recipe.train.estimator or recipe.train.method
    look.report.say(f"recipe      {path}: {recipe.task} by {how}{_searched(recipe)}")
    _check_curate(look, recipe)
    inspector = open_inspector(f"{__name__}:import_task", task=recipe.task)
    with tempfile.TemporaryDirectory(prefix="hub-trainer-check-") as scratch:
        opened = _Opened(None, [])
        if _hub_answers(look):
            opened = _open(look, recipe, Path(scratch))
            _check_targets(look, recipe)
        _judge(look, recipe, opened, inspector, Path(scratch) / "judged")


def _check_named(look: _Look, read: ReadRecipe) -> None:
    """Check what does not hang on the task or on a value at fault: the repos that are named."""
    for key, kind, content in _named_repos(read):
        try:
            ref = (DatasetSource if kind == "dataset" else RepoRef).model_validate(content)
        except ValidationError:
            continue  # told already
        look.guarded(key, partial(_find, look.hub, kind, ref))
    if read.recipe is not None:
        _check_publish(look, read.recipe)
    else:
        _check_writing(look, read.raw, {"publish.repo_id": "model"})
    _check_writing(look, read.raw, SERVED)


def _check_writing(look: _Look, content: Mapping[str, Any], keys: Mapping[str, RepoType]) -> None:
    for key, kind in keys.items():
        repo_id = _value_at(content, key)
        if isinstance(repo_id, str) and REPO_ID.match(repo_id):
            look.guarded(key, partial(look.hub.assert_can_write, Repo(repo_id, kind)))


def _named_repos(read: ReadRecipe) -> Iterator[tuple[str, RepoType, Any]]:
    """(key, kind of repo, what stands there) of every repo that a round would read."""
    yield "base_model", "model", _value_at(read.raw, "base_model")
    datasets = _value_at(read.raw, "collect.datasets")
    for index, content in enumerate(datasets if isinstance(datasets, list) else ()):
        yield f"collect.datasets.{index}", "dataset", content
    for key in ("prepare.test_split", "prepare.validation_split"):
        yield key, "dataset", _value_at(read.raw, key)


def _value_at(raw: Any, key: str) -> Any:
    for part in key.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _find(hub: Hub, kind: RepoType, ref: RepoRef) -> None:
    """Raise HubError or DataError where a repo, its revision or the split is not there."""
    commit_sha = hub.resolve(Repo(ref.repo_id, kind), ref.revision)
    if isinstance(ref, DatasetSource):
        where = f"{ref.repo_id}@{commit_sha[:8]}, split {ref.split}"
        find_files(hub, ref, commit_sha, where=where)


def _check_disk(report: CheckReport) -> None:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        message = f"the disk under {folder} has {free / 1e9:.1f} GB free, a round needs at least"
        message += f" {MIN_FREE_BYTES / 1e9:.0f} GB; free some, or choose another --round-dir"
        report.add([Problem("round_dir", message)], ExitCode.TRAINING)
    else:
        report.say(f"disk        {free / 1e9:.0f} GB free")


def _searched(recipe: Recipe) -> str:
    """What is searched, in words."""
    tune = recipe.tune
    if not tune.is_on:
        return ""
    budget = [f"{tune.trials:,} trials"] if tune.trials else []
    budget += [f"{tune.minutes:g} minutes"] if tune.minutes else []
    return f", after a search of {' or '.join(budget)} over {', '.join(tune.search)}"


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
        look.report.say(f"hub         {look.hub.url} as {user['name']}")
    # A Hub that is not there, or a token that it does not know, fails all else in the same way.
    ends = ("does not answer", "does not know the token")
    told = [problem.message for problem in look.report.problems]
    return user is not None or not any(end in message for end in ends for message in told)


@dataclass(frozen=True)
class _Split:
    """The first rows of a split, as a child has written them."""

    key: str
    where: str
    rows: Path
    num_rows: int
    label_names: Sequence[str] | None
    notes: Sequence[str]
    """What a person should know of how the rows were read."""
    is_sealed: bool


@dataclass(frozen=True)
class _Opened:
    """What could be fetched and read of all that the recipe names."""

    base: FetchedBase | None
    splits: Sequence[_Split]


def _open(look: _Look, recipe: Recipe, scratch: Path) -> _Opened:
    """Fetch and read it side by side: most of the time goes into starting the readers."""
    with open_reader() as reader, ThreadPoolExecutor(4) as pool:
        base = pool.submit(_open_base, look.hub, recipe, scratch)
        named = list(named_splits(recipe))
        splits: list[tuple[str, Future[_Split]]] = [
            (key, pool.submit(_open_split, look.hub, recipe, key, scratch / key, reader))
            for key, _ in named
        ]
        fetched = look.guarded("base_model", base.result)
        if fetched and recipe.base_model:
            ref = recipe.base_model
            look.report.say(f"base model  {ref.repo_id}@{ref.revision}")
        found = [look.guarded(key, split.result) for key, split in splits]
        return _Opened(fetched, [split for split in found if split])


def _open_base(hub: Hub, recipe: Recipe, scratch: Path) -> FetchedBase | None:
    ref = recipe.base_model
    if ref is None or outline_for(recipe).auto_class is None:
        return None
    sha = hub.resolve(Repo(ref.repo_id), ref.revision)
    pinned = PinnedRepo(ref.repo_id, "model", ref.revision, sha)
    return fetch_base(recipe, pinned, hub, scratch)


def _open_split(hub: Hub, recipe: Recipe, key: str, folder: Path, reader: Sandbox) -> _Split:
    """Open the split's first file and read its first rows, in a child without token."""
    from hub_trainer.rows.fetch import fetch_rows
    from hub_trainer.stages.collect import Source, row_spec

    source = dict(named_splits(recipe))[key]
    sha = hub.resolve(Repo(source.repo_id, "dataset"), source.revision)
    split = Source(source, sha, "test" if key == "prepare.test_split" else "train")
    first = source.model_copy(update={"split": _first_rows(source.split)})
    spec = row_spec(recipe, outline_for(recipe), split)
    read = fetch_rows(hub, first, sha, spec, scratch=folder, first_file_only=True, reader=reader)
    rows, names = folder / "rows" / "rows.parquet", read.result.label_names
    sealed = _is_sealed(key, recipe)
    return _Split(key, split.where, rows, read.table.num_rows, names, read.result.notes, sealed)


# What is judged with the task's libraries, in the child


def _judge(look: _Look, recipe: Recipe, opened: _Opened, inspector: Sandbox, folder: Path) -> None:
    arguments = {
        # Only what the recipe sets: some faults are of a key that is named and changes nothing.
        "recipe": recipe.model_dump(mode="json", exclude_unset=True),
        "base": opened.base.to_json() if opened.base else None,
        "splits": [{**asdict(s), "rows": str(s.rows)} for s in opened.splits],
    }
    try:
        judged = inspector.call(f"{__name__}:judge", arguments, folder=folder)
    except DataError as error:
        # Where no base model was opened, it is the rows that ask for too much.
        key = "base_model" if opened.base else "collect"
        look.add([Problem.of(error, key)], ExitCode.RECIPE)
        return
    for line in judged["lines"]:
        look.report.say(line)
    for problem, exit_code in judged["problems"]:
        look.add([Problem(**problem)], exit_code)
    if judged["example"]:
        look.report.example = _preview_from(judged["example"])


def import_task(task: str) -> None:
    """In the child, before its limits: the libraries by which a base model and rows are judged."""
    import sys

    # Nothing is quantized here, and peft would spend a second on it.
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    load_task(task)


def judge(
    recipe: Mapping[str, Any], base: Mapping[str, Any] | None, splits: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """In the child: faults of the settings, of the base model and of the rows."""
    checked = Recipe.model_validate(recipe)
    judging = _Judging(checked, [], [])
    folders = judging.base_model(base)
    example = None
    for split in splits:
        rows = judging.guarded(split["key"], partial(judging.rows, split))
        if rows and folders and split["key"] != "prepare.test_split":
            rows = judging.guarded(split["key"], partial(judging.whole, split, rows, folders))
        example = example or (judging.example(split, rows, folders) if rows else None)
    made = asdict(example) if example else None
    return {"lines": judging.lines, "problems": judging.problems, "example": made}


@dataclass(frozen=True)
class _Judging:
    """The child's side of a check: what it has found so far."""

    recipe: Recipe
    lines: list[str]
    problems: list[tuple[dict[str, Any], int]]
    """Each with its exit code."""

    def add(self, problems: Sequence[Problem], exit_code: int) -> None:
        """Take in faults."""
        self.problems.extend((asdict(problem), exit_code) for problem in problems)

    def guarded(self, key: str, find: Callable[[], Found]) -> Found | None:
        """What `find` finds, or None with its error among the problems."""
        try:
            return find()
        except ProblemsError as error:
            self.add(error.problems, error.exit_code)
        except HubTrainerError as error:
            self.add([Problem.of(error, key)], error.exit_code)
        return None

    def base_model(self, base: Mapping[str, Any] | None) -> ModelFolders | None:
        """Its folders, where neither it nor a setting has a fault."""
        from hub_trainer.base_models import look_at_weights, template_problems

        task, folders = task_of(self.recipe), None
        if base:
            folders = ModelFolders(Path(base["model"]), base["base"] and Path(base["base"]))

        def judge(recipe: Recipe) -> list[Problem]:
            return task.recipe_problems(recipe, folders)

        found = judge(self.recipe) or end_problems(self.recipe, judge)
        if base and not any(problem.key == "base_model" for problem in found):
            found += look_at_weights(self.recipe.task, **base)
        if folders and not found:
            found += template_problems(self.recipe, folders)
        self.add(found, ExitCode.RECIPE)
        return None if found else folders

    def rows(self, split: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The good ones of a split; raises DataError when they are not even half of them."""
        task = task_of(self.recipe)
        rows = read_rows(Path(split["rows"]))
        good = _good_rows(task, rows, split["where"])
        first = "the first " if len(rows) >= FIRST_ROWS else ""  # often sorted by label
        answer, column = task.answer, task.answer.column
        values = [row[column] for row in good]
        names = answer.names(values, split["label_names"] or ())
        kinds, among = answer.overview(values, names), " among them" if first else ""
        knows_all = split["key"].startswith("collect.") and (split["label_names"] or not first)
        if knows_all:
            measurable = partial(answer.assert_measurable, self.recipe.evaluate.metrics, names)
            self.guarded("evaluate.positive", measurable)
        seen = f"{first}{len(rows)} rows read, {kinds}{among}"
        self.lines.append(f"data        {split['where']}: {seen}")
        self.lines.extend(f"            note: {note}" for note in split["notes"])
        return good

    def whole(
        self, split: Mapping[str, Any], rows: list[dict[str, Any]], folders: ModelFolders
    ) -> list[dict[str, Any]]:
        """Those that prepare would not leave out for their length; raises DataError as it would."""
        from hub_trainer.stages.prepare.lengths import without_too_long

        counts, how = task_of(self.recipe).counts_tokens, self.recipe.prepare.too_long
        if counts is None or how not in ("drop", "refuse"):
            return rows
        converses = task_of(self.recipe).converses
        if converses is not None:
            refused = converses.refusals(rows, self.recipe, folders)
            taken = [row for row, why in zip(rows, refused, strict=True) if why is None]
            rows = taken or rows  # where none is taken, counting says why
        found = counts.token_counts(rows, self.recipe, folders)
        where = split["where"].rpartition("split ")[2]
        kept, long = without_too_long(rows, found, refuse=how == "refuse", split=where)
        if long:
            told = f"{len(long):,} of them are {long[0][1]} and would be left out"
            self.lines.append(f"            note: {told}")
        return kept

    def example(
        self,
        split: Mapping[str, Any],
        rows: Sequence[dict[str, Any]],
        folders: ModelFolders | None,
    ) -> Preview | None:
        """The first example of language data, as the base model will read it."""
        from hub_trainer.answers.completion_asking import assert_answerable, uncompared_note

        converses = task_of(self.recipe).converses
        if converses is None:
            return None
        if split["is_sealed"]:
            answerable = partial(assert_answerable, rows, self.recipe.evaluate.metrics)
            self.guarded("evaluate.metrics", answerable)
            note = uncompared_note(rows, self.recipe.evaluate.metrics)
            self.lines.extend([f"            note: {note}"] if note else [])
        if folders is None:
            return None
        unwritten = partial(converses.unwritten, rows, self.recipe, folders)
        found = self.guarded(split["key"], unwritten) or {}
        notes = [unwritten_note(key, count) for key, count in found.items()]
        self.lines.extend(f"            note: {note}" for note in notes)
        return self.guarded(split["key"], partial(converses.preview, rows, self.recipe, folders))


def _preview_from(content: Mapping[str, Any]) -> Preview:
    answers = [[Segment(**segment) for segment in answer] for answer in content["answers"]]
    return Preview(**{**content, "answers": answers})


def _is_sealed(key: str, recipe: Recipe) -> bool:
    """Whether test rows come from this split."""
    if recipe.prepare.test_split is None:
        return key.startswith("collect.")
    return key == "prepare.test_split"


def _good_rows(task: Any, rows: Sequence[dict[str, Any]], where: str) -> list[dict[str, Any]]:
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


def _check_curate(look: _Look, recipe: Recipe) -> None:
    if load_input(outline_for(recipe).modality).dialogue:
        from hub_trainer.stages.curate.answers import assert_no_gold

        look.guarded("curate.gold", partial(assert_no_gold, recipe))


def _check_targets(look: _Look, recipe: Recipe) -> None:
    _check_publish(look, recipe)
    if recipe.serve:
        _check_writing(look, recipe.model_dump(), SERVED)
        _check_cards(look, recipe)


def _check_publish(look: _Look, recipe: Recipe) -> None:
    """May the model be published there, under that licence and with that card."""
    from hub_trainer.stages.publish.publish_faults import publish_problems

    found = look.guarded("publish.repo_id", lambda: publish_problems(recipe, look.hub))
    by_hub = [problem for problem in found or [] if problem.key == "publish.repo_id"]
    by_recipe = [problem for problem in found or [] if problem not in by_hub]
    look.add(by_recipe, ExitCode.RECIPE)
    look.add(by_hub, ExitCode.HUB)


def _check_cards(look: _Look, recipe: Recipe) -> None:
    """The cards of the Space, of the ratings and of a dataset made from them."""
    from hub_trainer.stages.curate.new_dataset import created_card_problems
    from hub_trainer.stages.serve.serve_cards import card_problems

    for key, find in (("serve", card_problems), ("curate", created_card_problems)):
        look.add(look.guarded(key, partial(find, recipe, look.hub)) or [], ExitCode.RECIPE)


def _first_rows(split: str) -> str:
    """The first rows of a split; a slice is read as it stands."""
    return split if "[" in split or "+" in split else f"{split}[:{FIRST_ROWS}]"
