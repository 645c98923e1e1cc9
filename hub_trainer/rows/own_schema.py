"""A contributor's rows in the dataset's own schema: its columns, types and label numbers."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.answers.label import label_texts
from hub_trainer.answers.label_names import is_alike, nearest_told, plain_label
from hub_trainer.answers.labels import cells_of_text, split_cells
from hub_trainer.errors import CellsRefused, DataError
from hub_trainer.inputs import load_input
from hub_trainer.inputs.dates import EXAMPLE, read_date
from hub_trainer.inputs.media import medium_of_feature
from hub_trainer.rows import Limits, RawSplit, read_card, read_split, vet_folder
from hub_trainer.rows.canonical import as_input, column_of
from hub_trainer.rows.card import card_configs
from hub_trainer.rows.column_guesses import infer_spec
from hub_trainer.rows.counters import counted_columns, id_columns
from hub_trainer.rows.csv_files import GAP_WORDS, CsvFile, CsvSettings
from hub_trainer.rows.formats import detect_format
from hub_trainer.rows.layout import open_builder, reader_of
from hub_trainer.rows.nested import fitted, holds_json
from hub_trainer.rows.written import json_text, plain_values

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {"parquet": "parquet", "csv": "csv", "json": "jsonl"}
"""Reader of a dataset -> suffix of the file of rows that joins it."""
MAX_LISTED = 20
MAX_MISFITS = 3
"""Cells of one column that are named."""
SETS = ("optional", "categories", "dates")
"""Fields of a schema that are sets of columns."""
SAMPLE_ROWS = 1000
"""Rows of the dataset from which its own columns are told."""


@dataclass(frozen=True)
class OwnSchema:
    """What the rows of a dataset look like, as `datasets` describes it."""

    features: Mapping[str, Any]
    """`datasets.Features.to_dict()`"""
    label: str | None = None
    """The column of plain labels, if there is one; their white space does not count."""
    optional: frozenset[str] = frozenset()
    """Columns that may be empty: a file without them leaves them so."""
    separator: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    """The decimal sign in its CSV files."""
    dates: frozenset[str] = frozenset()
    """Columns of texts that are all dates."""
    categories: frozenset[str] = frozenset()
    """Columns of texts in which a word such as NA is a gap, where a file of plain text has one."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.features)

    def label_names(self, column: str) -> list[str] | None:
        """Names of a column's classes; None for plain values."""
        entry = self.features[column]
        is_class = isinstance(entry, dict) and entry.get("_type") == "ClassLabel"
        return list(entry["names"]) if is_class else None

    def list_names(self, column: str) -> list[str] | None:
        """Names of the classes in a column's lists; None where it holds no such lists."""
        entry = self.features[column]
        inner = entry.get("feature") if isinstance(entry, dict) else None
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            return list(inner["names"])
        return None

    def names_in(self, column: str) -> list[str] | None:
        """Names of a column's classes, be they alone or in lists; None for plain values."""
        return self.label_names(column) or self.list_names(column)

    def holds_files(self, column: str) -> bool:
        """Whether a column holds encoded files: pictures or sounds."""
        entry = self.features[column]
        if not isinstance(entry, dict):
            return False
        declared = medium_of_feature(str(entry.get("_type"))) is not None
        return declared or entry.keys() == {"bytes", "path"}

    def to_json(self) -> dict[str, Any]:
        """As arguments of a call into a child."""
        sets = {name: sorted(getattr(self, name)) for name in SETS}
        return {**asdict(self), **sets}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "OwnSchema":
        """From the answer of `describe_folder`."""
        sets = {name: frozenset(content.get(name, ())) for name in SETS}
        return cls(**{**content, **sets})


