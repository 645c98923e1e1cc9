"""The file that a dataset is offered: in its own columns and types, where its split takes it up."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub_trainer.answers import Answer, load_answer
from hub_trainer.checks.comment import inert
from hub_trainer.checks.curated import FILE_PREFIX, TITLE
from hub_trainer.checks.joining import Destination
from hub_trainer.checks.review_context import Tip
from hub_trainer.errors import DataError, UsageError
from hub_trainer.hub import Changes, Commit, Hub
from hub_trainer.inputs import load_input
from hub_trainer.recipe import DatasetSource, Recipe
from hub_trainer.rows import RawSplit
from hub_trainer.rows.canonical import own_cells
from hub_trainer.rows.own_schema import OwnSchema, in_own_schema
from hub_trainer.stages.curate.earlier import Earlier
from hub_trainer.tasks import Row

if TYPE_CHECKING:
    pass

UNKNOWN_LABEL = "with a label that the dataset does not have"
MISFIT = "with values that the dataset's columns do not take"


@dataclass(frozen=True)
class Target:
    """The split that gets the examples, at a commit of its dataset."""

    source: DatasetSource
    tip: Tip
    kinds: Mapping[str, str] = field(default_factory=dict)
    """The columns of the task, and what each holds."""

    @property
    def destination(self) -> Destination:
        """Where a file joins it."""
        return Destination(self.tip, self.source.split, self.source.config)


@dataclass(frozen=True)
class NewFile:
    """A file for a dataset, and how many examples it holds."""

    path: str
    content: bytes
    rows: int


@dataclass(frozen=True)
class Numbers:
    """What a pull request says of the ratings behind it."""

    rule: str
    table: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()


def fitting_rows(
    examples: Sequence[Row], target: Target, schema: OwnSchema, answer: Answer
) -> tuple[list[Row], dict[str, int]]:
    """The examples that the dataset's labels and columns can hold, and why others are left out."""
    # The names that the dataset's answers choose from; None where any will do.
    column = target.source.columns.get(answer.column, answer.column)
    names = schema.names_in(column) if column in schema.features else None
    known = None if names is None else frozenset(answer.declared(names))
    named = [
        row
        for row in examples
        if known is None or known.issuperset(answer.parts(_named(row[answer.column])))
    ]
    fitting = named if _fits(named, target, schema) else []
    fitting = fitting or [row for row in named if _fits([row], target, schema)]
    left_out = {UNKNOWN_LABEL: len(examples) - len(named), MISFIT: len(named) - len(fitting)}
    return fitting, {reason: count for reason, count in left_out.items() if count}


def build_file(
    examples: Sequence[Row], target: Target, schema: OwnSchema, modality: str
) -> NewFile:
    """The examples as a file of the dataset's format."""
    there = target.destination
    suffix = there.suffix
    shown = load_input(modality)
    if shown.medium and suffix != "parquet":
        raise UsageError(
            f"{shown.plural.capitalize()} join only a dataset of parquet files.",
            where=target.source.repo_id,
            got=f"files of {suffix}",
            do="Convert it once: load_dataset(...).push_to_hub(...), which writes parquet.",
        )
    content = _encoded(examples, target, schema)
    name = f"{FILE_PREFIX}{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
    return NewFile(there.place(name), content, len(examples))


def propose(
    hub: Hub, target: Target, file: NewFile, description: str, waiting: Sequence[Earlier]
) -> Commit:
    """Open the pull request with the file, or put it in the place of what an open one adds.

    The same file again is the proposal that is there; of several open ones the newest stays.
    """
    repo = target.tip.repo
    digest = hashlib.sha256(file.path.encode() + b"\0" + file.content).hexdigest()
    run_id = f"curate-{digest}"
    changes = Changes({file.path: file.content})
    if not waiting:
        return hub.commit(repo, changes, message=TITLE, run_id=run_id, pull_request=description)
    *older, newest = waiting
    for one in older:
        hub.close(repo, one.number, f"Pull request {newest.number} has what is agreed on by now.")
    if newest.added == (file.path,):
        page = hub.discussion_page(repo, newest.number)
        return Commit(newest.tip.commit_sha, page, newest.number)
    replaced = Changes(changes.files, deletions=tuple(p for p in newest.added if p != file.path))
    made = hub.commit(repo, replaced, message=TITLE, run_id=run_id, pull_request=newest.number)
    hub.comment(repo, newest.number, f"Updated: {description}")
    return made


