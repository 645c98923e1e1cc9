"""Cells of language data as their authors wrote them, each with a type of its own.

The readers of `datasets` fit a column to one type: a whole number beside a hole becomes a fraction,
and a key of one row's structure becomes a null in those of all other rows.
"""

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from hub_trainer.errors import DataError
from hub_trainer.rows.csv_files import encoding_of, not_decoded
from hub_trainer.rows.layout import first_line
from hub_trainer.rows.limits import Limits

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LINES = 5
"""Broken lines of a file that are named beside the first."""
PLAIN_SUFFIXES = (".json", ".jsonl", ".ndjson", ".gz")
ROWS_KEYS = ("data", "rows", "records", "examples", "items", "instances")
"""What the list of rows is called in an object that says something else beside it."""
Convert = Callable[[Any], Any]


class WrittenNumber(float):
    """A fraction that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> "WrittenNumber":
        """The number of this text."""
        made = super().__new__(cls, text)
        made.text = text
        return made


DECODER = json.JSONDecoder(parse_float=WrittenNumber, parse_constant=lambda _: None)
GAP = re.compile(r"[\s,]*")
"""What may stand between two objects: lines that end in a comma were once a list."""


def parse_json(text: str) -> Any:
    """A JSON value with its fractions as they are written; NaN and Infinity are null.

    Raises ValueError for what is no JSON, or is nested more deeply than Python reads.
    """
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_objects(text: str) -> list[Any]:
    """One JSON value, or objects that follow each other, with or without commas between them.

    Raises ValueError as `parse_json` does.
    """
    found: list[Any] = []
    place = GAP.match(text).end()  # type: ignore[union-attr]  # it matches nothing too
    try:
        while place < len(text):
            value, place = DECODER.raw_decode(text, place)
            if found and not (isinstance(value, Mapping) and isinstance(found[-1], Mapping)):
                raise json.JSONDecodeError("Extra data", text, place)
            found.append(value)
            place = GAP.match(text, place).end()  # type: ignore[union-attr]
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def number_text(value: float) -> str:
    """A number as it was written where that is known; a whole number without a fraction."""
    if isinstance(value, WrittenNumber):
        return value.text
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


# Tables


@dataclass(frozen=True)
class Unread:
    """A cell for which Python has no value."""

    what: str
    """What it holds, in words."""


def plain_values(column: Any, *, as_texts: bool = False) -> list[Any]:
    """Cells as Python values, without the nulls that other rows put into their structures.

    A null inside a cell of JSON was written by its author, and stays. `as_texts` makes texts of
    what JSON has no value for inside of structures: dates, times, decimals, durations, and bytes
    that are UTF-8.
    """
    convert = _converter(column.type, as_texts) or (_text_of_bytes if as_texts else _same)
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError, KeyError):  # no such year, no such time zone
        values = [_value(cell) for cell in column]
    return [v if v is None or isinstance(v, Unread) else convert(v) for v in values]


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (OverflowError, ValueError, KeyError):
        return Unread("a date or a time that no calendar has")


def _converter(kind: Any, as_texts: bool, *, inside: bool = False) -> Convert | None:
    """How a cell of this Arrow type is converted once it is a Python value; None: not at all."""
    import pyarrow as pa

    def of(inner: Any) -> Convert | None:
        return _converter(inner, as_texts, inside=True)

    if isinstance(kind, pa.JsonType):
        return parse_json
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return _shortest(kind.to_pandas_dtype())
    if pa.types.is_struct(kind):
        fields = {field.name: of(field.type) for field in kind}
        return lambda cell: {
            name: value if (convert := fields[name]) is None else convert(value)
            for name, value in cell.items()
            if value is not None
        }
    if pa.types.is_map(kind):
        named, item = of(kind.key_type) or _same, of(kind.item_type) or _same
        return lambda cell: {
            str(named(key)): None if value is None else item(value) for key, value in cell
        }
    if pa.types.is_dictionary(kind):
        return _converter(kind.value_type, as_texts, inside=inside)
    if pa.types.is_nested(kind) and hasattr(kind, "value_type"):
        inner = of(kind.value_type)
        return inner and (lambda cell: [None if value is None else inner(value) for value in cell])
    return _as_text if as_texts and inside else None


def _same(value: Any) -> Any:
    return value


def _shortest(kind: Any) -> Convert:
    """Fractions of fewer bits by the shortest decimal that stands for the same bits: 10.1."""
    return lambda value: value if value.is_integer() else float(str(kind(value)))


def _as_text(value: Any) -> Any:
    """What JSON has a value for as it is, all else as the text that Python writes."""
    value = _text_of_bytes(value)
    return value if isinstance(value, str | int | float | bytes) else str(value)


def _text_of_bytes(value: Any) -> Any:
    """The text that bytes are in UTF-8; bytes that are none, and other values, as they are."""
    if not isinstance(value, bytes):
        return value
    with suppress(UnicodeDecodeError):
        return value.decode()
    return value


def with_plain_types(table: "pa.Table", *, where: str) -> "pa.Table":
    """Columns of JSON whose cells are all of one plain kind, as columns of that kind.

    Raises DataError for a text that is none, as half of a surrogate pair.
    """
    import pyarrow as pa

    for place, name in enumerate(table.column_names):
        values = plain_values(table[name])
        if any(map(_is_structure, values)):
            continue
        for row, value in enumerate(values, start=1):
            if isinstance(value, str) and not _has_bytes(value):
                raise DataError(
                    "A text holds half of a surrogate pair, which is no character.",
                    where=f"{where}, row {row}, column {name}",
                    got=repr(value[:60]),
                    do="Correct the text, or take the row out.",
                )
        with suppress(pa.ArrowException):
            table = table.set_column(place, name, pa.array(values))
    return table


def _is_structure(value: Any) -> bool:
    """Whether a value is more than a plain one, or a list of plain ones."""
    inner = value if isinstance(value, list) else [value]
    return any(isinstance(one, Mapping | list) for one in inner)


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
        except UnicodeError as error:
            raise not_decoded(path, self._encoding(path), error, where=self.where) from error

    def _encoding(self, path: Path) -> str:
        """What the card says; else as the file's own mark says, UTF-8 if there is none."""
        is_usual = self.encoding.lower().replace("-", "") == "utf8"
        return encoding_of(path) if is_usual else self.encoding

    def _open(self, path: Path) -> TextIO:
        encoding = self._encoding(path)
        if path.suffix == ".gz":
            return cast(TextIO, gzip.open(path, "rt", encoding=encoding))
        return path.open(encoding=encoding)

    def _of_lines(self, path: Path, lines: TextIO) -> Iterator[Mapping[str, Any]]:
        number, head = next(((n, one) for n, one in enumerate(lines, 1) if one.strip()), (0, ""))
        try:
            rows = parse_objects(head)
        except ValueError:
            # Perhaps one object over several lines.
            yield from self._of_whole(path, head + lines.read(), before=number - 1)
            return
        if len(rows) == 1 and _rows_in(rows[0]) is not None:
            # One object is the whole file, or the first of its rows.
            rest = lines.read()
            if not rest.strip():
                yield from self._of_value(path, rows[0])
                return
            lines = io.StringIO(rest)
        yield from self._objects(path, rows, number)
        for place, line in enumerate(lines, start=number + 1):
            try:
                rows = parse_objects(line.rstrip())
            except ValueError as error:
                more = [n for n, one in enumerate(lines, start=place + 1) if not _holds_json(one)]
                raise self._broken(path, error, line=place, more=more) from error
            yield from self._objects(path, rows, place)

    def _objects(self, path: Path, rows: Sequence[Any], line: int) -> Sequence[Mapping[str, Any]]:
        if not all(isinstance(row, Mapping) for row in rows):
            raise self._broken(path, ValueError("not an object"), line=line)
        return rows

    def _of_whole(self, path: Path, text: str, before: int = 0) -> Iterator[Mapping[str, Any]]:
        """The rows of a text that begins `before` lines below the file's top."""
        try:
            found = parse_objects(text.rstrip())
        except ValueError as error:
            place = before + error.lineno if isinstance(error, json.JSONDecodeError) else None
            raise self._broken(path, error, line=place) from error
        if len(found) > 1:
            yield from found
            return
        value = found[0] if found else []
        if self.field is not None:
            if not isinstance(value, Mapping) or self.field not in value:
                raise self._broken(path, ValueError(f"no key {self.field!r}, which the card names"))
            value = value[self.field]
        yield from self._of_value(path, value)

    def _of_value(self, path: Path, value: Any) -> Iterator[Mapping[str, Any]]:
        rows = _rows_in(value)
        if rows is not None:
            yield from rows
        elif isinstance(value, Mapping):
            yield value
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
        self, path: Path, error: Exception, *, line: int | None = None, more: Sequence[int] = ()
    ) -> DataError:
        got = first_line(error, path.parent)
        if isinstance(error, json.JSONDecodeError):
            got = f"no JSON: {error.msg}, at character {error.colno}"
        if more:
            shown = ", ".join(f"{one:,}" for one in more[:MAX_LINES])
            rest = f" and {len(more) - MAX_LINES:,} more" if len(more) > MAX_LINES else ""
            got += f"; nor {'is line' if len(more) == 1 else 'are lines'} {shown}{rest}"
        return DataError(
            "The dataset cannot be read.",
            where=f"{self.where}: {path.name}" + (f", line {line}" if line else ""),
            got=got,
            do="Correct this file: UTF-8, with one JSON object per line, or a list of them.",
        )


