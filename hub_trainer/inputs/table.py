"""Table: a row of numbers, words and booleans; each column but the answer's is a feature."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hub_trainer.errors import DataError
from hub_trainer.inputs import (
    Altered,
    Column,
    Input,
    Near,
    Row,
    SignsOf,
    Values,
    altered_tables,
    near_tables,
)
from hub_trainer.recipe.columns import is_feature

LARGEST_WHOLE = 2**63 - 1


class Table:
    """The features of a row, by the names of their columns."""

    name = "table"
    near: Near = near_tables
    altered: Altered = altered_tables
    repeats_by_chance = True
    has_features = True
    signs_are_rare = True

    # --- columns

    def read(self, column: Column, where: str) -> pa.ChunkedArray:
        """Numbers, booleans and texts; NaN, infinity, blank cells and gap words are null.

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
            values = pc.utf8_trim_whitespace(values.cast(pa.string()))
            gaps = pc.is_in(values, pa.array(["", *sorted(column.gap_words)], pa.string()))
            return pc.if_else(gaps, pa.scalar(None, pa.string()), values)
        raise DataError(
            "A feature is neither number, text nor boolean.",
            where=where,
            got=str(kind),
            do="Write it as numbers or texts, or leave it out: drop_columns in the recipe.",
        )

    def fault(self, value: Any, *, max_pixels: int) -> str | None:
        """None: any value is a feature."""

    # --- identity

    def content(self, row: Row) -> bytes:
        """The features by their names, whole numbers as floats."""
        return near_tables.normal_row(row)

    def normal(self, row: Row) -> bytes:
        """As `content`."""
        return near_tables.normal_row(row)

    def compared(self, row: Row) -> Row:
        """The row as it is."""
        return row

    # --- review

    def signs(self, new: Sequence[Row], base: Sequence[Row]) -> SignsOf:
        """Values of columns."""
        return _signs

    def columns(
        self, new: Sequence[Row], base: Sequence[Row], *, language: bool
    ) -> tuple[Values, Values]:
        """The features themselves."""
        names = _names(new[0])
        ours, theirs = (
            {name: [row.get(name) for row in rows] for name in names} for rows in (new, base)
        )
        return ours, theirs

    def features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """Numbers as they are; words by their place among those of the base, unseen as NaN."""
        names = _names(base[0])
        codes = {name: _codes(base, name) for name in names}

        def encode(rows: Sequence[Row]) -> NDArray[np.float64]:
            return np.array(
                [[_number(row.get(name), codes[name]) for name in names] for row in rows]
            )

        return encode(base), encode(new)

    def linear_features(self, base: Sequence[Row], new: Sequence[Row]) -> tuple[Any, Any]:
        """In units of their spread from the middle; a gap is in the middle."""
        features, others = self.features(base, new)
        middle, spread = np.nanmedian(features, axis=0), np.nanstd(features, axis=0)
        middle, spread = np.nan_to_num(middle), np.where(spread > 0, spread, 1.0)
        return tuple(np.nan_to_num((one - middle) / spread) for one in (features, others))

    def judge(self) -> Any:
        """A random forest, which needs no scales and takes gaps."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(200, min_samples_leaf=2, random_state=0)


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


INPUT: Input = Table()
