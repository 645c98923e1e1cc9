"""Types of a CSV's columns: whole numbers, numbers, truth values, or the texts that they are."""

import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import floor
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import DataError
from hub_trainer.rows.csv_files import CsvSettings

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = r"^\s*[+-]?[0-9]{1,18}\s*$"
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$|^\s*[+-]?(?i:inf|infinity)\s*$"
EUROPEAN = r"^\s*[+-]?[0-9]{1,3}(\.?[0-9]{3})*,[0-9]+\s*$"
WITH_COMMA = r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),[0-9]+([eE][+-]?[0-9]+)?$"
"""A number with a decimal comma, and perhaps points between thousands."""
EITHER = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"
"""A number whose comma may be a decimal one or one between thousands."""
THOUSANDS = r"^\s*[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?\s*$"
POINTS = r"^[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+$"
"""A whole number with points between thousands, or one with three digits behind its point."""
ZEROS = r"^\s*0[0-9]+\s*$"
"""A whole number that begins with a zero, as codes do."""
CODE = r"^\s*[0-9]{3,}\s*$"
"""A whole number that may be a code."""
BESIDE = re.compile(r"^([^\d+\-\u2212.,]*)([+\-\u2212]?\d[\d\s.,'\u2019]*)(\D*)$")
"""A number, and what stands before and after it in a cell."""
MIN_NUMBERS = 10
"""Different numbers from which texts around them are a sign or a unit, and no name of a kind."""
MAX_ODD_SHOWN = 3
MOSTLY = 0.8
"""Share of a column's cells from which those that are no numbers are the odd ones."""
TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def with_types(
    table: "pa.Table", settings: CsvSettings, commas: Collection[str] = ()
) -> tuple["pa.Table", Mapping[str, "pa.ChunkedArray"]]:
    """The table with a type for each column, and the cells as written of those that are no texts.

    A gap word among numbers is null in the table, and stays the word among the cells as written:
    whether it is a gap or a name, what the column is used for says. `commas` are columns whose
    numbers have a decimal comma.
    """
    european = replace(settings, decimal=",", thousands=".")
    written = {}
    for place, name in enumerate(table.column_names):
        typed = _typed(table[name], european if name in commas else settings)
        if typed is not None:
            written[name] = table[name]
            table = table.set_column(place, name, typed)
    return table, written


def comma_columns(table: "pa.Table", settings: CsvSettings) -> dict[str, str]:
    """Columns of numbers with a decimal comma, and the first of each; for cells between semicolons.

    Where each comma of a column may stand between thousands, as in 1,234, another column decides:
    a file has one decimal sign. For the same reason points of whole numbers, as in 7.852 beside
    465, stand between thousands there.
    """
    import pyarrow.compute as pc

    found, is_sure = {}, False
    for name in table.column_names:
        cells = _without_gaps(table[name], settings).drop_null()
        with_comma = cells.filter(pc.match_substring_regex(cells, WITH_COMMA))
        if len(with_comma) and _all_fit(cells, f"{WITH_COMMA}|{WHOLE}"):
            found[name] = with_comma[0].as_py()
            is_sure = is_sure or not _all_fit(with_comma, EITHER)
    return found | _pointed(table, settings) if is_sure else {}


def doubtful_points(table: "pa.Table", settings: CsvSettings) -> dict[str, str]:
    """Columns whose points may stand between thousands, as in 7.852 beside 465, and the first of
    each; for cells between semicolons where no column says which the decimal sign is.
    """
    import pyarrow.compute as pc

    return {
        name: first
        for name, first in _pointed(table, settings).items()
        if pc.any(pc.match_substring_regex(_without_gaps(table[name], settings), WHOLE)).as_py()
    }


def _pointed(table: "pa.Table", settings: CsvSettings) -> dict[str, str]:
    """Columns of whole numbers, some of them with a point before each three digits."""
    import pyarrow.compute as pc

    found = {}
    for name in table.column_names:
        cells = _without_gaps(table[name], settings).drop_null()
        with_points = cells.filter(pc.match_substring_regex(cells, POINTS))
        if len(with_points) and _all_fit(cells, f"{POINTS}|{WHOLE}"):
            found[name] = with_points[0].as_py()
    return found


def as_declared(
    table: "pa.Table",
    written: Mapping[str, "pa.ChunkedArray"],
    features: Mapping[str, Any],
    *,
    where: str,
) -> "pa.Table":
    """The columns in the types that a card declares for them; others are left aside."""
    import pyarrow as pa
    from datasets.table import cast_array_to_feature

    made = {}
    for name, feature in features.items():
        if name not in table.column_names:
            raise DataError(
                f"The card declares a column that the files do not have: {name}.",
                where=where,
                got=f"columns {', '.join(table.column_names)}",
                do="Correct dataset_info in the card, or the header of the files.",
            )
        # A class may be given by its name or its number, which only its text tells apart.
        by_text = hasattr(feature, "names") or getattr(feature, "dtype", "") == "string"
        column = written.get(name, table[name]) if by_text else table[name]
        try:
            made[name] = cast_array_to_feature(column.combine_chunks(), feature)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise DataError(
                "A column is not of the type that the card declares.",
                where=f"{where}, column {name}, row {_first_misfit(column, feature):,}",
                got=str(error).splitlines()[0][:200],
                do=f"Correct the cells, or dataset_info in the card: {feature}.",
            ) from None
    return pa.table(made)


def _first_misfit(column: Any, feature: Any) -> int:
    """The first row whose cell is not of a declared type, given that there is one."""
    import pyarrow as pa
    from datasets.table import cast_array_to_feature

    good, bad = 0, len(column)  # the first `good` rows fit, and the first `bad` do not
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            cast_array_to_feature(pa.concat_arrays(column[:middle].chunks), feature)
            good = middle
        except (pa.ArrowException, ValueError, TypeError):
            bad = middle
    return bad