def _holds_json(line: str) -> bool:
    try:
        parse_objects(line)
    except ValueError:
        return False
    return True


def _rows_in(value: Any) -> list[Mapping[str, Any]] | None:
    """The rows of an object that holds many, in one of the usual layouts; None for a row."""
    if not isinstance(value, Mapping):
        return None
    rows = _split_apart(value) or _wrapped(value) or _by_number(value)
    if rows is None and _is_columns(value):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return rows


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


def _wrapped(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The rows of an object that holds nothing but them, as {"data": [...]}, or calls them so."""
    held = next((key for key in ROWS_KEYS if isinstance(value.get(key), list)), None)
    if len(value) == 1:
        held = next(iter(value))
    rows = value[held] if held is not None and isinstance(value[held], list) else []
    good = all(isinstance(row, Mapping) and not ("role" in row or "from" in row) for row in rows)
    return rows if rows and good else None


def _by_number(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Rows under numbers, or columns whose cells are, as pandas writes them."""
    inner = list(value.values())
    if not inner or not all(isinstance(one, Mapping) and one for one in inner):
        return None
    if all(key.isdigit() for key in value):
        return inner
    if all(key.isdigit() for one in inner for key in one):
        keys = dict.fromkeys(key for one in inner for key in one)
        return [{name: cells.get(key) for name, cells in value.items()} for key in keys]
    return None


def _split_apart(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Names and rows of cells, as pandas writes them with orient="split"."""
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not rows:
        return None
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def json_text(value: Any) -> str:
    """A cell as JSON, whole numbers and fractions as they were written, dates as texts.

    Raises TypeError for bytes that are no text.
    """
    if isinstance(value, WrittenNumber):
        return value.text
    text = json.dumps(value, ensure_ascii=False, default=_no_bytes)
    # Half of a surrogate pair has no bytes of its own: JSON's escapes keep it.
    return text if text.isascii() or _has_bytes(text) else json.dumps(value, default=_no_bytes)


def _no_bytes(value: Any) -> str:
    found = _as_text(value)
    if isinstance(found, bytes):
        raise TypeError("bytes, not a text")
    return str(found)


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
