"""Triggers: signs that new rows share, that the dataset hardly knows, and that go with one label.

A word, a phrase, a small patch of a picture or a value of a column becomes a back door when rows
that carry it all have one label. Such a sign is told from a topic of its own by three figures that
have to be extreme together: how much more often it occurs than in the dataset, how pure its label
is, and in how many rows.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.checks.small_pictures import small_pictures
from hub_trainer.inputs import SignsOf, load_input

Row = Mapping[str, Any]
IntArray = NDArray[np.int64]

MIN_ROWS = 5
MIN_PURITY = 0.9
CHANCE = 0.005
"""How improbable so many rows with a sign must be, over all signs of several rows together."""
MAX_PURITY_CHANCE = 0.001
MIN_RATIO = 3.0
"""How many times more often than in the dataset a sign must occur."""
PRIOR_ROWS = 20.0
"""Weight of a sign's rate over all labels in that of one label, in rows."""
MAX_NAMED = 5
MAX_PICTURES = 1_500
WINDOWS = (1, 2, 3)
"""Sides of the patches that are looked at, in cells of a small picture."""
MAX_PLACES = 4_000_000


@dataclass(frozen=True)
class Trigger:
    """A sign, named by what it is and not by what it says; rows are counted from 1."""

    kind: str
    rows: tuple[int, ...]
    pure: int
    """Those of the rows that carry the one label."""
    num_base: int
    """Rows of the dataset with the sign."""
    p_value: float
    """Chance of so many new rows with it: at the dataset's rate, or of all rows with it."""

    def to_json(self) -> dict[str, Any]:
        """As the worker answers."""
        return {**vars(self), "rows": list(self.rows)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Trigger":
        """From the worker's answer."""
        return cls(**{**content, "rows": tuple(map(int, content["rows"]))})


@dataclass(frozen=True)
class _Counts:
    """What a sign is judged by: the labels of the new rows and of the dataset's."""

    labels: Sequence[str]
    base_labels: Sequence[str]
    doubts_rate: bool
    """Whether the dataset's rate is taken for uncertain. Most values and patches are seen a few
    times only, and then by chance in new rows alone; in texts this would hide a trigger word."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", Counter(self.labels))
        object.__setattr__(self, "base_counts", Counter(self.base_labels))

    def rate(self, known: Mapping[str, int]) -> float:
        """How often new rows would have a sign that `known[label]` rows of the dataset have.

        Where rows of one label have it, more rows of that label bring more of it.
        """
        counts, base_counts = self.counts, self.base_counts  # type: ignore[attr-defined]
        overall = (sum(known.values()) + 1) / (len(self.base_labels) + 2)
        mixed = sum(
            count * (known.get(label, 0) + PRIOR_ROWS * overall) / (base_counts[label] + PRIOR_ROWS)
            for label, count in counts.items()
        )
        return float(max(overall, mixed / len(self.labels)))

    def judge(self, kind: str, rows: Sequence[int], base_rows: Sequence[int]) -> Trigger | None:
        """The sign as a trigger, unless its rate or its labels are as they may be by chance.

        `rows` and `base_rows` have it, by their places.
        """
        from scipy.stats import binom, hypergeom

        label, pure = Counter(self.labels[row] for row in rows).most_common(1)[0]
        if len(rows) < MIN_ROWS or pure < MIN_PURITY * len(rows):
            return None
        num_new, num_base = len(self.labels), len(base_rows)
        share = self.counts[label] / num_new  # type: ignore[attr-defined]
        if float(binom.sf(pure - 1, len(rows), share)) > MAX_PURITY_CHANCE:
            return None
        rate = self.rate(Counter(self.base_labels[row] for row in base_rows))
        if len(rows) < MIN_RATIO * rate * num_new:
            return None
        if self.doubts_rate:
            seen = len(rows) + num_base
            both = num_new + len(self.base_labels)
            more = float(hypergeom.sf(len(rows) - 1, both, seen, num_new))
        else:
            more = float(binom.sf(len(rows) - 1, num_new, rate))
        return Trigger(kind, tuple(row + 1 for row in rows), pure, num_base, more)


def find_triggers(
    new: Sequence[Row], base: Sequence[Row], modality: str, *, labels: Sequence[str]
) -> list[Trigger]:
    """The most improbable signs of `new` rows, no two of the same rows.

    `labels`: one per row of `new`, then one per row of `base`.
    """
    if len(set(labels[: len(new)])) < 2 or not base:
        return []
    shown = load_input(modality)
    counts = _Counts(labels[: len(new)], labels[len(new) :], doubts_rate=shown.signs_are_rare)
    signs_of = shown.signs(new, base)
    if signs_of is None:
        found, num_signs = _patches(new, base, counts)
    else:
        found, num_signs = _signs(new, base, counts, signs_of)
    likely = [one for one in found if one.p_value < CHANCE / max(1, num_signs)]
    return _distinct(sorted(likely, key=lambda one: (one.p_value, one.kind)))


def _distinct(triggers: Iterable[Trigger]) -> list[Trigger]:
    """One sign per set of rows: the words of a phrase occur where the phrase does."""
    kept: list[Trigger] = []
    for one in triggers:
        rows = set(one.rows)
        if all(len(rows & set(other.rows)) < 0.8 * len(rows) for other in kept):
            kept.append(one)
        if len(kept) == MAX_NAMED:
            break
    return kept


def _signs(
    new: Sequence[Row], base: Sequence[Row], counts: _Counts, signs_of: SignsOf
) -> tuple[list[Trigger], int]:
    """Signs that several new rows share, judged; and how many there were to look at."""
    where: dict[tuple[str, Hashable], list[int]] = {}
    for number, row in enumerate(new):
        for sign in set(signs_of(row)):
            where.setdefault(sign, []).append(number)
    shared = {sign: rows for sign, rows in where.items() if len(rows) >= MIN_ROWS}
    known: dict[tuple[str, Hashable], list[int]] = {sign: [] for sign in shared}
    for number, row in enumerate(base):
        for sign in set(signs_of(row)) & shared.keys():
            known[sign].append(number)
    judged = (counts.judge(sign[0], rows, known[sign]) for sign, rows in shared.items())
    return [one for one in judged if one], len(shared)


def _patches(new: Sequence[Row], base: Sequence[Row], counts: _Counts) -> tuple[list[Trigger], int]:
    """Small squares that look alike: at one place of many pictures, or wherever they stand."""
    new, base = new[:MAX_PICTURES], base[:MAX_PICTURES]
    counts = _Counts(counts.labels[: len(new)], counts.base_labels[: len(base)], counts.doubts_rate)
    cells, known = small_pictures(new), small_pictures(base)
    found: list[Trigger] = []
    num_signs = 0
    for side in WINDOWS:
        codes, base_codes = _windows(cells, side), _windows(known, side)
        for place in range(codes.shape[1]):
            judged, number = _at_one_place(codes[:, place], base_codes[:, place], counts)
            found += judged
            num_signs += number
    moved, more = _anywhere(_windows(cells, WINDOWS[-1]), _windows(known, WINDOWS[-1]), counts)
    return [*found, *moved], num_signs + more


def _at_one_place(
    codes: IntArray, base_codes: IntArray, counts: _Counts
) -> tuple[list[Trigger], int]:
    values, number = np.unique(codes, return_counts=True)
    judged = []
    shared = values[number >= MIN_ROWS]
    for value in shared:
        known, rows = np.flatnonzero(base_codes == value), np.flatnonzero(codes == value)
        if len(known) * len(codes) < 0.5 * len(rows) * len(base_codes):
            judged.append(counts.judge("a patch at one place", rows.tolist(), known.tolist()))
    return [one for one in judged if one], len(shared)


def _anywhere(codes: IntArray, base_codes: IntArray, counts: _Counts) -> tuple[list[Trigger], int]:
    """Patches that are not of one colour, in whatever place. codes: (pictures, places)"""
    if max(codes.size, base_codes.size) > MAX_PLACES:
        return [], 0
    pairs = [
        np.unique(np.stack([one.ravel(), np.repeat(np.arange(len(one)), one.shape[1])]), axis=1)
        for one in (codes, base_codes)
    ]
    values, start, number = np.unique(pairs[0][0], return_index=True, return_counts=True)
    in_base = dict(zip(*np.unique(pairs[1][0], return_counts=True), strict=True))
    judged = []
    shared = np.flatnonzero(number >= MIN_ROWS)
    for place in shared:
        num_base = int(in_base.get(values[place], 0))
        if num_base * len(codes) < 0.5 * number[place] * len(base_codes):
            rows = pairs[0][1][start[place] : start[place] + number[place]]
            known = pairs[1][1][pairs[1][0] == values[place]]
            judged.append(counts.judge("a patch", rows.tolist(), known.tolist()))
    return [one for one in judged if one], len(shared)


def _windows(cells: IntArray, side: int) -> IntArray:
    """A code for each square of `side` cells. cells: (N, S, S) -> (N, places)"""
    size = cells.shape[1] - side + 1
    codes = np.zeros((len(cells), size, size), dtype=np.int64)
    for down in range(side):
        for right in range(side):
            part = cells[:, down : down + size, right : right + size]
            codes = codes * 1_000_003 + part + 1
    return codes.reshape(len(cells), -1)
