"""Copies of table rows that were altered, told from rows that only resemble each other by chance.

Each column gives evidence, in nats: how seldom a row would come as near to the reference's value by
chance, from the values of the references themselves. A column whose value was replaced costs a
little, whatever it holds now. So a copy is seen with one number moved, all numbers shaken, or a
column in another unit, and columns of few values prove little; the very value of one reference
alone proves more, the fewer of them agree. The distance of two rows is the
share of the reference's own evidence that is missing; rows that prove too little are never near.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub_trainer.inputs.dates import SECONDS_PER_DAY, holds_dates, read_date
from hub_trainer.recipe.columns import is_feature

if TYPE_CHECKING:
    import numpy as np

REACH = 0.375
"""Distance within which rows are near when the recipe's `near` is 0.85."""
REPLACED = 0.1
"""Share of a copy's cells that may hold anything; it makes one of them cost 2.3 nats."""
SHAKEN = 0.015
"""Share of the references that lie between a number and its copy, typically."""
MARGIN = 5.0
"""Nats by which the evidence must exceed what the best of all references has by chance."""
CANDIDATES = 12
BLOCK = 256

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Ranks:
    """The cells of a column as places among the references' values: first and behind the last."""

    first: "np.ndarray"
    last: "np.ndarray"
    known: "np.ndarray"
    """Whether a reference has the very value; a number between two of them has a place as well."""


class References:
    """Rows that no other row may be a copy of."""

    def __init__(self, contents: Sequence[Row]) -> None:
        import numpy as np

        self._size = len(contents)
        names = sorted({name for row in contents for name in row if is_feature(name)})
        self._columns = [_Column(name, contents) for name in names]
        self._cells = [column.ranks(contents) for column in self._columns]
        self._widths = [cells.last - cells.first for cells in self._cells]
        self._evidence = np.zeros(self._size)
        for width in self._widths:
            self._evidence += self._column_evidence(width, width)
        self.own = self._nearest(self._cells, self._size, others_only=True)[1]
        """Distance of each reference from the nearest other one: what chance brings."""

    def nearest(self, contents: Sequence[Row]) -> tuple["np.ndarray", "np.ndarray"]:
        """Per row the nearest reference, and its distance."""
        cells = [column.ranks(contents) for column in self._columns]
        return self._nearest(cells, len(contents), others_only=False)

    def _nearest(
        self, cells: Sequence[_Ranks], num_rows: int, *, others_only: bool
    ) -> tuple["np.ndarray", "np.ndarray"]:
        import numpy as np

        best, distances = np.zeros(num_rows, np.int64), np.full(num_rows, np.inf)
        if not self._columns or self._size < 1 + others_only:
            return best, distances
        for start in range(0, num_rows, BLOCK):
            rows = np.arange(start, min(start + BLOCK, num_rows))
            candidates = self._candidates(cells, rows, others_only=others_only)
            found = self._distances(cells, rows, candidates)
            if others_only:
                found[candidates == rows[:, None]] = np.inf
            place = found.argmin(axis=1)
            best[rows] = candidates[np.arange(len(rows)), place]
            distances[rows] = found[np.arange(len(rows)), place]
        return best, distances

    def _candidates(
        self, cells: Sequence[_Ranks], rows: "np.ndarray", *, others_only: bool
    ) -> "np.ndarray":
        """Per row the references that agree with it in the columns that prove most."""
        import numpy as np

        agreed = np.zeros((len(rows), self._size), np.float32)
        reach = 4 * SHAKEN * self._size
        for mine, theirs, width in zip(cells, self._cells, self._widths, strict=True):
            apart = np.maximum(mine.last[rows, None], theirs.last) - np.minimum(
                mine.first[rows, None], theirs.first
            )
            agreed += (apart - width <= reach) * self._column_evidence(width, width)
        if others_only:
            agreed[np.arange(len(rows)), rows] = -np.inf
        count = min(CANDIDATES, self._size)
        return np.argpartition(-agreed, count - 1, axis=1)[:, :count]

    def _distances(
        self, cells: Sequence[_Ranks], rows: "np.ndarray", candidates: "np.ndarray"
    ) -> "np.ndarray":
        import numpy as np

        evidence = np.zeros(candidates.shape, np.float32)
        for column, mine, theirs, width in zip(
            self._columns, cells, self._cells, self._widths, strict=True
        ):
            last = np.maximum(mine.last[rows, None], theirs.last[candidates])
            first = np.minimum(mine.first[rows, None], theirs.first[candidates])
            evidence += self._column_evidence(last - first, width[candidates])
            is_same = mine.known[rows, None] & (last - first == 1)
            evidence += column.of_the_same * is_same
        missing = 1 - evidence / np.maximum(self._evidence[candidates], 1e-6)
        least = np.log(self._size) + MARGIN
        found: np.ndarray = np.where(evidence >= least, np.maximum(missing, 0), np.inf)
        return found

    def _column_evidence(self, apart: "np.ndarray", width: "np.ndarray") -> "np.ndarray":
        """Logarithm of how much likelier so near a value is in a copy than by chance.

        apart: references from the one value up to the other; width: those of the value itself.
        """
        import numpy as np

        chance = np.clip(apart, 1, self._size) / (self._size + 1)
        further = np.clip(apart - width, 0, self._size) / (self._size + 1)
        likely = (1 - REPLACED) / (1 + (further / SHAKEN) ** 2) / chance
        found: np.ndarray = np.log(REPLACED + likely)
        return found


