"""One's own rows become a dataset on the Hub and a first recipe: what `hub-trainer init` does."""

import io
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hub_trainer.answers import Answer
from hub_trainer.answers.label import class_names
from hub_trainer.answers.label_names import alike_labels, in_order, single_notes
from hub_trainer.checks.comment import inert
from hub_trainer.contribute.local_file import read_local
from hub_trainer.contribute.own_columns import (
    find_columns,
    is_learnable,
    named_columns,
    pair_notes,
)
from hub_trainer.errors import DataError, HubTrainerError, Problem, ProblemsError, UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, Changes, Hub, Repo
from hub_trainer.inputs import INPUTS, load_input
from hub_trainer.recipe import load_recipe
from hub_trainer.recipe.arguments import nearest
from hub_trainer.recipe.columns import ANSWER_COLUMNS, is_answer
from hub_trainer.recipe.schema import REPO_ID
from hub_trainer.rows import RawSplit, RowSpec, canonical_rows
from hub_trainer.rows.canonical import as_input, column_of
from hub_trainer.rows.counters import id_columns
from hub_trainer.rows.csv_files import GAP_WORDS
from hub_trainer.rows.csv_types import codes
from hub_trainer.rows.holdout import hold_back_test
from hub_trainer.rows.own_schema import named_lists
from hub_trainer.tasks import Task, load_task
from hub_trainer.tasks.declared import Declared
from hub_trainer.tasks.outlines import OUTLINES
from hub_trainer.tasks.starters import STARTERS, Starter

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 2_000_000_000
TEST_FRACTION = 0.2
MIN_ROWS = 20
SETTINGS = ".gitattributes"
NUMBER = "_number"
"""A column that says which row of the file a canonical row was."""
FILES = {"train": "data/train-00000-of-00001.parquet", "test": "data/test-00000-of-00001.parquet"}


@dataclass(frozen=True)
class Beginning:
    """What somebody begins with."""

    task: str
    data: Path
    out: Path
    test: Path | None = None
    """Test rows of their own; None holds a fifth of the rows back by their content."""
    repo_id: str | None = None
    base_model: str | None = None
    license: str | None = None
    columns: Mapping[str, str] | None = None
    """Our column -> theirs, where it cannot be guessed."""
    private: bool = True


