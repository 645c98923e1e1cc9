"""Table: a row of numbers, words and booleans; each column but the answer's is a feature."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Column,
    Input,
    Measure,
    PlainFeatures,
    Row,
    SignsOf,
    Values,
    near_tables,
)
from hub_trainer.inputs.cleaning import clean_text
from hub_trainer.inputs.dates import holds_dates, read_date
from hub_trainer.inputs.perturbed import Perturbation
from hub_trainer.inputs.table_features import encode_tables, find_features
from hub_trainer.recipe.columns import is_feature

LARGEST_WHOLE = 2**63 - 1
MAX_TOLD = 3
"""Rows that are named of those that have no date."""


class _Table:
    """The features of a row, by the names of their columns."""

    name = "table"
    identity = "table"
    dialogue = None
    noun = "the values of a table's row"
    plural = "tables"
    medium = None
    rated_column = "features"
    rated_type: pa.DataType = pa.string()
    rated_feature: Mapping[str, Any] = {"dtype": "string", "_type": "Value"}
    near = "hub_trainer.inputs.near_tables"
    altered = "hub_trainer.inputs.altered_tables"
    repeats_by_chance = True
    perturbation: Perturbation | None = None
    has_features = True
    has_formats = False
    signs_are_rare = True
    measures: Mapping[str, Measure] = {}

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        """Numbers, booleans, dates and texts; NaN, infinity, blank cells and gap words are null.

        White space around a category does not make another one of it.
        """
        values, types = column.values, pa.types
        kind = values.type
        if types.is_null(kind) or types.is_decimal(kind):
            return values.cast(pa.float64())
        if types.is_floating(kind):
            values = values.cast(pa.float64())
            return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))
        if types.is_boolean(kind):
            return values
        if types.is_integer(kind):
            large = kind == pa.uint64() and (pc.max(values).as_py() or 0) > LARGEST_WHOLE
            return values.cast(pa.float64() if large else pa.int64(), safe=False)
        if types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
            values = _trimmed(column)
            return _only_dates(values, column.notes) if holds_dates(values.to_pylist()) else values
        if types.is_date(kind) or types.is_timestamp(kind):
            return values.cast(pa.string())
        raise DataError(
            "A feature is neither number, text, date nor boolean.",
            where=where,
            got=str(kind),
            do="Write it as numbers or texts, or leave it out: drop_columns in the recipe.",
        )

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """None: any value is a feature."""

    # --- identity

    def content(self, row: Row) -> bytes:
        return near_tables.normal(row)

    def compared(self, row: Row) -> Row:
        return row

    # --- measures

    def clean(self, row: Row) -> dict[str, Any]:
        """Words as `clean_text` makes them; an empty one is a gap."""
        return {name: _clean(value) if is_feature(name) else value for name, value in row.items()}

    def sizes(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        names = _names(rows[0]) if rows else []
        return {"missing values": [sum(row[name] is None for name in names) for row in rows]}

    def told(self, row: Row) -> dict[str, str]:
        said = {name: "none given" if row[name] is None else row[name] for name in _names(row)}
        return {"features": ", ".join(f"{name}: {value}" for name, value in said.items())}

    def plain_features(self, known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures:
        """As a linear estimator of the task gets them."""
        features = find_features(known)
        encoded, others = encode_tables(features, known, asked)
        return PlainFeatures("the table's features", encoded, others, strength=1.0)

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf:
        return _signs

    def columns(self, new: Sequence[Row], base: Sequence[Row]) -> tuple[Values, Values]:
        names = _names(new[0])
        ours, theirs = (
            {name: [row.get(name) for row in rows] for name in names} for rows in (new, base)
        )
        return ours, theirs

    def features(
        self, base: Sequence[Row], new: Sequence[Row], *, is_linear: bool
    ) -> tuple[Any, Any]:
        """Numbers as they are; words by their place among those of the base, unseen as NaN.

        For a linear model in units of their spread from the middle, where gaps are then.
        """
        names = _names(base[0])
        codes = {name: _codes(base, name) for name in names}
        known, asked = (
            np.array([[_number(row.get(name), codes[name]) for name in names] for row in rows])
            for rows in (base, new)
        )
        if not is_linear:
            return known, asked
        middle, spread = np.nanmedian(known, axis=0), np.nanstd(known, axis=0)
        middle, spread = np.nan_to_num(middle), np.where(spread > 0, spread, 1.0)
        return tuple(np.nan_to_num((one - middle) / spread) for one in (known, asked))

    def judge(self) -> Any:
        """A random forest, which needs no scales and takes gaps."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(200, min_samples_leaf=2, random_state=0)

    # --- people

    def for_pipeline(self, row: Row, *, sampling_rate: int | None = None) -> dict[str, Any]:
        return self.for_people(row)

    def for_people(self, row: Row) -> dict[str, Any]:
        return {name: row[name] for name in _names(row)}

    def length(self, row: Row) -> int:
        """A row of values is shown however long it is."""
        return 0

    def rated_cell(self, row: Row) -> str:
        return json.dumps(dict(row), ensure_ascii=False, sort_keys=True)

    def rated_row(self, cell: Any) -> dict[str, Any] | None:
        try:
            row = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        return row if isinstance(row, dict) else None


def no_dates(column: Column) -> list[int]:
    """Places of the texts among a column's dates that are none, which `read` takes for gaps."""
    if not pa.types.is_string(column.values.type):
        return []
    texts = _trimmed(column).to_pylist()
    return _no_dates(texts) if holds_dates(texts) else []


def _trimmed(column: Column) -> Any:
    values = pc.utf8_trim_whitespace(column.values.cast(pa.string()))
    gaps = pc.is_in(values, pa.array(["", *sorted(column.gap_words)], pa.string()))
    return pc.if_else(gaps, pa.scalar(None, pa.string()), values)


def _no_dates(texts: Sequence[str | None]) -> list[int]:
    return [n for n, text in enumerate(texts) if text is not None and read_date(text) is None]


def _only_dates(values: Any, notes: list[str]) -> Any:
    """The dates of a column; a text among them that is none becomes a gap, and is told."""
    texts = values.to_pylist()
    wrong = _no_dates(texts)
    if not wrong:
        return values
    told = ", ".join(f"row {number + 1} {texts[number]!r:.40}" for number in wrong[:MAX_TOLD])
    more = f" and {len(wrong) - MAX_TOLD:,} more" if len(wrong) > MAX_TOLD else ""
    notes.append(f"holds dates, but {told}{more} is none: they are gaps")
    none = set(wrong)
    return pa.chunked_array([[None if n in none else t for n, t in enumerate(texts)]], pa.string())


def _clean(value: Any) -> Any:
    return clean_text(value) or None if isinstance(value, str) else value


def _names(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if is_feature(name)]


def _signs(row: Row) -> Iterator[tuple[str, Any]]:
    """The value of each column; a number also by its digits behind the point."""
    for name, value in row.items():
        if is_feature(name) and value is not None:
            yield f"a value of column {name!r}", value
            if isinstance(value, float) and not value.is_integer():
                yield f"digits behind the point in column {name!r}", round(value % 1, 9)


def _codes(rows: Sequence[Row], name: str) -> dict[str, int]:
    texts = {str(row[name]) for row in rows if isinstance(row.get(name), str)}
    return {text: number for number, text in enumerate(sorted(texts))}


def _number(value: Any, codes: Mapping[str, int]) -> float:
    if isinstance(value, str):
        return float(codes.get(value, np.nan))
    return float("nan") if value is None else float(value)


INPUT: Input = _Table()
