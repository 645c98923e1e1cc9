"""CSV files as tables of text: encoding and separator found, header names stripped, cells counted.

`datasets` leaves this to pandas, which guesses neither, takes words such as None for gaps, and
shifts a row's cells when it has one more than the header.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.rows.limits import Limits

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
EXCEL_SEPARATOR = re.compile(r'^"?sep=(.)"?[\r\n]')
"""The line that Excel writes before the header of a file whose separator is not its usual one."""
ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
BOMS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
HEAD_CHARACTERS = 100_000
HEAD_RECORDS = 100
BATCH_ROWS = 10_000
MOST = 0.9
"""Share of the first records that must have as many cells as the header, for a separator."""
NAMELESS = "Unnamed: {}"
"""What pandas, and so the Hub's viewer, calls a column without a name."""
GAP_WORDS = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Words that stand for a gap among numbers; pandas' own list."""


@dataclass(frozen=True)
class CsvSettings:
    """How the files of a config are written, as its card says or as is usual."""

    sep: str = ","
    sep_is_said: bool = False
    """Whether the card names the separator; else it is looked for in each file."""
    encoding: str | None = None
    names: tuple[str, ...] | None = None
    header: int | None = 0
    """Records before the header; None when there is none."""
    skipped: int | frozenset[int] = 0
    """Lines before the records, or the numbers of the lines to skip."""
    dialect: Mapping[str, Any] | None = None
    """Quotes and escapes, as the csv module names them."""
    quotes_are_said: bool = False
    """Whether the card says how quotes are written; else the usual way is tried first."""
    backslashes: bool = False
    """Whether a quote inside a text is written with a backslash, in place of twice."""
    decimal: str = "."
    thousands: str | None = None
    decimal_is_said: bool = False
    """Whether the card names the signs in numbers; else a decimal comma is looked for."""
    gaps: frozenset[str] = frozenset({""})
    """Cells that are empty, whatever their column holds."""
    gap_words: frozenset[str] = GAP_WORDS
    """Cells that are gaps in a column of numbers."""

    @classmethod
    def of(cls, config: Any, said: Mapping[str, Any]) -> "CsvSettings":
        """The settings of a builder's config; `said` is what the card says of it."""
        given = config.na_values or ()
        names = tuple(config.names) if config.names else None
        header = config.header if isinstance(config.header, int) else None
        if config.header == "infer":
            header = None if names else 0
        skipped = config.skiprows or 0
        return cls(
            sep=config.sep,
            sep_is_said=bool({"sep", "delimiter"} & set(said)),
            quotes_are_said=bool({"quotechar", "quoting", "escapechar", "doublequote"} & set(said)),
            encoding=config.encoding,
            names=names,
            header=header,
            skipped=skipped if isinstance(skipped, int) else frozenset(skipped),
            dialect={
                "quotechar": config.quotechar,
                "quoting": config.quoting,
                "escapechar": config.escapechar,
                "doublequote": config.doublequote,
            },
            decimal=config.decimal,
            thousands=config.thousands,
            decimal_is_said=bool({"decimal", "thousands"} & set(said)),
            gaps=frozenset({""} | {given} if isinstance(given, str) else {"", *map(str, given)}),
            gap_words=GAP_WORDS if config.keep_default_na else frozenset(),
        )