@dataclass(frozen=True)
class Begun:
    """What there is now: a dataset on the Hub and a recipe."""

    dataset: str
    url: str
    commit_sha: str
    recipe: str
    base_model: str | None
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    columns: Mapping[str, str]
    dropped: Mapping[str, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {**vars(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class _Split:
    """Rows that can be used: the file's own columns, and the same rows as stages will see them."""

    table: "pa.Table"
    rows: list[dict[str, Any]]
    dropped: Mapping[str, int]
    notes: tuple[str, ...]


def begin(
    hub: Hub, wanted: Beginning, *, agrees: Callable[[Sequence[str]], bool] = lambda notes: True
) -> Begun | None:
    """Make the dataset and write the recipe; nothing is written unless all of it can be.

    `agrees` is asked about labels that are probably the same, before anything is made; None where
    it says no. Raises all faults of what is wanted at once.
    """
    try:
        return _begin(hub, wanted, agrees)
    except (DataError, UsageError) as error:
        faults = _faults(hub, wanted)
        if str(error) not in map(str, faults):
            faults.append(error)
        if len(faults) == 1:
            raise
        problems = [Problem("init", f.what, where=f.where, got=f.got, do=f.do) for f in faults]
        several = ProblemsError(problems, source="hub-trainer init")
        several.exit_code = error.exit_code
        raise several from None


def _faults(hub: Hub, wanted: Beginning) -> list[HubTrainerError]:
    """Everything that is wrong with what is wanted before its rows are looked at."""
    looks: list[Callable[[], object]] = [
        lambda: _assert_known(wanted.task),
        lambda: _free_repo(hub, wanted),
    ]
    if wanted.task in STARTERS:
        looks.append(lambda: _base_model(hub, wanted, STARTERS[wanted.task]))
        looks.append(lambda: _read(wanted))
    else:
        looks.append(lambda: read_local(wanted.data, max_bytes=MAX_BYTES))
    found: list[HubTrainerError] = []
    for look in looks:
        try:
            look()
        except (DataError, UsageError) as error:
            found.append(error)
    return found


@dataclass(frozen=True)
class _Read:
    """A file of rows as the task sees it."""

    raw: RawSplit
    task: Task
    columns: Mapping[str, str]
    """Our column -> the file's."""
    dropped: tuple[str, ...]
    """Columns that only number the rows, which no model is to see."""


def _read(wanted: Beginning) -> _Read:
    raw = read_local(wanted.data, max_bytes=MAX_BYTES)
    named = named_columns(raw, wanted.task, wanted.columns or {})
    task = _task(wanted.task, named)
    columns = find_columns(raw, task, named, where=str(wanted.data))
    has_features = load_input(task.modality).has_features
    raw = _with_codes(raw, set(columns.values())) if has_features else raw
    numbered = id_columns(raw.table) if has_features else []
    return _Read(raw, task, columns, tuple(set(numbered) - set(columns.values())))


def _with_codes(raw: RawSplit, named: Collection[str]) -> RawSplit:
    """Features such as postcodes as they are written: a number would lose its zeros."""
    table = raw.table
    for name in raw.written.keys() - named:
        cells = codes(raw.written[name], GAP_WORDS)
        if cells is not None:
            table = table.set_column(table.column_names.index(name), name, cells)
    return replace(raw, table=table)


def _begin(hub: Hub, wanted: Beginning, agrees: Callable[[Sequence[str]], bool]) -> Begun | None:
    _assert_known(wanted.task)
    starter = STARTERS[wanted.task]
    repo = _free_repo(hub, wanted)
    base_model = _base_model(hub, wanted, starter)
    read = _read(wanted)
    task = read.task
    whole = _usable(read.raw, read, where=str(wanted.data))
    splits = _splits(wanted, read, whole)
    answer = task.answer
    labels = answer.counts([row[answer.column] for row in whole.rows])
    metrics = starter.metrics_for(labels) or answer.usual_metrics
    text = _recipe_text(wanted, starter, metrics, repo.repo_id, base_model, read)
    _assert_loads(text, wanted.out)
    if alike_labels(labels) and not agrees(
        answer.notes([row[answer.column] for row in whole.rows])
    ):
        return None
    files = {FILES[name]: _parquet(part.table) for name, part in splits.items()}
    files["README.md"] = _card(wanted, repo.repo_id, splits, labels, read).encode()
    hub.create_repo(repo, private=wanted.private)
    made = hub.commit(
        repo,
        Changes(files=files),
        message=f"Add {len(whole.rows):,} rows",
        run_id=f"init-{repo.repo_id}",
    )
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(text, encoding="utf-8")
    return Begun(
        dataset=repo.repo_id,
        url=f"{hub.url}/datasets/{repo.repo_id}",
        commit_sha=made.commit_sha,
        recipe=str(wanted.out),
        base_model=base_model,
        rows={name: part.table.num_rows for name, part in splits.items()},
        labels={name: labels[name] for name in in_order(labels)},
        columns=read.columns,
        dropped=dict(whole.dropped),
        notes=(
            *whole.notes,
            *single_notes(labels),
            *pair_notes(read.raw, task, read.columns),
            *_number_notes(read.dropped, wanted.out),
            *_ways_to_join(labels, wanted, repo.repo_id),
        ),
    )


def _ways_to_join(labels: Mapping[str, int], wanted: Beginning, repo_id: str) -> list[str]:
    """How labels that are probably the same become one, now that the dataset is made."""
    if not alike_labels(labels):
        return []
    return [
        f"to make one label of those, write them alike in {wanted.data}, remove {wanted.out} and"
        f" {repo_id} (hf repos delete {repo_id} --type dataset), and give this command again"
    ]


def _number_notes(dropped: Sequence[str], out: Path) -> list[str]:
    return [
        f"the column {name!r} numbers the rows, so no model sees it (drop_columns in {out}); who "
        "contributes may leave it out"
        for name in dropped
    ]


def _assert_known(task: str) -> None:
    if task not in STARTERS:
        raise UsageError(
            f"There is no task {task!r}.{nearest(task, STARTERS)}",
            where="--task",
            do=f"Write one of {', '.join(STARTERS)}.",
        )


def _task(name: str, named: Mapping[str, str]) -> Task:
    """The task, with the answer and the inputs that the named columns say."""
    answers = [column for column in named if is_answer(column)]
    beside = tuple(column for column in OUTLINES[name].optional if column in named)
    return load_task(name, ANSWER_COLUMNS[answers[0]] if answers else None, beside=beside)


def _free_repo(hub: Hub, wanted: Beginning) -> Repo:
    """The dataset to make. Raises UsageError when it, or the recipe, is there already."""
    if wanted.out.exists():
        do = "Name another file with --out, or remove this one."
        raise UsageError("The recipe is there already.", where=str(wanted.out), do=do)
    slug = re.sub(r"[^a-z0-9]+", "-", wanted.data.resolve().stem.lower()).strip("-") or "data"
    repo_id = wanted.repo_id or f"{hub.user()['name']}/{slug}"
    if not REPO_ID.match(repo_id):
        do = "Write owner/name."
        raise UsageError("That is no name of a dataset repo.", where=repo_id, do=do)
    repo = Repo(repo_id, "dataset")
    # An empty one may be what an earlier call left when it was cut off.
    if hub.exists(repo) and {file.path for file in hub.list_files(repo, "main")} - {SETTINGS}:
        raise UsageError(
            "The dataset is there already.",
            where=f"{hub.url}/datasets/{repo_id}",
            do=f"Add rows with: hub-trainer contribute {repo_id} {wanted.data}; or name another "
            "dataset with --repo-id.",
        )
    hub.assert_can_write(repo)
    return repo


def _base_model(hub: Hub, wanted: Beginning, starter: Starter) -> str | None:
    """The base model that is named, or the task's usual one, if the Hub has it."""
    if wanted.base_model and starter.base_model is None and starter.train_on_base is None:
        do = "Leave --base-model out."
        raise UsageError(f"{wanted.task} starts from no base model.", got=wanted.base_model, do=do)
    name = wanted.base_model or starter.base_model
    if name and not hub.exists(Repo(name.partition("@")[0])):
        raise UsageError(
            "The base model is not on this Hub.",
            where=f"{hub.url}/{name}",
            got=name if wanted.base_model else f"{name}, the usual one of {wanted.task}",
            do=_way_to_a_base(hub, name),
        )
    return name


def _way_to_a_base(hub: Hub, name: str) -> str:
    """What a stranger can do where a base model is missing: a Local Hub begins with none."""
    do = "Name one that is there: --base-model org/name."
    me = str(hub.user()["name"])
    if hub.url == PUBLIC_ENDPOINT or name.startswith(f"{me}/"):
        return do
    own = f"{me}/{name.partition('@')[0].split('/')[-1]}"
    return (
        f"{do} Or put one there: HF_ENDPOINT={PUBLIC_ENDPOINT} HF_TOKEN= hf download {name}"
        f" --local-dir base; then hf upload {own} base, and here --base-model {own}."
    )


def _usable(raw: RawSplit, read: _Read, *, where: str) -> _Split:
    """The rows that the task can use, in the file's own columns and as the stages see them."""
    import pyarrow as pa

    task, columns = read.task, read.columns
    numbers = pa.array(range(raw.table.num_rows))
    spec = RowSpec(
        task.modality,
        dict(task.columns),
        dict(columns),
        slices=[NUMBER],
        drop_columns=[name for name in read.dropped if name in raw.table.column_names],
    )
    _assert_one_answer(raw, spec, where)
    numbered = replace(raw, table=raw.table.append_column(NUMBER, numbers))
    canonical = canonical_rows(numbered, spec, source=where, where=where)
    rows = canonical.table.drop_columns([NUMBER]).to_pylist()
    faults = [task.problems(row) for row in rows]
    kept = [number for number, found in enumerate(faults) if not found]
    dropped = Counter(canonical.dropped) + Counter(found[0] for found in faults if found)
    table = _own_table(raw, task, columns)
    own = table.take(canonical.table[NUMBER].take(pa.array(kept, pa.int64())))
    notes = tuple(note for note in canonical.notes if NUMBER not in note)
    return _Split(own, [rows[number] for number in kept], dropped, notes)


def _assert_one_answer(raw: RawSplit, spec: RowSpec, where: str) -> None:
    """Raise DataError for a feature that is called as an answer is: what `init` takes for it."""
    taken = {*spec.kinds, *spec.columns.values()}
    others = [name for name in raw.table.column_names if is_answer(name) and name not in taken]
    if others and spec.input.has_features:
        name = others[0]
        raise DataError(
            f"A feature is called {name}, which is what an answer is called.",
            where=where,
            got=f"the column {name!r} beside {spec.answer.column}",
            do="If it says the answer again, take the column out of the file; if not, give it a "
            f"name of its own: --column {name}_value={name}",
        )


def _own_table(raw: RawSplit, task: Task, columns: Mapping[str, str]) -> "pa.Table":
    """The file's columns as the dataset will hold them: labels by name, texts as written."""
    import datasets
    import pyarrow as pa

    made, kinds = {}, {}
    for name in raw.table.column_names:
        column = _own_column(raw, name, task, columns)
        if name in raw.media:
            cells = [{"bytes": cell, "path": None} for cell in column.to_pylist()]
            kinds[name] = getattr(datasets, raw.media[name].feature)()
            column = pa.array(cells, kinds[name].pa_type)
        elif pa.types.is_null(column.type):
            column = column.cast(pa.string())
        made[name] = column
    table = pa.table(made)
    if not kinds:
        return table
    plain = datasets.Features.from_arrow_schema(table.schema)
    return table.cast(datasets.Features({**plain, **kinds}).arrow_schema)


def _own_column(raw: RawSplit, name: str, task: Task, columns: Mapping[str, str]) -> Any:
    import pyarrow as pa

    answer = None if load_input(task.modality).has_formats else task.answer
    is_answer_column = answer is not None and name == columns.get(answer.column, answer.column)
    if answer is not None and is_answer_column and not answer.is_of_words:
        return answer.read(column_of(raw, name), f"column {name}")
    if name in raw.list_names:
        return pa.array(named_lists(raw, name, f"column {name}"))
    if name in raw.class_names:
        return class_names(raw.table[name], raw.class_names[name], f"column {name}")
    shown_as_is = {columns.get(ours, ours) for ours, kind in task.columns.items() if kind in INPUTS}
    if name in shown_as_is or (answer is None and name != "label"):
        return raw.as_written(name)
    shown = load_input(task.modality)
    if shown.has_features and name[:1] != "_":
        # A parquet file says what is a gap; a word for one would be a category there.
        return shown.read(as_input(raw, name), f"column {name}")
    return raw.table[name]


def _splits(wanted: Beginning, read: _Read, whole: _Split) -> dict[str, _Split]:
    """Train and test rows. Raises DataError for rows from which nothing can be learned."""
    where = str(wanted.data)
    if wanted.test is not None:
        raw = _like_train(read_local(wanted.test, max_bytes=MAX_BYTES), read.raw)
        return {"train": whole, "test": _usable(raw, read, where=str(wanted.test))}
    if len(whole.rows) < MIN_ROWS:
        raise DataError(
            "Too few rows to hold some of them back for a test.",
            where=where,
            got=f"{len(whole.rows)} rows that can be used",
            do=f"Bring at least {MIN_ROWS}, or give test rows of their own: --test FILE.",
        )
    task, answer = read.task, read.task.answer
    values = [row[answer.column] for row in whole.rows]
    if not load_input(task.modality).has_formats:
        _assert_learnable(answer, values, read.columns, where)
    numbered = [{**row, NUMBER: number} for number, row in enumerate(whole.rows)]
    _, held = hold_back_test(numbered, task.modality, TEST_FRACTION)
    test = {row[NUMBER] for row in held}
    taught = {
        name for n, value in enumerate(values) if n not in test for name in answer.parts(value)
    }
    # A label whose rows were all held back could not be learned.
    test = {number for number in test if taught.issuperset(answer.parts(values[number]))} or {0}
    sides = {"train": [n for n in range(len(whole.rows)) if n not in test], "test": sorted(test)}
    return {
        name: replace(whole, table=whole.table.take(side), rows=[whole.rows[n] for n in side])
        for name, side in sides.items()
    }


def _like_train(test: RawSplit, train: RawSplit) -> RawSplit:
    """Test rows with the texts of the columns that are texts in the training rows."""
    import pyarrow as pa

    table = test.table
    for name, cells in test.written.items():
        if name in train.written and pa.types.is_string(train.table[name].type):
            table = table.set_column(table.column_names.index(name), name, cells)
    return replace(test, table=table)


def _assert_learnable(
    answer: Answer, values: Sequence[Any], columns: Mapping[str, str], where: str
) -> None:
    """Raise DataError for answers that are all one, or labels of which each row has its own."""
    if is_learnable(answer, values):
        return
    counts = Counter(map(answer.dumps, values))
    seen = f"one {answer.noun}" if len(counts) == 1 else f"a {answer.noun} of its own for each row"
    raise DataError(
        f"These {answer.plural} cannot be learned.",
        where=f"{where}, column {columns.get(answer.column, answer.column)}",
        got=f"{seen}, as {next(iter(counts))!r:.60}",
        do=f"Name the column that holds {_wanted(answer)}: --column {answer.column}=...",
    )


def _wanted(answer: Answer) -> str:
    return "one of a few labels" if answer.is_share_of_names else f"the {answer.plural}"


def _recipe_text(
    wanted: Beginning,
    starter: Starter,
    metrics: Sequence[str],
    repo_id: str,
    base_model: str | None,
    read: _Read,
) -> str:
    """The recipe, with what a maintainer will want to change first said beside it."""
    source: dict[str, Any] = {"repo_id": repo_id, "split": "train"}
    sealed: dict[str, Any] = {"repo_id": repo_id, "split": "test"}
    for one in (source, sealed):
        one |= {"columns": dict(read.columns)} if read.columns else {}
        one |= {"drop_columns": list(read.dropped)} if read.dropped else {}
    train = starter.train_on_base if base_model and starter.train_on_base else starter.train
    licence = {"license": wanted.license} if wanted.license else {}
    parts: list[tuple[str, dict[str, Any]]] = [
        ("What the model is for: a pipeline tag of the Hub.", {"task": wanted.task}),
        ("The rows. More datasets may follow; pull requests add to this one.",
         {"collect": {"datasets": [source]}}),
        ("The test rows are sealed: no model ever learns from them.",
         {"prepare": {"test_split": sealed}}),
        ("How it learns: `hub-trainer plan` says what that costs.", {"train": dict(train)}),
        ("What is measured, and what the gate goes by.",
         {"evaluate": {"metrics": list(metrics), "primary": metrics[0]}}),
        ("Where the model goes. To share it, set private: false and name a licence.",
         {"publish": {"repo_id": f"{repo_id}-model", "private": True, **licence}}),
        ("The Space in which people try and rate it.",
         {"serve": {"repo_id": f"{repo_id}-demo", "ratings_repo_id": f"{repo_id}-ratings"}}),
    ]  # fmt: skip
    if base_model:
        parts.insert(1, ("What it starts from.", {"base_model": base_model}))
    head = f"# Made by hub-trainer init from {wanted.data.name}. Every key: docs/recipe.md.\n"
    head += f"#   hub-trainer run {wanted.out}\n"
    return head + "".join(
        f"# {said}\n{yaml.safe_dump(part, sort_keys=False, allow_unicode=True)}"
        for said, part in parts
    )


def _assert_loads(text: str, out: Path) -> None:
    """A recipe that cannot be loaded is an error before anything is made on the Hub."""
    with tempfile.TemporaryDirectory(prefix="hub-trainer-init-") as scratch:
        path = Path(scratch) / out.name
        path.write_text(text, encoding="utf-8")
        load_recipe(path)


def _parquet(table: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _card(
    wanted: Beginning,
    repo_id: str,
    splits: Mapping[str, _Split],
    labels: Mapping[str, int],
    read: _Read,
) -> str:
    """The dataset's card, which says of the licence what is known."""
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    metadata: dict[str, Any] = {"license": wanted.license} if wanted.license else {}
    metadata |= {
        "task_categories": [wanted.task],
        "configs": [{"config_name": "default", "data_files": files}],
        **Declared(wanted.task, read.columns, read.dropped).to_card(),
    }
    block = yaml.safe_dump(metadata, sort_keys=False)
    counts = ", ".join(f"{part.table.num_rows:,} {name}" for name, part in splits.items())
    columns = ", ".join(f"`{name}`" for name in splits["train"].table.column_names)
    kinds = "".join(f"| {inert(name, 80)} | {labels[name]:,} |\n" for name in in_order(labels))
    labelled = f"## First labels\n\n| label | rows |\n| --- | ---: |\n{kinds}\n" if kinds else ""
    held = (
        "The test rows were given apart."
        if wanted.test
        else "The test rows were held back by a hash of their content."
    )
    terms = (
        f"{wanted.license}."
        if wanted.license
        else "None has been chosen, so nobody but the owner may use these rows. Before you share "
        "them, make sure that you may, and add `license:` to the block at the top of this card."
    )
    what = "FOLDER_OF_NEW_FILES" if read.raw.media else "new_rows.csv"
    return (
        f"---\n{block}---\n# {repo_id.split('/')[1]}\n\n"
        f"It began with {counts} rows for {wanted.task}, with the columns {columns}. {held}\n\n"
        f"{labelled}"
        f"## Licence\n\n{terms}\n\n"
        f"## Contributing\n\nRows are proposed as pull requests:\n\n"
        f"    hub-trainer contribute {repo_id} {what}\n"
    )
