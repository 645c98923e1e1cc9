"""Shifts: columns of new rows whose values lie elsewhere than those of the dataset.

An age in months, a country that no row has, texts in another script or pictures of another size
teach a model something else than the dataset does, whatever their labels say. All figures are free
of assumptions on the distribution; a shift must be large and improbable.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.answers import Answer
from hub_trainer.checks.quoting import listed
from hub_trainer.inputs import Measure, load_input
from hub_trainer.inputs.dates import EXAMPLE, holds_dates, read_date

Row = Mapping[str, Any]
FloatArray = NDArray[np.float64]

CHANCE = 0.001
"""How improbable a shift must be by chance, over all columns together."""
MIN_DISTANCE = 0.4
"""Kolmogorov-Smirnov distance from which a column lies elsewhere."""
MIN_WRITING_DISTANCE = 0.6
"""The same for texts' length and spelling, which differ from one honest writer to the next."""
MIN_LENGTH_RATIO = 1.5
MIN_SPELLING_LOSS = 0.3
USUAL = 0.9
"""Share of the dataset's values, the middle ones, among which half of the new ones may lie."""
MIN_BASE_ROWS = 30
FAR = 2.0
"""Widths of the dataset's range beyond which even one value is shown to a person."""
MAX_CATEGORIES = 50
MAX_QUOTED = 3