class CsvFile:
    """One file, opened and its header read; `tables` reads its rows."""

    def __init__(self, path: Path, settings: CsvSettings, limits: Limits, *, where: str) -> None:
        self.path, self.where, self.limits = path, where, limits
        encoding = settings.encoding or encoding_of(path)
        self.settings = replace(settings, encoding=encoding)
        self.short_rows: list[int] = []
        """Numbers, from 1, of rows that have fewer cells than the header."""
        head = self._head()
        said = EXCEL_SEPARATOR.match(head)
        if said and not self.settings.skipped:
            self.settings = replace(self.settings, sep=said[1], skipped=frozenset({0}))
        elif not settings.sep_is_said:
            self.settings = replace(self.settings, sep=find_separator(head, self.settings))
        self.names: list[str] = []
        if not self.settings.quotes_are_said:
            self.settings = self._with_own_quotes(head)
        self._quotes_are_sound = self._is_sound(self.settings)
        self._records = self._read()
        self.names = self._header(list(_head_records(head, self.settings)))

    def tables(self) -> Iterator["pa.Table"]:
        """The rows, every cell a text or null, by the thousand; of no rows one empty table."""
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in self.names])
        empty = True
        for batch in _batches(self._rows()):
            empty = False
            columns = [
                pa.array(
                    [None if cell in self.settings.gaps else cell for cell in cells], pa.string()
                )
                for cells in zip(*batch, strict=True)
            ]
            yield pa.table(columns, schema=schema)
        if empty:
            yield schema.empty_table()

    def _rows(self) -> Iterator[Sequence[str]]:
        width = len(self.names)
        for row, (line, record) in enumerate(self._records, start=1):
            if len(record) > width and any(record[width:]):
                raise self._fault(
                    "A row has more cells than the header.",
                    line,
                    f"{len(record)} cells under {width} names",
                    "Put cells that hold the separator between double quotes; the separator is a "
                    f"{self._separator} (`sep` in the card).",
                )
            if len(record) < width:
                self.short_rows.append(row)
                record = [*record, *[""] * (width - len(record))]
            yield record[:width]

    def _header(self, head: Sequence[Sequence[str]]) -> list[str]:
        """Names of the columns, stripped; those without one as pandas calls them."""
        settings = self.settings
        found = list(settings.names or ())
        if settings.header is not None:
            record: Sequence[str] = ()
            for _ in range(settings.header + 1):
                _, record = next(self._records, (0, ()))
            found = found or list(record)
        elif not found:
            found = [str(number) for number in range(max(map(len, head), default=0))]
        rows = head[settings.header + 1 :] if settings.header is not None else head
        if rows and all(len(row) == len(found) + 1 and row[-1] for row in rows):
            found = ["", *found]  # R writes a column of row names and no name for it
        while (
            found and not found[-1].strip() and not any(any(row[len(found) - 1 :]) for row in rows)
        ):
            found.pop()  # separators at the ends of lines
        names = [name.strip("\ufeff \t\r\n") or NAMELESS.format(i) for i, name in enumerate(found)]
        for name in names:
            if names.count(name) > 1:
                do = "Give each column a name of its own."
                raise self._fault("Two columns have the same name.", 1, name, do)
        if len(names) > self.limits.max_columns:
            got, do = f"{len(names):,} columns", f"The limit is {self.limits.max_columns:,}."
            raise self._fault("The file has too many columns.", 1, got, do)
        return names

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each record that is not blank."""
        lines: list[str] = []
        with self._opened() as file:
            reader = csv.reader(self._lines(file, lines), **_dialect(self.settings))
            csv.field_size_limit(self.limits.max_cell_bytes)
            while True:
                try:
                    record = next(reader)
                except StopIteration:
                    break
                except UnicodeError as error:
                    raise not_decoded(
                        self.path, str(self.settings.encoding), error, where=self.where
                    ) from None
                except csv.Error as error:
                    raise self._fault(
                        "The dataset cannot be read.", reader.line_num, str(error),
                        "Correct this line: one row per line, quotes in pairs.",
                    ) from None  # fmt: skip
                if not self._quotes_are_sound:
                    record = self._as_written(record, lines, reader.line_num)
                lines.clear()
                if record and (len(record) > 1 or record[0].strip()):
                    yield reader.line_num, record

    def _lines(self, file: Any, kept: list[str]) -> Iterator[str]:
        """The lines of a file that count, each also kept until its record is read."""
        skipped = self.settings.skipped
        for number, line in enumerate(file):
            drop = number < skipped if isinstance(skipped, int) else number in skipped
            if not drop:
                kept.append(line)
                yield _with_twice(line) if self.settings.backslashes else line

    def _with_own_quotes(self, head: str) -> CsvSettings:
        """The settings with the way in which this file writes quotes, if it is not the usual one.

        Blanks before a quote; a backslash before one inside a text; none at all, as in many a TSV.
        """
        settings = self.settings
        usual = dict(settings.dialect or {})
        if any(re.match(r' +"', cell) for one in _head_records(head, settings) for cell in one):
            settings = replace(settings, dialect={**usual, "skipinitialspace": True})
        if self._is_sound(settings):
            return settings
        others = [replace(settings, backslashes=True)]
        if settings.sep == "\t":
            others.append(replace(settings, dialect={**usual, "quoting": csv.QUOTE_NONE}))
        sound = (other for other in others if self._is_sound(other, ragged=False))
        return next(sound, settings)

    def _is_sound(self, settings: CsvSettings, *, ragged: bool = True) -> bool:
        """Whether all quotes of the file are in pairs around cells, and no row is too long."""
        first, longest = 0, 0
        try:
            with self._opened() as file:
                lines = map(_with_twice, file) if settings.backslashes else file
                csv.field_size_limit(self.limits.max_cell_bytes)
                for record in csv.reader(lines, **_dialect(settings), strict=True):
                    first, longest = first or len(record), max(longest, len(record))
        except (csv.Error, UnicodeError):
            return False
        return ragged or longest <= first + 1

    def _as_written(self, record: list[str], lines: Sequence[str], line: int) -> list[str]:
        """A record whose quotes are not in pairs around its cells, with them in its texts.

        One that is never closed swallows all rows after it, and the csv module does not mind.
        """
        dialect = _dialect(self.settings)
        try:
            list(csv.reader(lines, **dialect, strict=True))
        except csv.Error as error:
            if len(lines) == 1:
                cells = next(csv.reader(lines, **{**dialect, "quoting": csv.QUOTE_NONE}))
                if len(cells) == len(self.names):
                    return [_unquoted(cell) for cell in cells]
            # Another text's quote ends it, and the rows between the two would be one cell.
            several = "another cell" if len(lines) > 1 else "a cell"
            ends = "never closed" if "unexpected end" in str(error) else f"closed inside {several}"
            raise self._fault(
                f"A quote is opened and {ends}.",
                line - len(lines) + 1,
                lines[0].strip()[:60],
                'Close it, or write a quote inside a text twice ("").',
            ) from None
        return record

    def _opened(self) -> io.TextIOWrapper:
        raw = _unpacked(self.path)
        encoding = self.settings.encoding or "utf-8"
        try:
            return io.TextIOWrapper(raw, encoding=encoding, newline="")
        except LookupError:
            raw.close()
            do = "Name one that Python knows, as utf-8 or latin-1."
            raise self._fault("The card names an unknown encoding.", 0, encoding, do) from None

    def _head(self) -> str:
        """The beginning of the file, up to the end of its last whole line."""
        try:
            with self._opened() as file:
                text = file.read(HEAD_CHARACTERS)
                whole = len(text) < HEAD_CHARACTERS
        except UnicodeError as error:
            raise not_decoded(
                self.path, str(self.settings.encoding), error, where=self.where
            ) from None
        cut = max(text.rfind("\n"), text.rfind("\r")) + 1
        return text if whole or not cut else text[:cut]

    @property
    def _separator(self) -> str:
        return SEPARATORS.get(self.settings.sep, repr(self.settings.sep))

    def _fault(self, what: str, line: int, got: str, do: str) -> DataError:
        place = f"{self.where}: {self.path.name}" + (f", line {line}" if line else "")
        return DataError(what, where=place, got=got, do=do)


def encoding_of(path: Path) -> str:
    """By the mark at the file's beginning, or by zeros in every other byte; else UTF-8."""
    with _unpacked(path) as file:
        head: bytes = file.read(4096)
    for mark, name in BOMS.items():
        if head.startswith(mark):
            return name
    if len(head) >= 8:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > 0.7 * len(head) / 2 and min(even, odd) < 0.1 * len(head) / 2:
            return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"


