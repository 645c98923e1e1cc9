"""The side of review that touches what strangers wrote: runs in a sandboxed child, answers JSON.

Three children, so that the one which parses a stranger's files never holds the sealed test rows:
`read_files` turns files into canonical rows, `compare_rows` counts what they repeat, and
`score_labels` asks a model. Answers are numbers, names of columns and labels, and a few categories,
cut; never more of a row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer, load_answer
from hub_trainer.checks.answer_errors import judge_errors
from hub_trainer.checks.comparison import Comparison, Repeats
from hub_trainer.checks.flags import text_flags
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.label_groups import judge_groups
from hub_trainer.checks.label_quality import Judged, Scored, judge_labels
from hub_trainer.checks.leakage_check import Leakage
from hub_trainer.checks.personal import find_traces
from hub_trainer.checks.probe import (
    NUMBER,
    cross_scores,
    label_indices,
    sample_rows,
    with_labels,
)
from hub_trainer.checks.prompted_answers import judge_prompted
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.checks.reading import Reading
from hub_trainer.checks.schema_changes import schema_of
from hub_trainer.duplicates import (
    find_duplicates,
    find_repeats,
    is_copy,
    preference_keys,
)
from hub_trainer.errors import DataError
from hub_trainer.inputs import load_input
from hub_trainer.inputs.table import no_dates
from hub_trainer.rows import (
    Limits,
    RawSplit,
    RowSpec,
    canonical_rows,
    read_rows,
    read_split,
    write_rows,
)
from hub_trainer.rows.canonical import as_input
from hub_trainer.rows.column_guesses import infer_spec
from hub_trainer.rows.leakage import SealedExamples

Row = Mapping[str, Any]

MAX_JUDGED_ROWS = 2_000
"""New rows that a model is asked about; of more, a sample stands for all."""
MAX_COMPARED_ROWS = 4_000
"""Rows of the dataset from which is told what chance repeats of the sealed rows."""
MAX_HELD_OUT_ROWS = 1_000
"""Sealed rows that a published model is asked about, to learn what it gets wrong."""


def import_checkers() -> None:
    """The libraries of most checks, before a child that carries them out is forked."""
    import sklearn.linear_model  # noqa: F401

    import hub_trainer.checks.poison  # noqa: F401
    from hub_trainer.rows.reading_child import import_readers

    import_readers()


def read_files(
    folder: str,
    out: str,
    *,
    config: str | None,
    split: str,
    spec: Mapping[str, Any] | None,
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """Read a split into canonical rows at `out`; says what it looks like even if that fails.

    `spec` is a RowSpec as JSON; without it the columns are inferred, and the answer says how.
    """
    raw = read_split(
        Path(folder), config=config, split=split, where="the files", limits=Limits(**limits)
    )
    schema = schema_of(raw)
    try:
        wanted = RowSpec.from_json(spec) if spec else infer_spec(raw)
        rows = canonical_rows(raw, wanted, source="", where="the files")
    except DataError as error:
        # Without what was found: that may be row text.
        told = {"what": error.what, "where": error.where, "do": error.do}
        return {"schema": schema.to_json(), "error": told}
    write_rows(Path(out), rows.table)
    reading = Reading(
        Path(out),
        schema,
        wanted,
        rows=rows.table.num_rows,
        labels=wanted.answer.counts(rows.table[wanted.answer.column].to_pylist()),
        dropped=rows.dropped,
        first_dropped=[number for number, _ in rows.first_dropped],
        no_dates=_no_dates(raw, rows.features),
    )
    return {**reading.to_json(), "error": None}


def _no_dates(raw: RawSplit, features: Mapping[str, str]) -> dict[str, list[int]]:
    dates = [name for name, kind in features.items() if kind == "date"]
    found = {
        name: no_dates(as_input(raw, name)) for name in dates if name in raw.table.column_names
    }
    return {name: [place + 1 for place in places] for name, places in found.items() if places}


def compare_rows(
    new: str,
    base: str,
    test: str | None,
    *,
    modality: str,
    near: float | None,
    answer: str,
) -> Comparison:
    """What the new rows repeat, of themselves, the dataset and the sealed rows; what they hold.

    Rows that repeat each other by chance, as a table's do, are plain repeats only if equal.
    """
    rows, known = read_rows(Path(new)), read_rows(Path(base))
    of_answers = load_answer(answer)
    plain = None if load_input(modality).repeats_by_chance else near
    within = find_duplicates(rows, modality, plain)
    repeated = find_repeats(rows, known, modality, plain)
    conflicts = {
        *_conflicts(rows, known, repeated, of_answers),
        *_contradictions(rows, known, modality),
    }
    again = {place for group in within for place in (*group.exact, *group.near)}
    again |= {match.row for match in repeated}
    repeats = Repeats(
        rows=len(rows),
        within_exact=sum(len(group.exact) for group in within),
        within_near=sum(len(group.near) for group in within),
        base_exact=sum(match.kind == "exact" for match in repeated),
        base_near=sum(match.kind == "near" for match in repeated),
        conflicting=len(conflicts),
        numbers=tuple(sorted(place + 1 for place in again)),
        conflicting_numbers=tuple(sorted(place + 1 for place in conflicts)),
    )
    groups = of_answers.strata([row[of_answers.column] for row in (*rows, *known)])
    sealed = read_rows(Path(test)) if test else []
    leakage, copies = _leakage(rows, known, SealedExamples(sealed, modality, near))
    return Comparison(
        repeats=repeats,
        leakage=leakage,
        copies=tuple(copies),
        unknown_labels=_unknown_labels(rows, known, of_answers),
        flags=text_flags(rows),
        personal=find_traces(rows, groups[: len(rows)]),
        base_personal=find_traces(known, groups[len(rows) :]),
    )


def _unknown_labels(
    rows: Sequence[Row], known: Sequence[Row], answer: Answer
) -> dict[str, tuple[int, ...]]:
    """Names that no known row has -> the numbers of the rows that have them, from 1."""
    names = answer.counts([row[answer.column] for row in known]).keys()
    found: dict[str, list[int]] = {}
    for number, row in enumerate(rows, start=1):
        for name in answer.counts([row[answer.column]]).keys() - names:
            found.setdefault(name, []).append(number)
    return {name: tuple(numbers) for name, numbers in found.items()}


def _leakage(
    rows: Sequence[Row], known: Sequence[Row], sealed: SealedExamples
) -> tuple[Leakage, list[int]]:
    """How near the new rows and the dataset's own come to sealed ones; the places of copies."""
    nearest = sealed.nearest(rows)
    compared = sample_rows(known, MAX_COMPARED_ROWS)
    copies = [match for match in nearest if is_copy(match)]
    found = Leakage(
        rows=len(rows),
        test_rows=len(sealed),
        exact=sum(match.kind == "exact" for match in copies),
        near=sum(match.kind == "near" for match in copies),
        remoteness=tuple(match.remoteness for match in nearest),
        base_rows=len(compared),
        base_remoteness=tuple(match.remoteness for match in sealed.nearest(compared)),
    )
    return found, [match.row for match in copies]


