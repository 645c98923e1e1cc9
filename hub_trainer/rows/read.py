"""One split of a dataset folder becomes a table in memory, under budgets, with no path followed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.answers.label_names import plain_label
from hub_trainer.errors import DataError
from hub_trainer.inputs.media import Medium, medium_of_column, medium_of_feature, medium_of_reader
from hub_trainer.rows.budget import assert_small_cells, check_files, under_budget
from hub_trainer.rows.card import assert_safe_card, card_configs, read_card
from hub_trainer.rows.counters import NAMELESS, without_counters
from hub_trainer.rows.csv_files import CsvFile, CsvSettings
from hub_trainer.rows.csv_types import as_declared, comma_columns, doubtful_points, with_types
from hub_trainer.rows.layout import (
    assert_known,
    choose_config,
    files_of,
    first_line,
    open_builder,
    reader_of,
)
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.media_folders import folder_rows
from hub_trainer.rows.splits import row_ranges, rows_needed, split_names
from hub_trainer.rows.written import PLAIN_SUFFIXES, JsonFiles, plain_values, with_plain_types

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 32_000_000
DATE = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$"
"""How Arrow writes a date as a text."""
READ_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError)
"""What the readers raise for files that are broken; Arrow's own errors are among them."""


@dataclass(frozen=True)
class RawSplit:
    """A split as its publisher wrote it: class numbers not yet named, pictures and sounds as
    the bytes of their files."""

    table: "pa.Table"
    config: str
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> names of its classes, for the columns that hold class numbers."""
    media: Mapping[str, Medium] = field(default_factory=dict)
    """Column -> the kind of file that it holds, as binary."""
    json: Mapping[str, Any] = field(default_factory=dict)
    """Columns of JSON as they are; in the table they are the texts that they show, unless the
    split was read as written."""
    written: Mapping[str, "pa.ChunkedArray"] = field(default_factory=dict)
    """Column -> its cells as the file writes them, for those of a CSV that were read as numbers."""
    untyped: bool = False
    """Whether the files say nothing of types, so that a word such as NA may stand for a gap."""
    loose: bool = False
    """Whether the structures of JSON files may hold any keys, as nothing declares their types."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that only count rows, and what was seen in each."""
    notes: tuple[str, ...] = ()
    """What a person should know of how the files were read."""
    list_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> names of classes, for columns that hold lists of class numbers."""
    decimal: str = "."
    """The decimal sign of the numbers in CSV files."""

    def as_written(self, name: str) -> "pa.ChunkedArray":
        """A column for a use that wants texts: None, 007 and 1.50 as the file has them."""
        return self.written.get(name, self.table[name])

    def taken(self, places: Sequence[int]) -> "RawSplit":
        """The rows at these places, from 0, and no others."""
        import pyarrow as pa

        indexes = pa.array(places, pa.int64())
        json = {name: column.take(indexes) for name, column in self.json.items()}
        written = {name: column.take(indexes) for name, column in self.written.items()}
        return replace(self, table=self.table.take(indexes), json=json, written=written)


@dataclass(frozen=True)
class _Folder:
    """A folder at hand: what is read from it, how, and what to call it in messages."""

    path: Path
    reader: str
    where: str
    limits: Limits
    csv: CsvSettings
    as_written: bool = False
    declared: bool = False
    """Whether the card says of which types the columns are."""
    notes: list[str] = field(default_factory=list)
    """What is seen while reading that a person should know."""
    separators: set[str] = field(default_factory=set)
    """What stands between the cells of the CSV files that were read."""

    @property
    def medium(self) -> Medium | None:
        """The kind of file of which it is a folder; None for files of rows."""
        return medium_of_reader(self.reader)


def read_split(
    folder: Path,
    *,
    config: str | None = None,
    split: str = "train",
    where: str | None = None,
    limits: Limits | None = None,
    as_written: bool = False,
) -> RawSplit:
    """Read a split, or a slice or sum of splits, of a dataset folder that came from a stranger.

    `as_written` keeps the cells of JSON files as their authors wrote them, for language data:
    its columns have no one type. The cells of a CSV are kept in either case.
    """
    path = folder.resolve()
    where = where or f"{folder.name}, split {split}"
    vet_folder(path, where=where)
    card = read_card(path, where=where)
    config = choose_config(card, config, where=where)
    with open_builder(path, where=where, config=config) as builder:
        reader = reader_of(builder, where=where)
        said = card_configs(card).get(config, {})
        settings = CsvSettings.of(builder.config, said) if reader == "csv" else CsvSettings()
        declared = bool(builder.info.features or builder.config.features)
        limits = limits or Limits()
        source = _Folder(path, reader, where, limits, settings, as_written, declared)
        names = split_names(split, where=where)
        files = files_of(builder, path)
        assert_known(names, list(files), "split", where=where)
        paths = [path / file for name in names for file in files[name]]
        check_files(paths, source.reader, source.limits, where=where)
        for name in names:
            _assert_same_columns([path / file for file in files[name]], source)
        _size_batches(builder, source.reader, paths)
        parts = {}
        for name in names:
            try:
                parts[name] = _read_one(builder, name, rows_needed(split), source)
            except READ_ERRORS as error:
                raise _unreadable(builder, name, files[name], source, error) from error
    table = _sliced({name: part[0] for name, part in parts.items()}, split, where)
    if reader == "csv" and not any(part[0].num_rows for part in parts.values()):
        columns, do = ", ".join(table.column_names), "Write its rows below the header."
        what = "The file has a header and no rows."
        raise DataError(what, where=where, got=f"columns {columns}", do=do)
    if table.num_rows == 0:
        do = "Name a split that has rows, or check the slice."
        raise DataError("The split has no rows.", where=where, got=f"split {split}", do=do)
    features = next((part[1] for part in parts.values() if part[1]), {})
    return _raw(table, features, config, source)


def vet_folder(folder: Path, *, where: str) -> None:
    """Refuse what must not be in a folder of data: links, and a card that points outside."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            name = path.relative_to(folder).as_posix()
            do = "Commit the file itself in place of the link."
            raise DataError("The dataset holds a symbolic link.", where=where, got=name, do=do)
    if (folder / ".huggingface.yaml").exists():
        do = "Move its settings into the card and remove it."
        raise DataError("The dataset holds settings outside its card.", where=where, do=do)
    assert_safe_card(read_card(folder, where=where), where=where)