class _Column:
    """A column of the references: numbers and dates by their order, words by how often they stand
    there.
    """

    def __init__(self, name: str, contents: Sequence[Row]) -> None:
        import numpy as np

        self._name = name
        own = [row.get(name) for row in contents]
        self._level = _day if holds_dates(own) else _level
        values = [self._level(value) for value in own]
        self._far = 4 * len(contents) + 4
        self._gaps = sum(value is None for value in values)
        known = [value for value in values if value is not None]
        self._is_number = all(isinstance(value, float) for value in known)
        self._sorted = np.sort(np.array(known if self._is_number else [], float))
        self._counts = Counter(known)
        self._codes = {word: n for n, word in enumerate(self._counts)}
        pairs = len(contents) * (len(contents) - 1) / 2
        alike = sum(count * (count - 1) / 2 for count in self._counts.values())
        self.of_the_same = max(0.0, math.log((pairs + 1) / (alike + 1) / (len(contents) + 1)))
        """Nats that a value proves which is the same as of one reference alone, beside its place:
        in a column of which hardly two agree, its share is far below one in all."""

    def ranks(self, contents: Sequence[Row]) -> _Ranks:
        """The cells of rows; a gap, or a word that no reference holds, is far from all others."""
        import numpy as np

        values = [self._level(row.get(self._name)) for row in contents]
        known = np.array([value in self._counts for value in values], bool)
        if not self._is_number:
            pairs = np.array([self._place(value) for value in values]).reshape(-1, 2)
            return _Ranks(pairs[:, 0], pairs[:, 1], known)
        numbers = np.array([v if isinstance(v, float) else np.nan for v in values], float)
        first = np.searchsorted(self._sorted, numbers, "left")
        last = np.searchsorted(self._sorted, numbers, "right")
        last = np.maximum(last, first + 1)
        for row in np.flatnonzero(np.isnan(numbers)):
            first[row], last[row] = self._place(values[row])
        return _Ranks(first, last, known)

    def _place(self, value: Any) -> tuple[int, int]:
        if value is None:
            return 2 * self._far, 2 * self._far + max(1, self._gaps)
        code = self._codes.get(value)
        if code is None or self._is_number:
            return self._far * 4, self._far * 4 + 1
        return self._far * (5 + code), self._far * (5 + code) + self._counts[value]


def _day(value: Any) -> Any:
    """A date as its days since 1970, in whatever way it is written; else as `_level`."""
    found = read_date(value) if isinstance(value, str) else None
    return found.timestamp() / SECONDS_PER_DAY if found else _level(value)


def _level(value: Any) -> Any:
    """A number as a float, also where it is written as text; words without case and outer space."""
    if isinstance(value, str):
        word = " ".join(value.casefold().split())
        try:
            value = float(word)
        except ValueError:
            return word or None
    if value is None or value != value:
        return None
    return float(value)