def describe_folder(folder: str, split: str) -> dict[str, Any]:
    """What the rows of a split look like, for a sandboxed child; `OwnSchema.from_json` reads it."""
    path = Path(folder).resolve()
    vet_folder(path, where="the dataset")
    raw = read_split(path, split=f"{split}[:{SAMPLE_ROWS}]", where="the dataset")
    with open_builder(path, where="the dataset") as builder:
        reader = reader_of(builder, where="the dataset")
        features, csv = _features(builder, raw, split, reader), builder.config
        file = Path(builder.config.data_files[split][0])
    label, needed = _needed(raw)
    empty = {name for name in raw.table.column_names if raw.table[name].null_count}
    # A number of the row says nothing of it, and who brings rows cannot know how far it has come.
    counted = {*counted_columns(raw.table), *id_columns(raw.table)}
    answer = {
        "features": features.to_dict(),
        "label": label,
        "optional": sorted(({*features} - needed) | ((empty | counted) - {label})),
        "categories": sorted(_categories(raw, label)),
        "dates": sorted(_dates(raw, label)),
    }
    if reader == "csv":
        settings = CsvSettings.of(csv, card_configs(read_card(path)).get(raw.config, {}))
        own = CsvFile(file, settings, Limits(), where="the dataset").settings
        answer |= {"separator": own.sep, "encoding": settings.encoding or "utf-8"}
        answer["decimal"] = raw.decimal
    return answer


def _features(builder: Any, raw: RawSplit, split: str, reader: str) -> Any:
    """The columns as `datasets` types them; those of a CSV as we read them, a row counter too."""
    import datasets
    import pyarrow as pa

    if reader == "csv" and not (builder.info.features or builder.config.features):
        kinds = {
            f.name: pa.string() if pa.types.is_null(f.type) else f.type for f in raw.table.schema
        }
        kinds = dict.fromkeys(raw.left_out, pa.int64()) | kinds
        return datasets.Features.from_arrow_schema(pa.schema(list(kinds.items())))
    stream = builder.as_streaming_dataset(split=split)
    if stream.features is not None:
        return stream.features
    table = next(iter(stream.with_format("arrow").iter(batch_size=SAMPLE_ROWS)))
    return datasets.Features.from_arrow_schema(table.schema)


def _needed(raw: RawSplit) -> tuple[str | None, set[str]]:
    """The column of labels, and the columns without which a row is none."""
    columns = set(raw.table.column_names)
    try:
        spec = infer_spec(raw)
    except DataError:
        return None, columns
    if spec.input.has_formats:
        return None, set(detect_format(raw.table.column_names).columns)
    label = spec.columns.get(spec.answer.column, spec.answer.column)
    if spec.input.has_features:
        return label, columns
    return label, {spec.columns.get(name, name) for name in spec.kinds}


def _dates(raw: RawSplit, label: str | None) -> set[str]:
    """Columns of texts of which each is a date."""
    found = set()
    for name in raw.table.column_names:
        known = raw.table[name].drop_null().to_pylist() if name != label else []
        if known and all(isinstance(one, str) and read_date(one) for one in known):
            found.add(name)
    return found