@dataclass(frozen=True)
class Shift:
    """A column that lies elsewhere.

    `what` says what the new rows hold and what is usual in the dataset: figures with their unit,
    or a few categories, cut.
    """

    column: str
    what: str
    rows: tuple[int, ...] = ()
    """Those that stand out, from 1; none when all of them do."""

    def to_json(self) -> dict[str, Any]:
        """As the worker answers."""
        return {**vars(self), "rows": list(self.rows)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Shift":
        """From the worker's answer."""
        return cls(**{**content, "rows": tuple(map(int, content["rows"]))})


def find_shifts(
    new: Sequence[Row],
    base: Sequence[Row],
    modality: str,
    answer: Answer,
) -> list[Shift]:
    """The columns of `new` rows that lie elsewhere than in `base`, and sizes of the answers.

    Rows of one label lie where rows of that label do: a column that goes with the label is no shift
    where it lies as in the dataset's rows of the same answers.
    """
    if len(base) < MIN_BASE_ROWS or not new:
        return []
    found, _ = _compare(new, base, modality, answer)
    groups = answer.strata([row[answer.column] for row in (*new, *base)])
    ours, theirs = set(groups[: len(new)]), groups[len(new) :]
    alike = [row for row, group in zip(base, theirs, strict=True) if group in ours]
    if found and MIN_BASE_ROWS <= len(alike) < len(base):
        again, compared = _compare(new, alike, modality, answer)
        # Of a text's writing half of the rows are compared, and may be too few to clear a column.
        cleared = compared - {one.column for one in again}
        found = [one for one in found if one.column not in cleared]
    return found


def _compare(
    new: Sequence[Row], base: Sequence[Row], modality: str, answer: Answer
) -> tuple[list[Shift], set[str]]:
    """The columns that lie elsewhere, and those that `base` has enough values of to say so."""
    ours, theirs = (
        {**columns, **answer.sizes([row[answer.column] for row in rows])}
        for columns, rows in zip(load_input(modality).columns(new, base), (new, base), strict=True)
    )
    measures = load_input(modality).measures
    found = []
    for name, values in ours.items():
        known = theirs[name]
        if _are_numbers(known) and _are_numbers(values):
            measure = measures.get(name, Measure())
            found.append(_compare_numbers(name, values, known, measure, CHANCE / (2 * len(ours))))
        elif holds_dates(known):
            found.append(_compare_dates(name, values, known))
        else:
            found.append(_compare_categories(name, values, known, len(ours)))
    enough = {
        name
        for name, values in theirs.items()
        if sum(value is not None for value in values) >= MIN_BASE_ROWS
    }
    return [one for one in found if one], enough


def _are_numbers(values: Sequence[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )


# --- numbers


def _compare_numbers(
    name: str, values: Sequence[Any], known: Sequence[Any], measure: Measure, chance: float
) -> Shift | None:
    """Values beyond the dataset's range, too many or too far; else a shift as a whole."""
    new = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    base = np.array([value for value in known if value is not None], dtype=np.float64)
    present = new[~np.isnan(new)]
    if len(base) < MIN_BASE_ROWS or not len(present) or _counts_rows(base):
        return None
    if not measure.is_writing:
        low, high = float(base.min()), float(base.max())
        outside = np.flatnonzero((new < low) | (new > high))
        over, under = int((present > high).sum()), int((present < low).sum())
        many = min(_beyond(n, len(present), len(base)) for n in (over, under)) < chance
        if many or _is_far(new, base).any():
            what = f"{_held(new[outside], len(new), measure)}; {_usual(base, measure)}"
            return Shift(name, what + _unit(present, base), _numbers(outside))
    return _compare_whole(name, new, base, measure, chance)


def _held(values: FloatArray, num_rows: int, measure: Measure) -> str:
    """What the rows that stand out hold."""
    ends = sorted({float(values.min()), float(values.max())})
    hold = "holds" if len(values) == 1 else "hold"
    return f"{len(values)} of {num_rows} rows {hold} {measure.told(*ends)}"


def _usual(base: FloatArray, measure: Measure) -> str:
    """The dataset's range, and that of most of its rows."""
    ends = measure.told(float(base.min()), float(base.max()))
    return f"the dataset's rows hold {ends}, nine of ten of them {measure.told(*_middle(base))}"


def _middle(base: FloatArray) -> tuple[float, float]:
    """Between which values the USUAL ones lie."""
    low, high = np.quantile(base, [0.5 - USUAL / 2, 0.5 + USUAL / 2])
    return float(low), float(high)


def _numbers(places: NDArray[Any]) -> tuple[int, ...]:
    return tuple((places + 1).tolist())


def _counts_rows(base: FloatArray) -> bool:
    """Whether a column is a number of its own for each row, as ids and times of entry are."""
    return bool(np.all(base % 1 == 0)) and len(np.unique(base)) == len(base)


def _compare_whole(
    name: str, new: FloatArray, base: FloatArray, measure: Measure, chance: float
) -> Shift | None:
    from scipy.stats import ks_2samp

    present = new[~np.isnan(new)]
    found = ks_2samp(present, base)
    least = MIN_WRITING_DISTANCE if measure.is_writing else MIN_DISTANCE
    if found.statistic < least or found.pvalue > chance:
        return None
    middle, usual = float(np.median(present)), float(np.median(base))
    low, high = _middle(base)
    if low <= middle <= high or (
        measure.is_writing and not _reads_otherwise(middle, usual, measure)
    ):
        return None
    beyond = new < low if middle < low else new > high
    if measure.is_log:
        what = _rarer(middle, usual, low)
    else:
        side = "at most" if middle < low else "at least"
        what = f"half of the new rows hold {side} {measure.told(middle)}; {_usual(base, measure)}"
    return Shift(name, what, _numbers(np.flatnonzero(beyond)))


def _rarer(middle: float, usual: float, low: float) -> str:
    """Mean log probabilities of pairs of letters, as how many times rarer those are than usual."""
    times, most = np.exp(usual - middle), np.exp(usual - low)
    return (
        f"in half of the new rows the pairs of letters are at least {times:.1f} times rarer than "
        f"is usual in the dataset, where nineteen of twenty rows stay under {most:.1f} times"
    )


def _reads_otherwise(middle: float, usual: float, measure: Measure) -> bool:
    """Half as long again, or spelt less likely: texts of one pattern differ surely, in little."""
    if measure.is_log:
        return usual - middle > MIN_SPELLING_LOSS
    return max(middle, usual) > MIN_LENGTH_RATIO * min(middle, usual)


def _beyond(count: int, num_new: int, num_base: int) -> float:
    """Chance that the `count` largest of all values are new ones, when all are drawn alike."""
    steps = np.arange(count)
    return float(np.prod((num_new - steps) / (num_new + num_base - steps)))


def _is_far(new: FloatArray, base: FloatArray) -> NDArray[np.bool_]:
    """Values more than FAR ranges beyond the dataset's; long tails count in logarithms.

    Where all of the dataset's are over zero, as prices and ages are, one below it is far too.
    """
    beyond = new < 0 if base.min() > 0 else np.zeros(len(new), dtype=bool)
    margin = FAR
    if base.min() > 0 and base.max() > 20 * np.median(base):
        beyond, margin = new <= 0, 0.5
        new, base = np.log(np.where(new > 0, new, np.nan)), np.log(base)
    width = margin * float(base.max() - base.min())
    if width:
        beyond = beyond | (new > base.max() + width) | (new < base.min() - width)
    return beyond


UNITS = {12: "months for years", 7: "days for weeks", 24: "hours for days", 60: "minutes for hours"}
UNITS |= {1000: "thousandths of the unit", 100: "hundredths of the unit"}


def _unit(new: FloatArray, base: FloatArray) -> str:
    """A hint, where the values are as many times larger as a change of units would make them."""
    usual = float(np.median(base))
    factor = float(np.median(new)) / usual if usual else 0.0
    for times, words in UNITS.items():
        if abs(factor / times - 1) < 0.15:
            return f"; {times} times the dataset's, as {words} would be"
        if abs(factor * times - 1) < 0.15:
            return f"; a {times}th of the dataset's"
    return ""


# --- dates


def unread_dates(no_dates: Mapping[str, Sequence[int]]) -> list[Shift]:
    """Texts among a column's dates that are none; the reading has made gaps of them."""
    told = "cannot be read as a date, and would be gaps; write dates as"
    return [
        Shift(
            name,
            f"{len(rows)} {'text' if len(rows) == 1 else 'texts'} {told} {EXAMPLE}",
            tuple(rows),
        )
        for name, rows in no_dates.items()
    ]


def _compare_dates(name: str, values: Sequence[Any], known: Sequence[Any]) -> Shift | None:
    """Cells that are no dates as they are read, or that lie far from all of the dataset's."""
    days = [read_date(value) if isinstance(value, str) else None for value in values]
    odd = [n for n, value in enumerate(values) if value is not None and days[n] is None]
    base = sorted(found for one in known if isinstance(one, str) and (found := read_date(one)))
    usual = f"{base[0]:%Y-%m-%d} to {base[-1]:%Y-%m-%d}"
    if odd:
        held = _commonest(Counter(str(values[n]) for n in odd))
        hold = "holds" if len(odd) == 1 else "hold"
        what = (
            f"{len(odd)} of {len(values)} rows {hold} {held}, which cannot be read as a date; the "
            f"dataset's rows hold dates, as {EXAMPLE}, from {usual}"
        )
        return Shift(name, what, tuple(n + 1 for n in odd))
    if len(base) < MIN_BASE_ROWS:
        return None
    theirs = np.array([one.timestamp() for one in base])
    ours = np.array([one.timestamp() if one else np.nan for one in days])
    width = FAR * float(theirs.max() - theirs.min())
    far = np.flatnonzero((ours > theirs.max() + width) | (ours < theirs.min() - width))
    if not len(far):
        return None
    named = sorted({one.date().isoformat() for n in far if (one := days[int(n)])})
    held = ", ".join(named[:MAX_QUOTED]) + (" and others" if len(named) > MAX_QUOTED else "")
    hold = "holds" if len(far) == 1 else "hold"
    what = f"{len(far)} of {len(values)} rows {hold} {held}; the dataset's rows hold {usual}"
    return Shift(name, what, _numbers(far))


# --- categories


def _compare_categories(
    name: str, values: Sequence[Any], known: Sequence[Any], num_columns: int
) -> Shift | None:
    """Rows of categories that no row of the dataset has.

    Where the dataset has categories of which there is one row only, more of them are to be expected
    (Good and Turing); where it has none, a new category is for a person to see.
    """
    from scipy.stats import binom

    counts = Counter(value for value in known if value is not None)
    unseen = [n for n, value in enumerate(values) if value is not None and value not in counts]
    if not unseen or not counts:
        return None
    once = sum(count == 1 for count in counts.values())
    closed = once == 0 and len(counts) <= MAX_CATEGORIES
    expected = min(1.0, (once + 1) / len(known))
    chance = float(binom.sf(len(unseen) - 1, len(values), expected))
    if not closed and chance > CHANCE / num_columns:
        return None
    ours = Counter(str(values[n]) for n in unseen)
    theirs = Counter(str(value) for value in counts.elements())
    hold = "holds" if len(unseen) == 1 else "hold"
    what = (
        f"{len(unseen)} of {len(values)} rows {hold} {_commonest(ours)}, which no row of the "
        f"dataset has; its rows hold {_commonest(theirs)}"
    )
    return Shift(name, what, tuple(n + 1 for n in unseen))


def _commonest(counts: Counter[str]) -> str:
    return listed([value for value, _ in counts.most_common()], MAX_QUOTED)