def not_decoded(path: Path, encoding: str, error: UnicodeError, *, where: str) -> DataError:
    """The error for a text file that is not written in the encoding in which it is read."""
    with _unpacked(path) as file:
        line, byte = _first_undecodable(file, encoding)
    return DataError(
        f"The file's text is not {encoding.replace('-sig', '').upper()}.",
        where=f"{where}: {path.name}",
        got=f"{byte} in line {line}" if line else str(error)[:120],
        do="Save it as UTF-8 (in Excel: CSV UTF-8; or iconv -f WINDOWS-1252 -t UTF-8). The card of "
        "a dataset repo can name the encoding of its files: configs: [{..., encoding: latin-1}].",
    )


def _unpacked(path: Path) -> Any:
    """The bytes of a file, unpacked if it is packed by gzip."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _with_twice(line: str) -> str:
    """A line with each quote that follows a backslash written twice in place of that."""
    return ESCAPED_QUOTE.sub(r'\1""', line)


def _unquoted(cell: str) -> str:
    """A cell without the quotes that are around all of it."""
    bare = cell.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"' and bare[1:-1].count('"') % 2 == 0:
        return bare[1:-1].replace('""', '"')
    return cell


def find_separator(head: str, settings: CsvSettings) -> str:
    """The usual separator, unless another one parts the first records into as many cells each."""
    scores = {}
    for sep in dict.fromkeys((settings.sep, *SEPARATORS)):
        records = list(_head_records(head, replace(settings, sep=sep)))
        width = len(records[0]) if records else 0
        alike = [len(record) in (width, width + 1) for record in records[1:]]
        scores[sep] = width, sum(alike) / len(alike) if alike else 1.0
    width, share = scores[settings.sep]
    if width > 1 and share >= MOST:
        return settings.sep
    good = {sep: width for sep, (width, share) in scores.items() if width > 1 and share >= MOST}
    if not good and settings.dialect is not None:
        # Quotes that are part of the texts hide where lines end.
        bare = replace(settings, dialect={**settings.dialect, "quoting": csv.QUOTE_NONE}, sep="\t")
        widths = {len(record) for record in _head_records(head, bare)}
        return "\t" if len(widths) == 1 and widths != {1} else settings.sep
    return max(good, key=lambda sep: good[sep]) if good else settings.sep


def _head_records(head: str, settings: CsvSettings) -> Iterator[list[str]]:
    """The first records of a text that are not blank; as many as can be parsed."""
    lines = io.StringIO(head, newline="")
    skipped = settings.skipped
    kept: Iterable[str] = (
        line
        for number, line in enumerate(lines)
        if not (number < skipped if isinstance(skipped, int) else number in skipped)
    )
    kept = map(_with_twice, kept) if settings.backslashes else kept
    found = 0
    try:
        for record in csv.reader(kept, **_dialect(settings)):
            if record:
                yield record
                found += 1
            if found > HEAD_RECORDS:
                return
    except csv.Error:
        return


def _dialect(settings: CsvSettings) -> dict[str, Any]:
    if len(settings.sep) != 1:
        raise DataError(
            "The card's separator is not one character.",
            got=repr(settings.sep),
            do='Name it in the card, as in sep: ";" or sep: "\\t".',
        )
    return {"delimiter": settings.sep, **(settings.dialect or {})}


def _batches(rows: Iterator[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    batch: list[Sequence[str]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _first_undecodable(lines: Iterable[bytes], encoding: str) -> tuple[int, str]:
    """(line, byte) that is not text in this encoding; line 0 when lines cannot be told apart."""
    if encoding.startswith(("utf-16", "utf-32")):
        return 0, ""
    for number, line in enumerate(lines, start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            return number, f"byte 0x{line[error.start]:02x}"
    return 0, ""