def score_answers(
    new: str,
    base: str,
    test: str | None,
    *,
    model: Mapping[str, Any] | None,
    modality: str,
    answer: str,
) -> Judgement | None:
    """What a judge makes of the new answers: by their prompts, by the shares of names, or by their
    errors. None where nobody can judge them."""
    asked = PublishedModel.from_json(model) if model else None
    dialogue = load_input(modality).dialogue
    if dialogue is not None:
        if asked is None or test is None:
            return None
        files = [read_rows(Path(path)) for path in (new, test)]
        found = judge_prompted(*files, model=asked, dialogue=dialogue)
    elif load_answer(answer).is_share_of_names:
        found = score_labels(new, base, test, model=asked, modality=modality)
    else:
        files = [read_rows(Path(path)) if path else [] for path in (new, base, test)]
        found = judge_errors(*files, model=asked, modality=modality, answer=load_answer(answer))
    return found


def score_labels(
    new: str, base: str, test: str | None, *, model: PublishedModel | None, modality: str
) -> Judgement | None:
    """What a model says of the new labels: the published one if there is one, else a probe.

    None when neither has enough rows to learn from, or does better than a constant answer. One
    judge is enough: on handwritten digits a
    published model that errs on 38 % of held-out rows finds as many flipped labels as a probe that
    errs on 6 %, and neither stops clean rows.
    """
    numbered = [{**row, NUMBER: n} for n, row in enumerate(read_rows(Path(new)), start=1)]
    rows = sample_rows(numbered, MAX_JUDGED_ROWS)
    judged, judge = None, "the published model"
    if model and test:
        held_out = sample_rows(read_rows(Path(test)), MAX_HELD_OUT_ROWS)
        judged = _published_scores(rows, held_out, model)
    if judged is None or not judged.can_judge:
        judge = "a probe of the dataset"
        judged = cross_scores(read_rows(Path(base)), rows, modality)
    if judged is None or not judged.can_judge:
        return None
    groups = judge_groups(judged.held_out, judged.new, judged.names)
    return Judgement(judge, judge_labels(judged.held_out, judged.new), tuple(groups))


def _published_scores(
    rows: Sequence[Row], held_out: Sequence[Row], model: PublishedModel
) -> Judged | None:
    """Held-out and new rows under the published model; None when it knows none of their labels."""
    import numpy as np

    from hub_trainer.answers.decisions import likeliest_as_decided
    from hub_trainer.tasks import load_task

    names = model.label_names
    rows, held_out = with_labels(rows, names), with_labels(held_out, names)
    if not rows or not held_out:
        return None
    predictions = load_task(model.task).predict(model.folders, [*held_out, *rows])
    decided = [likeliest_as_decided(one) for one in predictions]
    scores = np.array([[one.get(name, 0.0) for name in names] for one in decided])
    known, fresh = scores[: len(held_out)], scores[len(held_out) :]
    numbers = tuple(int(row[NUMBER]) for row in rows)
    return Judged(
        Scored(known, label_indices(held_out, names)),
        Scored(fresh, label_indices(rows, names), numbers),
        names,
    )


def _conflicts(
    rows: Sequence[Row], known: Sequence[Row], repeated: Sequence[Any], answer: Answer
) -> set[int]:
    """Places of rows that equal a row of the dataset and carry another answer."""
    column = answer.column
    return {
        match.row
        for match in repeated
        if match.kind == "exact"
        and not answer.same(rows[match.row][column], known[match.reference][column])
    }


def _contradictions(rows: Sequence[Row], known: Sequence[Row], modality: str) -> set[int]:
    """Places of rows that prefer two answers the other way round than a row of the dataset does."""
    told = {pair[0] for pair in preference_keys(known, modality) if pair}
    pairs = enumerate(preference_keys(rows, modality))
    return {place for place, pair in pairs if pair is not None and pair[1] in told}
