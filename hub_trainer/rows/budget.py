"""Budgets of the files of a split: counted while they are decoded, never taken on trust."""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.inputs.media import medium_of_reader
from hub_trainer.rows.containers import assert_plain
from hub_trainer.rows.layout import first_line
from hub_trainer.rows.limits import Limits

if TYPE_CHECKING:
    import pyarrow as pa


def check_files(paths: Sequence[Path], reader: str, limits: Limits, *, where: str) -> None:
    """Refuse files that are broken, or that would unfold to more than the limits."""
    total = 0
    for path in paths:
        total += _decoded_bytes(path, reader, limits, where)
        if total > limits.max_bytes:
            raise _too_large("The split decodes to too many bytes.", where, limits.max_bytes)


def under_budget(tables: Iterable["pa.Table"], where: str, limits: Limits) -> Iterator["pa.Table"]:
    """The tables of a stream, until they are more than the limits allow."""
    rows, total = 0, 0
    for table in tables:
        rows, total = rows + table.num_rows, total + table.nbytes
        if rows > limits.max_rows:
            raise _too_large("The split has too many rows.", where, limits.max_rows)
        if total > limits.max_bytes:
            raise _too_large("The split decodes to too many bytes.", where, limits.max_bytes)
        if table.num_columns > limits.max_columns:
            raise _too_large("The split has too many columns.", where, limits.max_columns)
        yield table


def assert_small_cells(table: "pa.Table", limits: Limits, *, where: str) -> None:
    """Raise DataError for a text or an encoded image that is larger than one may be."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(table.column_names, table.columns, strict=True):
        if isinstance(column.type, pa.JsonType):
            column = column.cast(column.type.storage_type)
        kind = column.type
        if kind not in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
            continue
        lengths = pc.binary_length(column)
        largest = pc.max(lengths).as_py() or 0
        if largest > limits.max_cell_bytes:
            row = pc.index(lengths, largest).as_py() + 1
            place = f"{where}, row {row}, column {name}"
            raise _too_large("A cell is too large.", place, limits.max_cell_bytes, largest)


def _decoded_bytes(path: Path, reader: str, limits: Limits, where: str) -> int:
    size = path.stat().st_size
    medium = medium_of_reader(reader)
    if medium is not None and path.suffix.lower() in medium.suffixes:
        return size  # a broken file is a row that is left out
    if size == 0:
        do = "Upload it again, or remove it."
        place = f"{where}: {path.name}"
        raise DataError("A data file is empty.", where=place, got="0 bytes", do=do)
    assert_plain(path, where=where)
    if reader == "parquet":
        return _parquet_bytes(path, limits, where)
    if path.suffix == ".gz":
        return _gzip_bytes(path, limits, where)
    return size


def _parquet_bytes(path: Path, limits: Limits, where: str) -> int:
    """Bytes that a parquet file decodes to, counted batch by batch.

    Its own metadata does not tell: a file of 469 bytes can stand for 2 GB. Plain columns are read
    in their dictionary form, so that nothing is unfolded while counting; nested ones, which Arrow
    cannot read so, in small batches.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    total, place = 0, f"{where}: {path.name}"
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema
            columns = [schema.column(i) for i in range(min(len(schema), limits.max_columns + 1))]
        if len(columns) > limits.max_columns:
            raise _too_large("The file has too many columns.", place, limits.max_columns)
        flat = [column for column in columns if "." not in column.path]
        coded = [column.path for column in flat if column.physical_type == "BYTE_ARRAY"]
        size = 1024 if len(flat) == len(columns) else 128
        with pq.ParquetFile(path, read_dictionary=coded) as file:
            for batch in file.iter_batches(batch_size=size):
                total += sum(_array_bytes(column) for column in batch.columns)
                _assert_no_bomb(total, path, limits, place)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            "The parquet file is broken.",
            where=place,
            got=first_line(error),
            do="Write and upload it again; a file of about 130 bytes is an LFS pointer.",
        ) from error
    return total


def _array_bytes(array: Any) -> int:
    """Bytes of an array once its dictionaries are unfolded."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary)
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_array_bytes(array.field(i)) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _array_bytes(array.flatten())
    return int(array.nbytes)


def _gzip_bytes(path: Path, limits: Limits, where: str) -> int:
    total, place = 0, f"{where}: {path.name}"
    try:
        with gzip.open(path) as file:
            while chunk := file.read(1 << 20):
                total += len(chunk)
                _assert_no_bomb(total, path, limits, place)
    except (OSError, EOFError, zlib.error) as error:
        got, do = first_line(error), "Pack it again with gzip and upload it again."
        raise DataError("The compressed file is broken.", where=place, got=got, do=do) from error
    return total


def _assert_no_bomb(total: int, path: Path, limits: Limits, where: str) -> None:
    if total > limits.max_bytes:
        raise _too_large("The file decodes to too many bytes.", where, limits.max_bytes)
    size = path.stat().st_size
    if total > limits.free_bytes and total > size * limits.max_expansion:
        got = f"{size:,} bytes that decode to more than {total:,}"
        do = f"Files may unfold to {limits.max_expansion} times their size."
        raise DataError("The file unfolds like a bomb.", where=where, got=got, do=do)


def _too_large(what: str, where: str, limit: int, got: int | None = None) -> DataError:
    found = f"{got:,}" if got is not None else f"more than {limit:,}"
    return DataError(what, where=where, got=found, do=f"The limit is {limit:,}; split the data.")
