"""Columns of one's own file: which are the task's, as given or as can be guessed."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.answers import Answer, load_answer
from hub_trainer.errors import DataError
from hub_trainer.inputs import load_input
from hub_trainer.recipe.columns import ANSWER_COLUMNS, OPTIONAL_INPUTS, is_answer
from hub_trainer.rows import RawSplit
from hub_trainer.rows.canonical import column_of
from hub_trainer.rows.column_guesses import USUAL_NAMES, answer_kind, columns_of_texts, pair_columns
from hub_trainer.rows.counters import counted_columns
from hub_trainer.tasks import Task, load_task
from hub_trainer.tasks.outlines import OUTLINES


def named_columns(raw: RawSplit, task: str, given: Mapping[str, str]) -> dict[str, str]:
    """The columns that are named, and those of a pair of texts where no text is named."""
    named, pair = dict(given), pair_columns(raw)
    is_offered = pair.keys() & set(OUTLINES[task].optional)
    return named if not is_offered or pair.keys() & named.keys() else {**pair, **named}


def pair_notes(raw: RawSplit, task: Task, columns: Mapping[str, str]) -> list[str]:
    """What is read as a pair of texts; or columns of texts of which only one is read."""
    optional = OUTLINES[task.name].optional
    ours = [name for name in task.columns if not is_answer(name)]
    read = [columns.get(name, name) for name in ours]
    if set(optional) & set(ours):
        return [
            f"{' and '.join(read)} are read as a pair; to read only one of them, begin anew with"
            f" --column {ours[0]}={read[0]}"
        ]
    taken = {columns.get(name, name) for name in task.columns}
    others = [name for name in columns_of_texts(raw) if name not in taken]
    if not optional or not others:
        return []
    return [
        f"the column {others[0]!r} holds texts too, which the model does not read; if it is to read"
        f" pairs, begin anew with --column {ours[0]}={read[0]} --column {optional[0]}={others[0]}"
    ]


def find_columns(
    raw: RawSplit, task: Task, given: Mapping[str, str], *, where: str
) -> dict[str, str]:
    """Our column -> the file's, for those whose names differ: as given, or as can be guessed.

    Language data is known by its columns, and needs no names. Raises DataError that lists what
    there is when no column can be told to be the task's.
    """
    present: list[str] = raw.table.column_names
    unknown = {ours: theirs for ours, theirs in given.items() if theirs not in present}
    found = {ours: theirs for ours, theirs in given.items() if ours not in unknown}
    untold = []
    for name in (name for name in _named_in(task) if name not in given):
        guess = [
            known
            for known in (name, *USUAL_NAMES.get(name, ()))
            for known in _alike(known, present)
        ]
        left = [other for other in present if other not in found.values()]
        alone = left if len(left) == 1 and not unknown else []
        free = [other for other in guess if other in left] or alone
        if free:
            found[name] = free[0]
        else:
            untold.append(name)
    if unknown or untold:
        left = [other for other in present if other not in found.values()]
        raise _untold(raw, task, unknown, untold, left, where)
    for name in (name for name in found if is_answer(name) and name not in given):
        _assert_of_kind(raw, task, found[name], where)
    return {
        ours: theirs
        for ours, theirs in found.items()
        if ours != theirs
        or ours in (*ANSWER_COLUMNS, *OPTIONAL_INPUTS)
        and not _is_usual(task, ours)
    }


def _untold(
    raw: RawSplit,
    task: Task,
    unknown: Mapping[str, str],
    untold: Sequence[str],
    left: Sequence[str],
    where: str,
) -> DataError:
    """Every column that the file does not have, or that cannot be told, and likely ones."""
    likely, odd = {}, []
    for ours, theirs in unknown.items():
        close = difflib.get_close_matches(theirs, left, n=1)
        if close:
            likely[ours] = close[0]
        elif ours not in task.columns:
            odd.append(f"--column {ours}={theirs}")
    for name in (*untold, *(ours for ours in unknown if ours in task.columns)):
        free = [other for other in left if other not in likely.values()]
        likely.setdefault(name, _likely(raw, name, free))
    whats = [f"The file has no column {theirs!r}." for theirs in unknown.values()]
    whats += [f"No column can be told to be the {name}." for name in untold]
    pair = _way_to_a_pair(raw, task, untold[0], left) if len(likely) == 1 and untold else ""
    told = " ".join(f"--column {ours}={theirs}" for ours, theirs in likely.items())
    advice = [f"Name {'it' if len(likely) == 1 else 'them'}: {told}{pair}"] if likely else []
    advice += [f"leave out {' and '.join(odd)}"] if odd else []
    do = "; ".join(advice)
    return DataError(
        " ".join(whats),
        where=where,
        got=f"columns {', '.join(raw.table.column_names)}",
        do=do[0].upper() + do[1:],
    )


def _named_in(task: Task) -> list[str]:
    """The columns that a file has to have; none of language data, whose format says which."""
    return [] if load_input(task.modality).has_formats else list(task.columns)


def _assert_of_kind(raw: RawSplit, task: Task, column: str, where: str) -> None:
    """Raise DataError where the answer that nobody has named looks like another of the task's."""
    kind, usual = answer_kind(raw, column), task.answer
    if kind in OUTLINES[task.name].answers and kind != usual.name:
        other = load_answer(kind)
        raise DataError(
            f"The answers look like {other.plural}, and a recipe has to say so.",
            where=f"{where}, column {column}",
            got=str(raw.table.schema.field(column).type),
            do=f"Name them: --column {other.column}={column}; or, to learn them as {usual.plural}, "
            f"--column {usual.column}={column}",
        )


def _way_to_a_pair(raw: RawSplit, task: Task, name: str, left: Sequence[str]) -> str:
    """The second column to name, where the task may read one beside a missing input."""
    further = [one for one in OUTLINES[task.name].optional if one not in task.columns]
    texts = [one for one in columns_of_texts(raw) if one in left[1:]]
    if is_answer(name) or not further or not texts:
        return ""
    return f"; and if the model reads pairs, the second: --column {further[0]}={texts[0]}"


def _likely(raw: RawSplit, name: str, left: Sequence[str]) -> str:
    """The column to name in an example: answers stand last, what is asked is a file or a text."""
    counted = counted_columns(raw.table)
    free = [one for one in left if one not in counted] or list(left)
    if not free:
        return "..."
    if is_answer(name):
        return _likely_answer(raw, name, free)
    texts = columns_of_texts(raw)
    return next((one for one in free if one in raw.media or one in texts), free[0])


def _likely_answer(raw: RawSplit, name: str, free: Sequence[str]) -> str:
    """The last column from which such answers can be learned; "..." where there is none."""
    answer = load_answer(ANSWER_COLUMNS[name])
    for column in reversed(free):
        try:
            values = answer.read(column_of(raw, column), column).drop_null().to_pylist()
        except DataError:
            continue
        if is_learnable(answer, values):
            return column
    return "..."


def is_learnable(answer: Answer, values: Sequence[Any]) -> bool:
    """Whether answers are neither all one, nor names of which each row has its own."""
    groups = set(answer.strata(values))
    if len(set(map(answer.dumps, values))) < 2:
        return False
    return len(groups) < len(values) or not answer.counts(values)


def _is_usual(task: Task, column: str) -> bool:
    """Whether a recipe of the task learns this column unasked."""
    return column in load_task(task.name).columns


def _alike(name: str, present: Sequence[str]) -> list[str]:
    return [other for other in present if other.casefold() == name]
