"""The columns of a dataset become the columns of a task: labels as names, files as bytes."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from hub_trainer.answers import ANSWERS, load_answer
from hub_trainer.answers.label import class_names
from hub_trainer.answers.label_names import alike_labels, plain_label
from hub_trainer.answers.word_lists import joined, words_of
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column, Input, load_input
from hub_trainer.inputs.dates import EXAMPLE as A_DAY
from hub_trainer.inputs.dates import holds_dates, unread_dates
from hub_trainer.inputs.language_examples import example_of
from hub_trainer.inputs.table_features import holds_texts
from hub_trainer.recipe.arguments import nearest
from hub_trainer.recipe.columns import is_answer, is_feature, unseen
from hub_trainer.rows.counters import NAMELESS, counted_columns
from hub_trainer.rows.csv_files import GAP_WORDS
from hub_trainer.rows.csv_types import first_with_zeros, odd_numbers
from hub_trainer.rows.language_rows import canonical_examples
from hub_trainer.rows.left_out import Losses, reasons_text
from hub_trainer.rows.matches import NEGATIVE, TOGETHER, matched_columns, with_those_apart
from hub_trainer.rows.nested import holds_json
from hub_trainer.rows.read import RawSplit
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE, with_row_ids
from hub_trainer.rows.turn_notes import turn_notes
from hub_trainer.rows.written import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

    from hub_trainer.answers import Answer

WORDS = "words"
"""The kind of a column of lists of words, which canonical rows hold as one column `text`."""
EXAMPLE = "example"
"""The kind of a task's only column when its rows are language data in whatever format."""
FEATURE = "table"
"""The kind of a column that a spec says nothing of: it is read as a table's are."""
MIN_CATEGORIES = 20
"""Rows from which categories that hardly repeat are no chance."""
EXAMPLE_COLUMNS = ("text", "prompt", "label", "example")