def _categories(raw: RawSplit, label: str | None) -> set[str]:
    """Features of a table that are texts, none of which is a word for a gap.

    Where no column can be told to be the label, only those with gaps.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if not infer_spec(raw).input.has_features:
            return set()
    except DataError:
        label = None
    words = pa.array(sorted(GAP_WORDS), pa.string())
    return {
        field.name
        for field in raw.table.schema
        if pa.types.is_string(field.type)
        and field.name != label
        and (label is not None or raw.table[field.name].null_count)
        and (raw.untyped or not pc.any(pc.is_in(raw.table[field.name], words)).as_py())
    }


def in_own_schema(
    raw: RawSplit,
    schema: OwnSchema,
    columns: Mapping[str, str],
    *,
    where: str,
    optional: Sequence[str] = (),
) -> "pa.Table":
    """The rows with exactly the dataset's columns; `columns` maps its names to the file's.

    `optional` columns that the file does not have are null.

    Raises DataError for a missing column, an unknown label, or values of another type; the first
    of `schema_faults`.
    """
    faults, table = schema_faults(raw, schema, columns, where=where, optional=optional)
    if faults or table is None:
        raise faults[0]
    return table


def schema_faults(
    raw: RawSplit,
    schema: OwnSchema,
    columns: Mapping[str, str],
    *,
    where: str,
    optional: Sequence[str] = (),
) -> tuple[list[DataError], "pa.Table | None"]:
    """Every column that cannot be as the dataset has it; the rows in its schema if all can."""
    import pyarrow as pa

    present = raw.table.column_names
    names = {name: columns.get(name) or _named_alike(name, present) for name in schema.columns}
    absent = {
        name for name, theirs in names.items()
        if theirs not in present
        and (name in optional or (name in schema.optional and name not in columns))
    }  # fmt: skip
    missing = [
        theirs for name, theirs in names.items() if theirs not in present and name not in absent
    ]
    faults: list[DataError] = [_missing(missing, present, where)] if missing else []
    arrow_schema, arrays = _arrow_schema(schema), []
    for name, theirs in names.items():
        kind = arrow_schema.field(name).type
        try:
            if theirs in present:
                arrays.append(_column(raw, theirs, schema, name, kind, where))
            elif name in absent:
                arrays.append(pa.nulls(raw.table.num_rows, kind))
        except DataError as error:
            faults.append(error)
    return faults, None if faults else pa.table(arrays, schema=arrow_schema)


def _named_alike(name: str, present: Sequence[str]) -> str:
    """The file's column of this name, whatever its case and white space."""
    alike = [other for other in present if other.strip().casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 and name not in present else name


def encode_table(table: "pa.Table", suffix: str, schema: OwnSchema, *, where: str) -> bytes:
    """The table as the bytes of one file of the dataset's format; the same rows, the same bytes.

    Raises DataError for a sign that the encoding of its CSV files does not have.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    out = io.BytesIO()
    if suffix == "parquet":
        pq.write_table(table, out, compression="zstd")
    elif suffix in ("csv", "tsv"):
        table = _with_decimal_sign(table, schema.decimal)
        pa.csv.write_csv(table, out, pa.csv.WriteOptions(delimiter=schema.separator))
        return _encoded(out.getvalue().decode(), table, schema.encoding, where)
    else:
        columns = [plain_values(table[name]) for name in table.column_names]
        for number, cells in enumerate(zip(*columns, strict=True), start=1):
            row = dict(zip(table.column_names, cells, strict=True))
            try:
                out.write(f"{json_text(row)}\n".encode())
            except TypeError as error:
                raise DataError(
                    "A row cannot be written as JSON, which the dataset's files are.",
                    where=f"{where}, row {number}",
                    got=str(error),
                    do="Write a text in place of that.",
                ) from None
    return out.getvalue()


def _with_decimal_sign(table: "pa.Table", sign: str) -> "pa.Table":
    """The table with fractions as texts that have this sign."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema if sign != "." else ()):
        if pa.types.is_floating(field.type):
            texts = pc.replace_substring(table[field.name].cast(pa.string()), ".", sign)
            table = table.set_column(place, field.name, texts)
    return table


def _encoded(text: str, table: "pa.Table", encoding: str, where: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        sign = text[error.start]
        rows = enumerate(table.to_pylist(), start=1)
        row = next((n for n, cells in rows if any(sign in str(c) for c in cells.values())), 0)
        raise DataError(
            f"The dataset's encoding, {encoding}, has no room for a character.",
            where=f"{where}, row {row}" if row else where,
            got=repr(sign),
            do="Write that otherwise, or ask the dataset's owner to save its files as UTF-8.",
        ) from None


def _arrow_schema(schema: OwnSchema) -> "pa.Schema":
    import datasets

    return datasets.Features.from_dict(dict(schema.features)).arrow_schema


def _column(raw: RawSplit, theirs: str, schema: OwnSchema, name: str, kind: Any, where: str) -> Any:
    import pyarrow as pa

    place = f"{where}, column {theirs}"
    column = raw.table[theirs].combine_chunks()
    known = schema.label_names(name)
    if known is not None:
        values = _named(column.to_pylist(), raw.class_names.get(theirs))
        if theirs in raw.written or theirs in raw.json:
            values = label_texts(column_of(raw, theirs)).to_pylist()
        return pa.array(_label_numbers(values, known, place), kind)
    if schema.holds_files(name):
        return _files(column, kind, place)
    lists = _lists(raw, theirs, schema.list_names(name), kind, place)
    if lists is not None:
        return lists
    if theirs in raw.class_names:
        column = pa.array(_named(column.to_pylist(), raw.class_names[theirs]), pa.string())
    elif name == schema.label and pa.types.is_string(kind):
        column = label_texts(column_of(raw, theirs))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = _texts(raw, theirs, schema, name, place)
    elif pa.types.is_nested(kind) or holds_json(kind):
        cells = raw.json.get(theirs, column)
        return column if column.type == kind else fitted(plain_values(cells), kind, where=place)
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        rows = _misfits(column, kind)
        raise CellsRefused(
            f"Column {theirs!r} cannot be written as the dataset has it.",
            rows=rows,
            where=place,
            got=_misfits_told(column, rows),
            do=f"The dataset's {name} is {kind}; write the values so.",
        ) from None


def _assert_dates(column: "pa.Array", name: str, where: str) -> None:
    """Raise CellsRefused for texts that cannot be read as a date."""
    texts = column.to_pylist()
    gaps = {None, "", *GAP_WORDS}
    odd = [
        n
        for n, one in enumerate(texts, start=1)
        if (one and one.strip()) not in gaps and read_date(one) is None
    ]
    if odd:
        raise CellsRefused(
            "A cell cannot be read as a date.",
            rows=odd,
            where=where,
            got=_misfits_told(column, odd),
            do=f"The dataset's {name} holds dates: write them as {EXAMPLE}.",
        )


def _texts(raw: RawSplit, theirs: str, schema: OwnSchema, name: str, where: str) -> Any:
    """Texts as written; of the categories of a file without types, words for a gap are null."""
    column = raw.as_written(theirs).combine_chunks()
    if name in schema.dates:
        _assert_dates(column, name, where)
    if name in schema.categories and raw.untyped:
        of_table = replace(as_input(raw, theirs), values=raw.as_written(theirs))
        return load_input("table").read(of_table, where).combine_chunks()
    return column


def _misfits(column: "pa.Array", kind: Any) -> list[int]:
    """Numbers of the rows, from 1, whose values are not of this kind."""
    import pyarrow as pa
    import pyarrow.compute as pc

    levelled, rows = column, []
    if pa.types.is_string(column.type) and not pa.types.is_string(kind):
        # A decimal comma is read where the whole column has numbers, so it is not what is wrong.
        levelled = pc.replace_substring(column, ",", ".")
    for row in range(len(column)):
        try:
            levelled.slice(row, 1).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            rows.append(row + 1)
    return rows


def _misfits_told(column: "pa.Array", rows: Sequence[int]) -> str:
    """The first values that do not fit, and how many more there are."""
    if not rows:
        return str(column.type)
    named = [f"{column[row - 1].as_py()!r:.80} in row {row:,}" for row in rows[:MAX_MISFITS]]
    more = len(rows) - len(named)
    told = f"{', '.join(named)}, {column.type}"
    return f"{told}; and {more:,} more cells" if more else told


def _lists(
    raw: RawSplit, theirs: str, known: Sequence[str] | None, kind: Any, where: str
) -> "pa.Array | None":
    """Lists of names as the dataset has them: class numbers, or JSON in cells of text.

    None for a column that holds no lists.
    """
    import pyarrow as pa

    # In the order in which they stand: the tags of words are lists too, and no sets.
    if known is not None:
        lists = named_lists(raw, theirs, where)
        rows = [row for row, names in enumerate(lists, start=1) for _ in names or ()]
        flat = [name for names in lists for name in names or ()]
        numbers = iter(_label_numbers(flat, known, where, rows))
        return pa.array([n and [next(numbers) for _ in n] for n in lists], kind)
    texts = pa.types.is_list(kind) and pa.types.is_string(kind.value_type)
    if texts and (theirs in raw.list_names or _is_text(raw, theirs)):
        return pa.array(named_lists(raw, theirs, where), kind)
    if pa.types.is_list(raw.table[theirs].type) and pa.types.is_string(kind):
        cells = raw.table[theirs].to_pylist()
        return pa.array([None if c is None else json.dumps(c, ensure_ascii=False) for c in cells])
    return None


def _is_text(raw: RawSplit, theirs: str) -> bool:
    """Whether cells are texts, as those of a CSV, which may hold lists."""
    return theirs not in raw.json and cells_of_text(column_of(raw, theirs)) is not None


def named_lists(raw: RawSplit, theirs: str, where: str) -> list[list[Any] | None]:
    """Lists of names, of names or class numbers in lists, or of names in cells of text."""
    cells = raw.table[theirs].to_pylist()
    if _is_text(raw, theirs):
        cells = cells_of_text(column_of(raw, theirs)) or []
        return [[plain_label(one) or "" for one in cell] for cell in split_cells(cells)]
    names = raw.list_names.get(theirs)
    if names is not None:
        outside = [
            (row, one)
            for row, cell in enumerate(cells, start=1)
            for one in cell or ()
            if one is not None and one >= len(names)
        ]
        if outside:
            highest = max(one for _, one in outside)
            raise CellsRefused(
                "A label is outside the file's own classes.",
                rows=[row for row, _ in outside],
                where=where,
                got=f"class {highest}, of {len(names)} classes",
                do="Correct the row, or the names of the classes.",
            )
    return [None if one is None else _named(one, names) for one in cells]


def _files(column: Any, kind: Any, where: str) -> Any:
    import pyarrow as pa

    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        do = "Give a folder of such files in folders named by label, or a parquet with their bytes."
        what = "The column holds no pictures or sounds."
        raise DataError(what, where=where, got=str(column.type), do=do)
    cells = [{"bytes": content, "path": None} for content in column.to_pylist()]
    return pa.array(cells, kind)


def _named(values: Sequence[Any], names: Sequence[str] | None) -> list[Any]:
    """Class numbers of the contributor's own file as names; other values as they are."""
    if names is None:
        return list(values)
    return [None if value is None or value < 0 else names[value] for value in values]


def _label_numbers(
    values: Sequence[Any], known: Sequence[str], where: str, rows: Sequence[int] | None = None
) -> list[int]:
    """The class of each value; `rows` says of which row it is, where that is not its place."""
    index = {name: number for number, name in enumerate(known)}
    numbers = [_label_number(value, index) for value in values]
    wrong: dict[Any, list[int]] = {}
    for place, (value, number) in enumerate(zip(values, numbers, strict=True)):
        if number is None:
            named = None if value is None else str(value)[:40]
            wrong.setdefault(named, []).append(rows[place] if rows else place + 1)
    if not wrong:
        return [number for number in numbers if number is not None]
    at_fault = sorted({row for found in wrong.values() for row in found})
    without = wrong.pop(None, [])
    if not wrong:
        raise CellsRefused(
            "Rows have no label.",
            rows=at_fault,
            where=where,
            got=_in_rows(without),
            do="Write their labels, or take them out.",
        )
    commonest = sorted(wrong, key=lambda name: -len(wrong[name]))[:5]
    # Beside the label, not in `do`, which review repeats in public.
    got = [f"{name!r} ({_in_rows(wrong[name])}{nearest_told(name, known)})" for name in commonest]
    got += [f"no label ({_in_rows(without)})"] if without else []
    listed = ", ".join(known[:MAX_LISTED]) + (", ..." if len(known) > MAX_LISTED else "")
    raise CellsRefused(
        "The dataset does not have these labels.",
        rows=at_fault,
        where=where,
        got=", ".join(got),
        do=f"Use its labels: {listed}. A new label is for the dataset's owner to add.",
    )


def _in_rows(rows: Sequence[int]) -> str:
    first = f"row {rows[0]:,}"
    return first if len(rows) == 1 else f"{len(rows):,} rows, the first {first}"


def known_labels(labels: Sequence[Any], known: Sequence[str], *, where: str) -> list[str]:
    """The dataset's names of labels. Raises DataError that lists them for others, or for none."""
    return [known[number] for number in _label_numbers(labels, known, where)]


def _label_number(value: Any, index: Mapping[str, int]) -> int | None:
    """By name; a whole number that is no name is taken as the dataset's own class number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, bool | float):
        return None
    name = str(value) if str(value) in index else plain_label(value)
    if name is not None and name in index:
        return index[name]
    alike = [number for known, number in index.items() if is_alike(known, str(value))]
    if len(alike) == 1:
        return alike[0]
    whole = name is not None and name.isascii() and name.isdigit() and int(name) < len(index)
    return int(name) if whole and name is not None else None


def _missing(missing: Sequence[str], present: Sequence[str], where: str) -> DataError:
    return DataError(
        f"The file lacks columns of the dataset: {', '.join(missing)}.",
        where=where,
        got=f"columns {', '.join(present)}",
        do="Rename the file's columns, or name them: --column dataset_column=file_column.",
    )