def odd_numbers(column: Any) -> str:
    """Why a column of texts should probably be one of numbers; "" when it should not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(column.cast(pa.string()).drop_null())
    column = column.filter(pc.greater(pc.utf8_length(column), 0))
    if not len(column):
        return ""
    rule = "it is read as categories"
    either = _all_fit(column, EUROPEAN) and _all_fit(column, THOUSANDS)
    for pattern, form, key in (
        (EUROPEAN, "with a decimal comma", 'decimal: ","'),
        (THOUSANDS, "with commas between thousands", 'thousands: ","'),
    ):
        own = column.filter(pc.match_substring_regex(column, pattern))
        if len(own) and _all_fit(column, f"{pattern}|{NUMBER}"):
            if either:
                form = "with a comma, a decimal one or one between thousands"
                key = 'which: decimal: "," or thousands: ","'
            first = own[0].as_py()
            return f"holds numbers written {form} ({first!r}): {rule} unless the card says {key}"
    fits = pc.match_substring_regex(column, NUMBER)
    share = (pc.sum(fits).as_py() or 0) / len(column)
    if share == 1:
        return f"holds numbers written as texts ({column[0].as_py()!r}): {rule}"
    with_comma = pc.match_substring_regex(column, f"{EUROPEAN}|{NUMBER}")
    comma_share = (pc.sum(with_comma).as_py() or 0) / len(column)
    written = " with a decimal comma" if comma_share > share else ""
    fits, share = (with_comma, comma_share) if written else (fits, share)
    if share >= MOSTLY:
        odd = column.filter(pc.invert(fits)).unique().to_pylist()
        named = " and ".join(f"{one!r:.40}" for one in odd[:MAX_ODD_SHOWN])
        more = " and others" if len(odd) > MAX_ODD_SHOWN else ""
        return (
            f"is numbers{written} in {floor(100 * share)}% of its cells, and {named}{more} in the "
            f"rest: {rule}; leave a cell empty where its value is missing"
        )
    return _beside_signs(column.unique().to_pylist(), rule)


def first_with_zeros(written: Any) -> str | None:
    """The first cell, as written, that begins with a zero which its number does not keep."""
    import pyarrow.compute as pc

    cells = written.filter(pc.match_substring_regex(written, ZEROS))
    return cells[0].as_py().strip() if len(cells) else None


def codes(written: Any, gap_words: Collection[str] = ()) -> Any:
    """The cells without gap words where all are codes such as postcodes; None where they are not.

    Codes are whole numbers of one length, three digits or more, some with a zero before them: in
    numbers to count with, nobody writes that.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(written)
    gaps = pc.is_in(cells, pa.array(["", *gap_words], pa.string()))
    cells = pc.if_else(gaps, pa.scalar(None, pa.string()), cells)
    known = cells.drop_null()
    are_so = first_with_zeros(known) is not None and _all_fit(known, CODE)
    return cells if are_so and len(pc.unique(pc.utf8_length(known))) == 1 else None


def _all_fit(column: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _beside_signs(texts: Sequence[str], rule: str) -> str:
    """Whether texts are numbers beside one and the same sign or unit, or parted into thousands."""
    found = [BESIDE.match(text) for text in texts]
    if len(texts) < MIN_NUMBERS or not all(found):
        return ""
    around = {(one[1].strip(), one[3].strip()) for one in found if one}
    if len(around) > 1:
        return ""
    return (
        f"holds numbers that are not written alone ({texts[0]!r:.40}): {rule} until they are, as "
        "in 1234.5"
    )


def _typed(column: Any, settings: CsvSettings) -> Any:
    """The column as numbers or truth values; None when it is neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    plain = _without_gaps(column, settings)
    if plain.null_count == len(plain):
        return None
    if pc.all(pc.is_in(plain.drop_null(), pa.array(list(TRUTHS)))).as_py():
        return pc.equal(pc.utf8_lower(plain), "true")
    numbers = _dotted(plain, settings)
    if pc.all(pc.match_substring_regex(numbers, WHOLE)).as_py():
        stripped = pc.replace_substring_regex(pc.utf8_trim_whitespace(numbers), r"^\+", "")
        return stripped.cast(pa.int64())
    if pc.all(pc.match_substring_regex(numbers, NUMBER)).as_py():
        return _floats(numbers)
    return None


def _without_gaps(column: Any, settings: CsvSettings) -> Any:
    """The cells without white space around them; words for a gap are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(column)
    words = pa.array(["", *sorted(settings.gap_words)], pa.string())
    return pc.if_else(pc.is_in(column, words), pa.scalar(None, pa.string()), column)


def _dotted(column: Any, settings: CsvSettings) -> Any:
    """Numbers with a point for their decimal sign and no sign between thousands."""
    import pyarrow.compute as pc

    if settings.thousands:
        column = pc.replace_substring(column, settings.thousands, "")
    if settings.decimal != ".":
        column = pc.replace_substring(column, settings.decimal, ".")
    return column


def _floats(column: Any) -> Any:
    """Numbers to the last bit as pandas reads them: the rows of earlier rounds keep their ids."""
    import pandas as pd
    import pyarrow as pa

    lines = ["number", *("" if cell is None else cell.strip() for cell in column.to_pylist())]
    text = io.StringIO("\n".join(lines) + "\n")
    frame = pd.read_csv(text, skip_blank_lines=False, dtype="float64", na_values=[""])
    values = frame["number"].to_numpy()
    return pa.chunked_array([pa.array(values, pa.float64(), from_pandas=True)])