@dataclass(frozen=True)
class RowSpec:
    """What a task wants of a dataset's rows."""

    modality: str
    kinds: Mapping[str, str]
    """Our column -> text, words, image, audio, or the name of an answer; a table's features are
    all its other columns."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the dataset's, where the names differ."""
    slices: Sequence[str] = ()
    """Columns that are kept beside those of the task."""
    drop_columns: Sequence[str] = ()
    """The dataset's columns that the model must not see."""
    matches: bool = False
    """Rows may be pairs of texts that belong together, without a number, or with a third text that
    does not belong."""
    clean: bool = True
    """Drop rows that are empty or broken and count them; else they are an error."""
    max_pixels: int = 16_000_000

    @property
    def input(self) -> Input:
        """What a model is shown of the rows."""
        return load_input(self.modality)

    @property
    def answer(self) -> "Answer":
        """The answer that the rows hold, by which they are grouped."""
        (name,) = (kind for kind in self.kinds.values() if kind in ANSWERS)
        return load_answer(name)

    def to_json(self) -> dict[str, Any]:
        """As a process that reads the rows is told it."""
        content = asdict(self)
        return {**content, "slices": list(self.slices), "drop_columns": list(self.drop_columns)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RowSpec":
        """What `to_json` wrote, and what earlier versions did, which said less."""
        known = {one.name: content[one.name] for one in fields(cls) if one.name in content}
        lists = {name: tuple(known.get(name, ())) for name in ("slices", "drop_columns")}
        return cls(**{**known, **lists})


@dataclass(frozen=True)
class CanonicalRows:
    """Rows in the shape that every later stage reads."""

    table: "pa.Table"
    label_names: tuple[str, ...] | None
    """In the order of the dataset's classes; None when its labels are plain values."""
    features: Mapping[str, str]
    """A table's features: number, category, date or boolean."""
    dropped: Mapping[str, int]
    """Reason -> rows that were left out."""
    first_dropped: Sequence[tuple[int, str]] = ()
    """The first of them: which row of the split, from 1, and the reason."""
    notes: tuple[str, ...] = ()
    """What a person should know: columns left out, labels alike, numbers that are none."""


def canonical_rows(
    raw: RawSplit, spec: RowSpec, *, source: str, where: str | None = None
) -> CanonicalRows:
    """Map, name and check the columns of a split; `source` is written into each row."""
    import pyarrow as pa

    where = where or source
    if spec.input.has_formats:
        return _canonical_examples(raw, spec, source, where)
    names = _mapped_columns(raw, spec, where)
    words = _words(raw, names, spec, where)
    columns: dict[str, Any] = {}
    of_reading: list[str] = []
    for name, theirs in names.items():
        place, kind = f"{where}, column {theirs}", spec.kinds.get(name, FEATURE)
        kind = "text" if spec.matches and name == NEGATIVE else kind
        if kind in ANSWERS:
            column = replace(column_of(raw, theirs), words=words, notes=of_reading)
            columns[name] = load_answer(kind).read(column, place)
        elif kind == WORDS:
            columns[name] = _joined(words or ())
        else:
            of_input: list[str] = []
            columns[name] = _column(raw, theirs, kind, place, of_input)
            of_reading += [f"the column {theirs!r} {note}" for note in of_input]
    answer = spec.answer
    if answer.column not in columns:
        columns[answer.column] = pa.array([TOGETHER] * raw.table.num_rows, pa.float64())
    table = pa.table(dict(columns))
    table, left_out = _kept(table, _reasons(table, spec), spec, where)
    if spec.matches and NEGATIVE in columns:
        table = with_those_apart(table, answer.column)
    table = _with_provenance(_with_text(table, spec), spec, source)
    features = _feature_kinds(table, names, spec) if spec.input.has_features else {}
    notes = (
        *raw.notes,
        *of_reading,
        *answer.notes(table[answer.column].to_pylist()),
        *_feature_notes(raw, table, names, features),
    )
    own = names.get(answer.column)
    declared = column_of(raw, own).class_names if own else None
    label_names = tuple(answer.declared(declared)) if declared is not None else None
    return CanonicalRows(table, label_names, features, *_counted(left_out), notes)


def _canonical_examples(raw: RawSplit, spec: RowSpec, source: str, where: str) -> CanonicalRows:
    """Rows of language data in any known format; see `examples` for the columns they get."""
    import pyarrow as pa

    present = raw.table.column_names
    ours = {spec.columns.get(name, name): name for name in (*spec.columns, *spec.slices)}
    _assert_present({our: their for their, our in ours.items()}, present, where)
    columns: dict[str, Any] = {}
    for name in spec.drop_columns:
        if name not in present and name not in raw.left_out:
            raise _missing_dropped(name, present, where)
    for name in present:
        values = plain_values(raw.json.get(name, raw.as_written(name)), as_texts=True)
        named = raw.class_names.get(name)
        columns[ours.get(name, name)] = _named(values, named) if named else values
    dropped = {ours.get(name, name) for name in spec.drop_columns}
    seen = {name: values for name, values in columns.items() if name not in dropped}
    rows = (dict(zip(seen, cells, strict=True)) for cells in zip(*seen.values(), strict=True))
    found = canonical_examples(list(rows), where)
    reasons = [one if isinstance(one, str) else None for one in found]
    made: dict[str, Any] = {
        name: pa.array([None if isinstance(one, str) else one[name] for one in found], pa.string())
        for name in EXAMPLE_COLUMNS
    }
    made |= {name: _slice_values(columns[name]) for name in spec.slices}
    table, left_out = _kept(pa.table(made), reasons, spec, where)
    table = _with_provenance(table, spec, source)
    notes = turn_notes(example_of(one) for one in found if not isinstance(one, str))
    return CanonicalRows(table, None, {}, *_counted(left_out), (*raw.notes, *notes))


def _named(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Numbers of classes as the names of the classes; what is no such number as it is."""
    numbers = range(len(names))
    return [names[v] if isinstance(v, int) and v in numbers else v for v in values]


def _slice_values(values: Sequence[Any]) -> Any:
    """The values of a slice in the type that they share, or as texts."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if v is None else str(v) for v in values], pa.string())


def _mapped_columns(raw: RawSplit, spec: RowSpec, where: str) -> dict[str, str]:
    """Our column -> theirs, for every column that is kept."""
    present: Sequence[str] = raw.table.column_names
    twice = [name for name, count in Counter(present).items() if count > 1]
    if twice:
        do = "Give each column a name of its own."
        raise DataError("Two columns have the same name.", where=where, got=twice[0], do=do)
    ours = [*spec.kinds, *(name for name in spec.slices if name not in spec.kinds)]
    if spec.matches:
        number = spec.answer.column
        negative, numbered = matched_columns(spec.columns, number, present, where)
        ours += [NEGATIVE] if negative else []
        ours = ours if numbered else [name for name in ours if name != number]
    taken = {name: spec.columns.get(name, name) for name in ours}
    renamed = {name: theirs for name, theirs in spec.columns.items() if name not in taken}
    if renamed and not spec.input.has_features:
        raise _changes_nothing(f"columns: {next(iter(renamed))}", where, ours)
    taken |= renamed
    if raw.media and raw.media.keys() == set(present) and len(taken) > 1:
        medium, answer = next(iter(raw.media.values())), spec.answer.column
        raise DataError(
            f"The {medium.plural} have no {spec.answer.plural}.",
            where=where,
            got=f"{medium.plural} alone",
            do="Put them into folders named by label, two or more, all equally deep, as in "
            f"train/cat/{medium.example}; or list them in a file metadata.csv beside them, with "
            f"the columns file_name and {answer}.",
        )
    _assert_present(taken, present, where)
    if spec.input.has_features:
        used = {*taken.values(), *taken}
        taken |= {name: name for name in present if name not in used and name[:1] != "_"}
        _assert_no_other_answer(taken, spec, where)
    return _without_dropped(taken, raw, spec, where)


def _assert_no_other_answer(taken: Mapping[str, str], spec: RowSpec, where: str) -> None:
    """A feature that is called as an answer is called is often the answer itself, written again."""
    others = [name for name in taken if is_answer(name) and name not in spec.kinds]
    if others and others[0] not in spec.drop_columns:
        name = others[0]
        raise DataError(
            f"A feature is called {name}, which is what an answer is called.",
            where=where,
            got=f"the column {taken[name]!r} beside {spec.answer.column}",
            do=f"If it says the answer again, leave it out: drop_columns: [{taken[name]}]; if not, "
            f"give it a name of its own: columns: {{{name}_value: {taken[name]}}}.",
        )


def _without_dropped(
    taken: dict[str, str], raw: RawSplit, spec: RowSpec, where: str
) -> dict[str, str]:
    present = raw.table.column_names
    for name in (name for name in spec.drop_columns if name not in raw.left_out):
        if name not in present:
            raise _missing_dropped(name, present, where)
        ours = [our for our, theirs in taken.items() if theirs == name]
        if not ours:
            raise _changes_nothing(f"drop_columns: {name}", where, sorted(taken))
        if ours[0] in spec.kinds:
            raise DataError(
                f"drop_columns removes a column that is needed: {name}.",
                where=where,
                got=f"{name} is the task's {ours[0]}",
                do="Take it out of drop_columns.",
            )
        del taken[ours[0]]
        if ours[0] in spec.slices:  # only a table's model would have seen it
            taken[unseen(ours[0]) if spec.input.has_features else ours[0]] = name
    return taken


def _column(raw: RawSplit, name: str, kind: str, where: str, notes: list[str]) -> Any:
    column = replace(as_input(raw, name), notes=notes)
    if name in raw.class_names:
        column = Column(class_names(column.values, raw.class_names[name], where))
    return load_input(kind).read(column, where)


def as_input(raw: RawSplit, name: str) -> Column:
    """A column as an input reads it."""
    gap_words = GAP_WORDS if raw.untyped else frozenset()
    return Column(raw.table[name], written=raw.written.get(name), gap_words=gap_words)


def _words(
    raw: RawSplit, names: Mapping[str, str], spec: RowSpec, where: str
) -> list[list[str] | None] | None:
    """The lists of words in the column that has them; None for a task without such a column."""
    import pyarrow as pa

    ours = next((name for name, kind in spec.kinds.items() if kind == WORDS), None)
    if ours is None:
        return None
    column = raw.table[names[ours]]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        kind = column.type.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found: list[list[str] | None] = column.to_pylist()
            return [
                None if tokens is None else ["" if one is None else one for one in tokens]
                for tokens in found
            ]
    raise DataError(
        "The column holds no lists of words.",
        where=f"{where}, column {names[ours]}",
        got=str(column.type),
        do=f"Write a list of texts per row, one for each word: columns: {{{ours}: ...}}.",
    )


def _joined(words: Sequence[Sequence[str] | None]) -> Any:
    """The text of each row of words; null where there is none."""
    import pyarrow as pa

    return pa.array([joined(tokens or ()) or None for tokens in words], pa.string())


def _with_text(table: "pa.Table", spec: RowSpec) -> "pa.Table":
    """The table with its words in the column `text`, as every text is."""
    names = ["text" if spec.kinds.get(name) == WORDS else name for name in table.column_names]
    return table.rename_columns(names)


def own_cells(row: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """A canonical row with the cells that a dataset's columns hold: what reading undoes.

    `kinds` are those of the row's task.
    """
    cells = dict(row)
    for name, kind in kinds.items():
        if kind == WORDS and "text" in cells:
            cells[name] = words_of(cells.pop("text"))
        elif kind in ANSWERS and name in cells:
            cells[name] = load_answer(kind).cell(cells[name])
    return cells


def column_of(raw: RawSplit, name: str) -> Column:
    """A column as an answer reads it."""
    return Column(
        _mixed_names(raw, name),
        raw.class_names.get(name) or raw.list_names.get(name),
        raw.written.get(name),
    )


def _mixed_names(raw: RawSplit, name: str) -> Any:
    """A column, or if JSON files hold values of several kinds in it, the name of each."""
    import pyarrow as pa

    column = raw.json.get(name, raw.table[name])
    if not holds_json(column.type):
        return column
    cells = plain_values(column)
    lists = [cell for cell in cells if isinstance(cell, list)]
    plain = [one for cell in cells for one in (cell if isinstance(cell, list) else [cell])]
    if any(isinstance(one, list | Mapping) for one in plain):
        return raw.table[name]
    if not lists:
        return pa.array([None if v is None else plain_label(v) for v in cells], pa.string())
    if len(lists) < sum(cell is not None for cell in cells):
        return raw.table[name]
    names = [c and [None if v is None else plain_label(v) for v in c] for c in cells]
    return pa.array(names, pa.list_(pa.string()))


def _kept(
    table: "pa.Table", reasons: Sequence[str | None], spec: RowSpec, where: str
) -> tuple["pa.Table", list[tuple[int, str]]]:
    """The rows without a reason to leave them out, and which others there are."""
    import pyarrow as pa

    broken = [(number, reason) for number, reason in enumerate(reasons, start=1) if reason]
    if broken and not spec.clean:
        number, reason = broken[0]
        raise DataError(
            f"A row cannot be used: {reason}.",
            where=f"{where}, row {number}",
            got="1 such row" if len(broken) == 1 else f"{len(broken):,} such rows",
            do="Correct the rows, or set prepare.clean to true to leave them out.",
        )
    numbers = pa.array(range(1, table.num_rows + 1), pa.int64())
    table = table.append_column(ROW_NUMBER, numbers)
    kept = table.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
    if kept.num_rows == 0:
        rows = "1 row" if len(broken) == 1 else f"{len(broken):,} rows"
        got = f"{rows}: {reasons_text(_counted(broken)[0])}"
        do = "Check columns: in the recipe, and the rows themselves."
        raise DataError("No row is left after cleaning.", where=where, got=got, do=do)
    return kept, broken


def _counted(left_out: Sequence[tuple[int, str]]) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """How often there was which reason, and the first rows."""
    losses = Losses()
    for number, reason in left_out:
        losses.add(number, reason)
    return dict(losses.reasons), [(number or 0, reason) for number, reason in losses.first]


def _reasons(table: "pa.Table", spec: RowSpec) -> list[str | None]:
    """Per row, why it cannot be used; None for a good one."""
    reasons: list[str | None] = [None] * table.num_rows
    for name, kind in spec.kinds.items():
        for number, value in enumerate(table[name].to_pylist()):
            if reasons[number] is not None:
                continue
            if value is None:
                reasons[number] = f"no {name}"
            elif kind in ANSWERS:
                reasons[number] = next(iter(load_answer(kind).faults(value)), None)
            else:
                shown = load_input("text" if kind == WORDS else kind)
                reasons[number] = shown.fault(value, max_pixels=spec.max_pixels)
    return reasons


def _with_provenance(table: "pa.Table", spec: RowSpec, source: str) -> "pa.Table":
    import pyarrow as pa

    table = table.append_column(SOURCE, pa.array([source] * table.num_rows, pa.string()))
    return with_row_ids(table, spec.modality)


def _feature_kinds(table: "pa.Table", names: Mapping[str, str], spec: RowSpec) -> dict[str, str]:
    import pyarrow as pa

    kinds = {}
    for name in names:
        if name in spec.kinds or not is_feature(name):
            continue
        kind = table.schema.field(name).type
        word = "boolean" if pa.types.is_boolean(kind) else "number"
        if pa.types.is_string(kind):
            word = "date" if holds_dates(table[name].to_pylist()) else "category"
        kinds[name] = word
    return kinds


def _feature_notes(
    raw: RawSplit, table: "pa.Table", names: Mapping[str, str], features: Mapping[str, str]
) -> Iterator[str]:
    """What is odd about a table's features: numbers that are read as categories, a row counter."""
    for name, kind in features.items():
        own = names[name]
        seen = odd_numbers(raw.table[own]) if kind == "category" else ""
        if kind == "number" and own in raw.written:
            yield from _zero_notes(own, raw.written[own])
        if seen:
            yield f"the column {own!r} {seen}"
        elif kind == "category":
            yield from _category_notes(own, table[name])
        endless = _infinite(raw.table[own]) if kind == "number" else 0
        if endless:
            yield f"the column {own!r} is infinite in {endless:,} rows: they are gaps"
    for name in counted_columns(raw.table.select([names[name] for name in features])):
        yield (
            f"the column {name!r} counts the rows one by one; if it says nothing of them, name it "
            "in drop_columns"
        )


def _zero_notes(name: str, written: Any) -> Iterator[str]:
    """Numbers that lose the zeros they begin with."""
    first = first_with_zeros(written)
    if first is not None:
        yield (
            f"the column {name!r} holds numbers that begin with zeros, as {first}, which is read "
            f"as {int(first)}; if they are codes, put a letter before them, or give the column as "
            "a string: in a parquet file, or in the dataset_info of the card"
        )


def _category_notes(name: str, column: Any) -> Iterator[str]:
    """Categories that hardly repeat, and those that differ only in case."""
    day = unread_dates(column.to_pylist())
    if day is not None:
        yield (
            f"the column {name!r} holds dates in a way that can be misread ({day!r:.40}): it is "
            f"read as categories; write them as {A_DAY}"
        )
        return
    counts = Counter(value for value in column.to_pylist() if value is not None)
    if counts.total() >= MIN_CATEGORIES and holds_texts(list(counts.elements())):
        yield f"the column {name!r} holds texts, of which the model sees how often each word comes"
        return
    if counts.total() >= MIN_CATEGORIES and len(counts) > counts.total() / 2:
        yield (
            f"the column {name!r} has {len(counts):,} different texts in {counts.total():,} rows, "
            f"as {min(counts)!r:.40}: categories that hardly repeat teach nothing, so write them "
            "as numbers, or name the column in drop_columns"
        )
        return
    for group in alike_labels(counts)[:1]:
        alike = ", ".join(f"{one!r} ({counts[one]:,} rows)" for one in group)
        yield f"the column {name!r} holds {alike}, which are different categories"


def _infinite(column: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    floats = pa.types.is_floating(column.type)
    return int(pc.sum(pc.is_inf(column)).as_py() or 0) if floats else 0


def _assert_present(wanted: Mapping[str, str], present: Sequence[str], where: str) -> None:
    missing = {name: theirs for name, theirs in wanted.items() if theirs not in present}
    if not missing:
        return
    name, theirs = next(iter(missing.items()))
    alike = {one.strip().casefold(): one for one in present}
    guess = ", ".join(
        f"{our}: {_quoted(alike.get(their.casefold(), '<one of them>'))}"
        for our, their in missing.items()
    )
    close = "" if theirs.casefold() in alike else nearest(theirs, present)
    raise DataError(
        f"The dataset has no column {theirs!r} for {name}.",
        where=where,
        got=f"columns {', '.join(present)}",
        do=f"Name it in the recipe: columns: {{{guess}}}"
        + (_of_header(present) or close and f".{close}"),
    )


def _of_header(present: Sequence[str]) -> str:
    """What the card may lack where the columns look as no header does."""
    if len(present) == 1 and re.search(r"[^\w-]", present[0].strip()):
        return "; or, if that is a whole line, its separator in the card: sep"
    if any(NAMELESS.match(name) for name in present):
        return "; or, if the header is a later line, how many come before it in the card: skiprows"
    return ""


def _quoted(name: str) -> str:
    """A name as YAML keeps it: white space at its ends counts only between quotes."""
    return name if name == name.strip() else f'"{name}"'


def _missing_dropped(name: str, present: Sequence[str], where: str) -> DataError:
    return DataError(
        f"drop_columns names a column that the dataset does not have: {name}.",
        where=where,
        got=f"columns {', '.join(present)}",
        do="Correct the name, or take it out.",
    )


def _changes_nothing(key: str, where: str, kept: Sequence[str]) -> DataError:
    return DataError(
        f"{key} changes nothing.",
        where=where,
        got=f"only {', '.join(kept)} are kept",
        do="Correct it to one of these, or take it out.",
    )