def counted(count: int, noun: str) -> str:
    """A number of things: "1 rater", "2 raters"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe(recipe: Recipe, ratings: str, file: NewFile, numbers: Numbers) -> str:
    """Text of the pull request; `ratings` names their dataset and commit."""
    width = max(len(name) for name, _ in numbers.table)
    values = max(len("number"), *(len(value) for _, value in numbers.table))
    cap = recipe.curate.max_ratings_per_rater
    capped = f"at most {counted(cap, 'rating')} of one rater {'counts' if cap == 1 else 'count'}"
    examples, model = counted(file.rows, "example"), inert(recipe.publish.repo_id)
    return "\n".join(
        [
            f"{examples} that raters of {model} agree on.",
            "",
            f"| {'what':{width}} | {'number':>{values}} |",
            f"|{'-' * (width + 2)}|{'-' * (values + 1)}:|",
            *(f"| {name:{width}} | {value:>{values}} |" for name, value in numbers.table),
            "",
            f"Rule: {numbers.rule}; {capped}.",
            *(f"{note[0].upper()}{note[1:]}." for note in numbers.notes),
            f"Ratings: `{ratings}`.",
        ]
    )


def prediction_numbers(recipe: Recipe, outputs: Mapping[str, Any], answer: Answer) -> Numbers:
    """What is said of ratings of predictions."""
    section = recipe.curate
    raters = counted(section.min_raters or answer.usual_raters, "rater")
    rule = load_answer(answer.name).rule(section.aggregate, raters)
    table = [
        ("ratings that count", f"{outputs['num_ratings']:,}"),
        ("raters", f"{outputs['num_raters']:,}"),
        ("rated rows", f"{outputs['num_rated_rows']:,}"),
        (f"rows with an agreed {answer.noun}", f"{outputs['num_decided']:,}"),
        ("mean agreement on those", f"{outputs['agreement']:.1%}"),
        *_left_out(outputs),
    ]
    return Numbers(rule, table, outputs["notes"])


def answer_numbers(recipe: Recipe, outputs: Mapping[str, Any], answer: Answer) -> Numbers:
    """What is said of ratings of what a model wrote."""
    raters = counted(recipe.curate.min_raters or answer.usual_raters, "rater")
    rule = (
        f"what at least {raters} say, each by the trust that agreement with others earns; "
        "the weight of an example is the trust behind it"
    )
    table = [
        ("ratings that count", f"{outputs['num_ratings']:,}"),
        ("raters", f"{outputs['num_raters']:,}"),
        *((f"of them {signal}s", f"{count:,}") for signal, count in outputs["signals"].items()),
        ("least trust in a rater", f"{outputs['trust']['min']:.2f}"),
        ("most trust in a rater", f"{outputs['trust']['max']:.2f}"),
        *_left_out(outputs),
    ]
    return Numbers(rule, table, outputs["notes"])


def _left_out(outputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    out = {**outputs["skipped_rows"], **outputs["left_out"]}
    skipped = [(f"left out: {why}", n) for why, n in sorted(out.items())]
    dropped = [(f"ratings {why}", n) for why, n in sorted(outputs["dropped_ratings"].items())]
    return [(what, f"{n:,}") for what, n in (*skipped, *dropped)]


def _fits(examples: Sequence[Row], target: Target, schema: OwnSchema) -> bool:
    import pyarrow as pa

    try:
        _encoded(examples, target, schema)
    except (DataError, pa.ArrowException, OverflowError, UnicodeError):
        return False
    return True


def _encoded(examples: Sequence[Row], target: Target, schema: OwnSchema) -> bytes:
    where = f"ratings for {target.source.repo_id}"
    cells = [own_cells(row, target.kinds) for row in examples]
    table = in_own_schema(_raw(cells, target.source, schema), schema, {}, where=where)
    return target.destination.encode(table, schema, where=where)


def _raw(examples: Sequence[Row], source: DatasetSource, schema: OwnSchema) -> RawSplit:
    """The examples under the dataset's column names; what we do not know of is empty."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in examples for name in row)
    ours = {source.columns.get(name, name): name for name in names}
    columns = {}
    for theirs in schema.columns:
        values = [row.get(ours[theirs]) if theirs in ours else None for row in examples]
        if schema.label_names(theirs) is not None:
            values = [_named(value) for value in values]
        columns[theirs] = pa.array(values)
    return RawSplit(pa.table(columns), "")


def _named(label: Any) -> Any:
    """A thumb as a dataset's classes name it; a name as it is."""
    return str(label).lower() if isinstance(label, bool) else label