def _size_batches(builder: Any, reader: str, paths: Sequence[Path]) -> None:
    """Batches of about BATCH_BYTES, so that photographs do not arrive by the thousand."""
    if reader != "parquet":
        return
    import pyarrow.parquet as pq

    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    size = sum(path.stat().st_size for path in paths)
    builder.config.batch_size = max(1, min(10_000, BATCH_BYTES * max(rows, 1) // max(size, 1)))


def _read_one(
    builder: Any, name: str, needed: int | None, source: _Folder
) -> tuple["pa.Table", dict[str, Any]]:
    """One split in full, or as many rows from its start as are needed, and its features."""
    plain = _json_files(builder, name, source)
    if plain is not None and source.as_written:
        return plain.table(needed), dict(builder.config.features or {})
    if source.medium is not None:
        found = folder_rows(
            builder.config,
            name,
            source.medium,
            source.limits,
            where=source.where,
            declared=dict(builder.info.features or {}) if source.declared else {},
        )
        if found is not None:
            source.notes.extend(found.notes)
            list(under_budget([found.table], source.where, source.limits))
            return found.table, found.features
    try:
        joined, features = _read_typed(builder, name, needed, source)
    except READ_ERRORS:
        # The reader fits all JSON files to the first one's types; cell by cell they may be read.
        if plain is None or source.declared:
            raise
        return with_plain_types(plain.table(needed), where=source.where), {}
    if plain is not None and source.declared:
        return _with_dates_as_written(joined, plain, needed), features
    if plain is not None and (_has_dates(joined) or joined.num_rows <= len(plain.paths)):
        # Where a file was read as one row, its rows may be the cells of that.
        read = plain.table(needed)
        if _has_dates(joined) or read.num_rows > joined.num_rows:
            return with_plain_types(read, where=source.where), {}
    return joined, features


def _read_typed(
    builder: Any, name: str, needed: int | None, source: _Folder
) -> tuple["pa.Table", dict[str, Any]]:
    """A split in the types that its reader gives it."""
    import pyarrow as pa

    found, features = _stream(builder, name, source)
    tables: list[pa.Table] = []
    try:
        for table in under_budget(found, source.where, source.limits):
            table.validate(full=True)
            tables.append(table)
            if needed is not None and sum(t.num_rows for t in tables) >= needed:
                break
        joined = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except READ_ERRORS:
        # The reader fits all files to the first one's types; Arrow may find some that fit all.
        if source.reader != "parquet" or source.declared:
            raise
        joined = _joined_parquet(builder, name, source)
    return joined, features


def _stream(
    builder: Any, name: str, source: _Folder
) -> tuple[Iterator["pa.Table"], dict[str, Any]]:
    if source.reader == "csv":
        features = dict(builder.info.features or builder.config.features or {})
        return _csv_tables(
            [Path(path) for path in builder.config.data_files[name]], source
        ), features
    stream = builder.as_streaming_dataset(split=name)
    features = dict(stream.features or {})
    stream = stream.decode(False) if features else stream
    return stream.with_format("arrow").iter(batch_size=10_000), features


def _joined_parquet(builder: Any, name: str, source: _Folder) -> "pa.Table":
    """The rows of parquet files whose columns differ in type, as whole numbers and fractions do.

    Raises Arrow's error, which names the column, where the types have nothing in common.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = (pq.ParquetFile(Path(path)).read() for path in builder.config.data_files[name])
    tables = []
    for table in under_budget(files, source.where, source.limits):
        table.validate(full=True)
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables, promote_options="permissive")


def _has_dates(table: "pa.Table") -> bool:
    """Whether the reader took texts for dates: JSON has none."""
    return any("timestamp" in str(field.type) for field in table.schema)


def _with_dates_as_written(table: "pa.Table", files: JsonFiles, needed: int | None) -> "pa.Table":
    """The table with texts as they are written that were taken for dates, and then for texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dated = [
        name
        for name in table.column_names
        if pa.types.is_string(table[name].type)
        and table[name].null_count < table.num_rows
        and pc.all(pc.match_substring_regex(table[name], DATE)).as_py()
    ]
    if not dated:
        return table
    read = files.table(needed)
    for name in dated if read.num_rows == table.num_rows else ():
        texts = [None if v is None else str(v) for v in plain_values(read[name])]
        place = table.column_names.index(name)
        table = table.set_column(place, table.field(name), pa.array(texts, pa.string()))
    return table


def _json_files(builder: Any, name: str, source: _Folder) -> JsonFiles | None:
    """The files of a split as JSON, each cell by itself; None for files of another kind."""
    paths = [Path(path) for path in builder.config.data_files[name]]
    if source.reader != "json" or not all(path.suffix in PLAIN_SUFFIXES for path in paths):
        return None
    return JsonFiles(
        paths, builder.config.encoding, builder.config.field, source.where, source.limits
    )


def _csv_tables(paths: Sequence[Path], source: _Folder) -> Iterator["pa.Table"]:
    """The rows of CSV files that have the same columns, in whatever order."""
    first: CsvFile | None = None
    for path in paths:
        file = CsvFile(path, source.csv, source.limits, where=source.where)
        first = first or file
        source.separators.add(file.settings.sep)
        _assert_same((first.path, first.names), (path, file.names), source.where)
        yield from file.tables()
        if file.short_rows:
            source.notes.append(
                f"{path.name}: {len(file.short_rows):,} "
                f"{'row has' if len(file.short_rows) == 1 else 'rows have'} fewer cells than the "
                f"header, the first in row {file.short_rows[0]:,}; the cells they lack are empty"
            )


def _assert_same_columns(paths: Sequence[Path], source: _Folder) -> None:
    """Refuse a parquet file that has other columns than the first of its split."""
    if source.reader != "parquet":
        return
    import pyarrow.parquet as pq

    first = pq.read_schema(paths[0]).names
    twice = sorted({name for name in first if first.count(name) > 1})
    if twice:
        where, do = f"{source.where}: {paths[0].name}", "Give each column a name of its own."
        raise DataError("Two columns have the same name.", where=where, got=twice[0], do=do)
    for path in paths[1:]:
        _assert_same((paths[0], first), (path, pq.read_schema(path).names), source.where)


def _assert_same(
    first: tuple[Path, Sequence[str]], other: tuple[Path, Sequence[str]], where: str
) -> None:
    ours, theirs = (
        {name for name in names if not NAMELESS.match(name)} for _, names in (first, other)
    )
    faults = [f"lacks {', '.join(sorted(ours - theirs))}"] if ours - theirs else []
    faults += [f"has also {', '.join(sorted(theirs - ours))}"] if theirs - ours else []
    if faults:
        raise DataError(
            "A file has other columns than the first of its split.",
            where=f"{where}: {other[0].name}, beside {first[0].name}",
            got="; ".join(faults),
            do="Give all files the same columns, or list the files to read in the card's configs.",
        )


def _unreadable(
    builder: Any, name: str, files: Sequence[str], source: _Folder, error: Exception
) -> DataError:
    """The error with the file that is to blame: the first that cannot be read by itself."""
    where, do = source.where, "Check that all its rows have the same columns, of the same kinds."
    for file in files:
        builder.config.data_files = {name: [str(source.path / file)]}
        builder.info.features = builder.config.features
        try:
            _read_one(builder, name, None, source)
        except READ_ERRORS as own:
            told = _line_at_fault(builder, name, source)
            if told is not None:
                return told
            where, error = f"{source.where}: {file}", own
            do = "Correct this file: UTF-8, one row per line, and the same columns in each."
            if "file_name" in str(own):
                files = source.medium.plural if source.medium else "files"
                do = f"Name the {files} in its column file_name; the separator is a comma."
            break
    got = first_line(error, source.path)
    return DataError("The dataset cannot be read.", where=where, got=got, do=do)


def _line_at_fault(builder: Any, name: str, source: _Folder) -> DataError | None:
    """The error that names the line of a JSON file; None where it can be read cell by cell."""
    files = _json_files(builder, name, source)
    try:
        if files is not None:
            with_plain_types(files.table(None), where=source.where)
    except DataError as error:
        return error
    except READ_ERRORS:
        pass  # as the reader's own, which is told
    return None


def _sliced(tables: Mapping[str, "pa.Table"], split: str, where: str) -> "pa.Table":
    import pyarrow as pa

    lengths = {name: table.num_rows for name, table in tables.items()}
    pieces = [
        tables[name].slice(start, max(0, stop - start))
        for name, start, stop in row_ranges(split, lengths, where=where)
    ]
    return pa.concat_tables(pieces, promote_options="permissive").replace_schema_metadata(None)


def _raw(table: "pa.Table", features: Mapping[str, Any], config: str, source: _Folder) -> RawSplit:
    import datasets
    import pyarrow as pa

    written: Mapping[str, Any] = {}
    decimal = source.csv.decimal
    if source.reader == "csv":
        # A comma that also parts cells is more often one between thousands.
        guess = source.separators == {";"} and not source.csv.decimal_is_said
        commas = comma_columns(table, source.csv) if guess else {}
        if commas:
            decimal = ","
        elif guess:
            source.notes.extend(
                f"the column {name!r} holds {first!r} beside whole numbers: the point is read as a "
                "decimal one; if it stands between thousands, write the numbers without it, or let "
                'the card say thousands: "."'
                for name, first in doubtful_points(table, source.csv).items()
            )
        source.notes.extend(
            f"the column {name!r} holds numbers with a decimal comma, as {first!r}: they are read "
            "as numbers"
            if "," in first
            else f"the column {name!r} holds points between thousands, as {first!r}, as the file's "
            "decimal sign is a comma: they are read as whole numbers"
            for name, first in commas.items()
        )
        table, written = with_types(table, source.csv, commas)
        if features:
            table, written = as_declared(table, written, features, where=source.where), {}
    table, left_out = without_counters(table)
    kinds = {name: kind for name, kind in features.items() if name in table.column_names}
    media = {name: medium_of_feature(type(kind).__name__) for name, kind in kinds.items()}
    held = {name: medium for name, medium in media.items() if medium is not None}
    for field_ in table.schema:
        if field_.name not in held and not _is_file(field_.type):
            continue
        index = table.column_names.index(field_.name)
        contents = _file_bytes(table[field_.name], field_.name, source)
        table = table.set_column(index, field_.name, contents)
        held.setdefault(field_.name, medium_of_column({}, contents))
    assert_small_cells(table, source.limits, where=source.where)
    of_json = [field.name for field in table.schema if isinstance(field.type, pa.JsonType)]
    as_json = {name: table[name] for name in of_json}
    for name in of_json if not source.as_written else ():
        index = table.column_names.index(name)
        table = table.set_column(index, name, _plain_texts(table[name]))
    class_names = {
        name: _names_of(kind)
        for name, kind in kinds.items()
        if isinstance(kind, datasets.ClassLabel)
    }
    listed = {name: getattr(kind, "feature", None) for name, kind in kinds.items()}
    raw = RawSplit(table, config, class_names, held, as_json, left_out=left_out)
    return replace(
        raw,
        list_names={
            name: _names_of(kind)
            for name, kind in listed.items()
            if isinstance(kind, datasets.ClassLabel)
        },
        written=written,
        untyped=source.reader == "csv" and not features,
        loose=source.reader == "json" and not source.declared,
        decimal=decimal,
        notes=(
            *source.notes,
            *(f"the column {name!r} {why}: it is left out" for name, why in left_out.items()),
        ),
    )


def _names_of(classes: Any) -> tuple[str, ...]:
    """Names of classes, as labels are read: without white space around them."""
    return tuple(plain_label(name) or name for name in classes.names)


def _is_file(kind: Any) -> bool:
    """Whether cells are what `datasets` keeps of a picture or a sound, whatever the file says."""
    import pyarrow as pa

    fields = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    content = fields.get("bytes", pa.null())
    is_binary = pa.types.is_binary(content) or pa.types.is_large_binary(content)
    return fields.keys() == {"bytes", "path"} and is_binary


def _file_bytes(column: Any, name: str, source: _Folder) -> Any:
    """The encoded files themselves, of a table's own bytes or of files in a folder."""
    import pyarrow as pa

    contents = []
    for number, cell in enumerate(column.to_pylist(), start=1):
        content, path = (cell or {}).get("bytes"), (cell or {}).get("path")
        if content is None and path is not None:
            content = _file_inside(path, source, f"{source.where}, row {number}, column {name}")
        contents.append(content)
    return pa.array(contents, pa.large_binary())


def _plain_texts(column: Any) -> Any:
    """Cells of several kinds, which the JSON reader keeps as JSON, as the texts that they show."""
    import pyarrow as pa

    values = [None if cell is None else json.loads(cell) for cell in column.to_pylist()]
    return pa.array(
        [v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string()
    )


def _file_inside(path: str, source: _Folder, where: str) -> bytes:
    """The file that a folder lists. A row of a table may carry bytes only, never a path."""
    inside = source.medium is not None and "://" not in path
    if not inside or not Path(path).resolve().is_relative_to(source.path):
        raise DataError(
            "A picture or a sound is given by a path or an address, not by its bytes.",
            where=where,
            got=repr(path[:200]),
            do="Write the encoded file into the table: push_to_hub does so from a column of type "
            "Image or Audio.",
        )
    if not Path(path).is_file():
        got = Path(path).resolve().relative_to(source.path).as_posix()
        do = "Add the file, or take its row out of the metadata."
        raise DataError("A listed file is not there.", where=where, got=got, do=do)
    return Path(path).read_bytes()
