"""Cells of language data as their authors wrote them, each with a type of its own.

The readers of `datasets` fit a column to one type: a whole number beside a hole becomes a fraction,
and a key of one row's structure becomes a null in those of all other rows.
"""

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from hub_trainer.errors import DataError
from hub_trainer.rows.layout import first_line
from hub_trainer.rows.limits import Limits

if TYPE_CHECKING:
    import pyarrow as pa

PLAIN_SUFFIXES = (".json", ".jsonl", ".ndjson", ".gz")
Convert = Callable[[Any], Any]


class WrittenNumber(float):
    """A fraction that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> "WrittenNumber":
        """The number of this text."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def parse_json(text: str) -> Any:
    """A JSON value with its fractions as they are written; NaN and Infinity are null.

    Raises ValueError for what is no JSON, or is nested more deeply than Python reads.
    """
    try:
        return json.loads(text, parse_float=WrittenNumber, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def number_text(value: float) -> str:
    """A number as it was written where that is known; a whole number without a fraction."""
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


# Tables


def plain_values(column: Any) -> list[Any]:
    """Cells as Python values, without the nulls that other rows put into their structures.

    A null inside a cell of JSON was written by its author, and stays.
    """
    convert = _converter(column.type)
    values: list[Any] = column.to_pylist()
    return values if convert is None else [None if v is None else convert(v) for v in values]


def _converter(kind: Any) -> Convert | None:
    """How a cell of this Arrow type is converted once it is a Python value; None: not at all."""
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return parse_json
    if pa.types.is_struct(kind):
        fields = {field.name: _converter(field.type) for field in kind}
        return lambda cell: {
            name: value if (convert := fields[name]) is None else convert(value)
            for name, value in cell.items()
            if value is not None
        }
    if pa.types.is_map(kind):
        item = _converter(kind.item_type) or _same
        return lambda cell: {str(key): None if v is None else item(v) for key, v in cell}
    if pa.types.is_nested(kind) and hasattr(kind, "value_type"):
        inner = _converter(kind.value_type)
        if inner is not None:
            return lambda cell: [None if value is None else inner(value) for value in cell]
    return None


def _same(value: Any) -> Any:
    return value


def with_plain_types(table: "pa.Table") -> "pa.Table":
    """Columns of JSON whose cells are all of one plain kind, as columns of that kind."""
    import pyarrow as pa

    for place, name in enumerate(table.column_names):
        values = plain_values(table[name])
        if any(isinstance(value, Mapping | list) for value in values):
            continue
        with suppress(pa.ArrowException):
            table = table.set_column(place, name, pa.array(values))
    return table


# JSON files


@dataclass(frozen=True)
class JsonFiles:
    """Files of JSON: an object per line, a list of objects, or one object of columns."""

    paths: Sequence[Path]
    encoding: str
    field: str | None
    """Where in the file its rows are, if the card says so."""
    where: str
    limits: Limits

    def table(self, needed: int | None) -> "pa.Table":
        """A column of JSON per key; with `needed` no more rows than these, from the start."""
        import pyarrow as pa

        cells: dict[str, list[str | None]] = {}
        count, size = 0, 0
        for row in chain.from_iterable(map(self._rows, self.paths)):
            for name, value in row.items():
                column = cells.setdefault(name, [])
                column += [None] * (count - len(column))
                column.append(None if value is None else json_text(value))
                size += len(column[-1] or "")
            count += 1
            self._assert_within(count, size, len(cells))
            if count == needed:
                break
        kind = pa.json_(pa.large_string())
        whole = [column + [None] * (count - len(column)) for column in cells.values()]
        arrays = [
            pa.ExtensionArray.from_storage(kind, pa.array(column, pa.large_string()))
            for column in whole
        ]
        return pa.table(dict(zip(cells, arrays, strict=True)))

    def _rows(self, path: Path) -> Iterator[Mapping[str, Any]]:
        try:
            with self._open(path) as text:
                begin = text.read(1)
                while begin.isspace():
                    begin = text.read(1)
                text.seek(0)
                if begin == "[" or self.field is not None:
                    yield from self._of_whole(path, text.read())
                else:
                    yield from self._of_lines(path, text)
        except UnicodeDecodeError as error:
            raise self._broken(path, error, f"Write it as {self.encoding}.") from error

    def _open(self, path: Path) -> TextIO:
        # UTF-8 with or without a byte order mark.
        is_utf8 = self.encoding.lower().replace("-", "") == "utf8"
        encoding = "utf-8-sig" if is_utf8 else self.encoding
        if path.suffix == ".gz":
            return cast(TextIO, gzip.open(path, "rt", encoding=encoding))
        return path.open(encoding=encoding)

    def _of_lines(self, path: Path, lines: TextIO) -> Iterator[Mapping[str, Any]]:
        first = True
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                if not first:
                    raise self._broken(path, error, line=number) from error
                # Perhaps one object over several lines.
                yield from self._of_whole(path, line + lines.read())
                return
            if first and (_is_columns(row) or _wrapped(row)):
                # One object is the whole file, or the first of its rows.
                rest = lines.read()
                yield from self._of_value(path, row) if not rest.strip() else [row]
                yield from self._of_lines(path, io.StringIO(rest))
                return
            if not isinstance(row, Mapping):
                raise self._broken(path, ValueError("not an object"), line=number)
            first = False
            yield row

    def _of_whole(self, path: Path, text: str) -> Iterator[Mapping[str, Any]]:
        try:
            value = parse_json(text)
        except ValueError as error:
            raise self._broken(path, error) from error
        if self.field is not None:
            value = value.get(self.field) if isinstance(value, Mapping) else None
        yield from self._of_value(path, value)

    def _of_value(self, path: Path, value: Any) -> Iterator[Mapping[str, Any]]:
        if _is_columns(value):
            yield from (
                dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)
            )
        elif isinstance(value, Mapping):
            yield from _wrapped(value) or [value]
        elif isinstance(value, list) and all(isinstance(row, str) for row in value):
            yield from ({"text": row} for row in value)
        elif isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
            yield from value
        else:
            raise self._broken(path, ValueError("neither rows nor columns"))

    def _assert_within(self, rows: int, size: int, columns: int) -> None:
        limits = self.limits
        for found, limit, what in (
            (rows, limits.max_rows, "rows"),
            (size, limits.max_bytes, "bytes"),
            (columns, limits.max_columns, "columns"),
        ):
            if found > limit:
                raise DataError(
                    f"The split has too many {what}.",
                    where=self.where,
                    got=f"more than {limit:,}",
                    do=f"The limit is {limit:,}; split the data.",
                )

    def _broken(
        self, path: Path, error: Exception, do: str | None = None, *, line: int | None = None
    ) -> DataError:
        return DataError(
            "The dataset cannot be read.",
            where=f"{self.where}: {path.name}" + (f", line {line}" if line else ""),
            got=first_line(error, path.parent),
            do=do or "Correct this file: UTF-8, with one JSON object per line, or a list of them.",
        )


def _is_columns(value: Any) -> bool:
    """Whether an object holds columns: several lists of one length, and no turns of a dialogue."""
    if not isinstance(value, Mapping) or len(value) < 2:
        return False
    columns = list(value.values())
    if not all(isinstance(column, list) for column in columns):
        return False
    is_row = any(
        isinstance(cell, Mapping) and ("role" in cell or "from" in cell)
        for column in columns
        for cell in column
    )
    return not is_row and len({len(column) for column in columns}) == 1


def _wrapped(value: Any) -> list[Mapping[str, Any]]:
    """The rows of an object that holds nothing but them, as {"data": [...]}."""
    held = list(value.values()) if isinstance(value, Mapping) else []
    rows = held[0] if len(held) == 1 and isinstance(held[0], list) else []
    good = all(isinstance(row, Mapping) and not ("role" in row or "from" in row) for row in rows)
    return rows if good else []


def json_text(value: Any) -> str:
    """A cell as JSON, whole numbers and fractions as they were written."""
    if isinstance(value, WrittenNumber):
        return value.text
    text = json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair has no bytes of its own: JSON's escapes keep it.
    return text if text.isascii() or _has_bytes(text) else json.dumps(value)


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
