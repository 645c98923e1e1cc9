"""One split of a dataset folder becomes a table in memory, under budgets, with no path followed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.rows.budget import assert_small_cells, check_files, under_budget
from hub_trainer.rows.card import assert_safe_card, read_card
from hub_trainer.rows.layout import (
    assert_known,
    choose_config,
    files_of,
    first_line,
    open_builder,
    reader_of,
)
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.splits import row_ranges, rows_needed, split_names
from hub_trainer.rows.written import PLAIN_SUFFIXES, JsonFiles, keep_texts

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 32_000_000
READ_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError)
"""What the readers raise for files that are broken; Arrow's own errors are among them."""


@dataclass(frozen=True)
class RawSplit:
    """A split as its publisher wrote it: class numbers not yet named, images as encoded bytes."""

    table: "pa.Table"
    config: str
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> names of its classes, for the columns that hold class numbers."""
    images: frozenset[str] = frozenset()
    """Columns that hold encoded images, as binary."""
    json: Mapping[str, Any] = field(default_factory=dict)
    """Columns of JSON as they are; in the table they are the texts that they show, unless the
    split was read as written."""


@dataclass(frozen=True)
class _Folder:
    """A folder at hand: what is read from it, how, and what to call it in messages."""

    path: Path
    reader: str
    where: str
    limits: Limits
    as_written: bool = False


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

    `as_written` keeps the cells of CSV and JSON files as their authors wrote them, for language
    data: its columns have no one type.
    """
    path = folder.resolve()
    where = where or f"{folder.name}, split {split}"
    vet_folder(path, where=where)
    config = choose_config(read_card(path, where=where), config, where=where)
    with open_builder(path, where=where, config=config) as builder:
        source = _Folder(
            path, reader_of(builder, where=where), where, limits or Limits(), as_written
        )
        names = split_names(split, where=where)
        files = files_of(builder, path)
        assert_known(names, list(files), "split", where=where)
        paths = [path / file for name in names for file in files[name]]
        check_files(paths, source.reader, source.limits, where=where)
        _size_batches(builder, source.reader, paths)
        if as_written and source.reader == "csv":
            keep_texts(builder, paths[0])
        parts = {}
        for name in names:
            try:
                parts[name] = _read_one(builder, name, rows_needed(split), source)
            except READ_ERRORS as error:
                raise _unreadable(builder, name, files[name], source, error) from error
    table = _sliced({name: part[0] for name, part in parts.items()}, split, where)
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
    import pyarrow as pa

    if source.as_written and source.reader == "json":
        paths = [Path(path) for path in builder.config.data_files[name]]
        if all(path.suffix in PLAIN_SUFFIXES for path in paths):
            config = builder.config
            files = JsonFiles(paths, config.encoding, config.field, source.where, source.limits)
            return files.table(needed), dict(config.features or {})
    tables: list[pa.Table] = []
    stream = builder.as_streaming_dataset(split=name)
    features = dict(stream.features or {})
    stream = stream.decode(False) if features else stream
    for table in under_budget(stream, source.where, source.limits):
        tables.append(table)
        if needed is not None and sum(t.num_rows for t in tables) >= needed:
            break
    joined = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    return joined, features


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
            where, error = f"{source.where}: {file}", own
            do = "Correct this file: UTF-8, one row per line, and the same columns in each."
            break
    got = first_line(error, source.path)
    return DataError("The dataset cannot be read.", where=where, got=got, do=do)


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

    kinds = {name: kind for name, kind in features.items() if name in table.column_names}
    images = [name for name, kind in kinds.items() if isinstance(kind, datasets.Image)]
    for name in images:
        index = table.column_names.index(name)
        table = table.set_column(index, name, _image_bytes(table[name], name, source))
    assert_small_cells(table, source.limits, where=source.where)
    held = [field.name for field in table.schema if isinstance(field.type, pa.JsonType)]
    as_json = {name: table[name] for name in held}
    for name in held if not source.as_written else ():
        index = table.column_names.index(name)
        table = table.set_column(index, name, _plain_texts(table[name]))
    class_names = {
        name: tuple(kind.names)
        for name, kind in kinds.items()
        if isinstance(kind, datasets.ClassLabel)
    }
    return RawSplit(table, config, class_names, frozenset(images), as_json)


def _image_bytes(column: Any, name: str, source: _Folder) -> Any:
    """The encoded files themselves, of a table's own bytes or of files in an image folder."""
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
    """The file that an image folder lists. A row of a table may carry bytes only, never a path."""
    inside = source.reader == "imagefolder" and "://" not in path
    if not inside or not Path(path).resolve().is_relative_to(source.path):
        raise DataError(
            "An image is given by a path or an address, not by its bytes.",
            where=where,
            got=repr(path[:200]),
            do="Write the encoded file into the table: push_to_hub does so from an Image column.",
        )
    if not Path(path).is_file():
        got = Path(path).resolve().relative_to(source.path).as_posix()
        do = "Add the file, or take its row out of the metadata."
        raise DataError("A listed image is not there.", where=where, got=got, do=do)
    return Path(path).read_bytes()
