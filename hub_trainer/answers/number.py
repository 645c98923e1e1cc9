"""Number: a finite number per row, as a price or a score."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hub_trainer.answers import (
    MISSING,
    SAME,
    SAY_WHETHER_RIGHT,
    USUAL_RATERS,
    Asking,
    Prediction,
    Section,
    Sentence,
)
from hub_trainer.answers.asking import BY_COLUMN
from hub_trainer.answers.measuring import ByStatistics
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.metrics.numbers import NUMBER_METRICS, number_statistics
from hub_trainer.metrics.retrieval import RETRIEVAL_METRICS, retrieval_statistics
from hub_trainer.stats import (
    AggregatedLabel,
    Aggregation,
    Metric,
    RaterSummary,
    Statistics,
)
from hub_trainer.stats.intervals import FloatArray

NUM_STRATA = 10
ALIKE = 0.05
"""Relative difference up to which two numbers of people say the same."""
AGREED = 0.25
"""Share of the spread of all that is said within which raters agree."""
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
MAX_POINTS = 2_000
MEAN_METRICS = frozenset(NUMBER_METRICS) - {"mae"}
"""Metrics of which the mean is the best constant; of absolute errors it is the median."""


@dataclass(frozen=True)
class Number(ByStatistics):
    """One finite number per row."""

    measures: ClassVar[Mapping[str, Metric]] = {**NUMBER_METRICS, **RETRIEVAL_METRICS}
    """Those of retrieval are for tasks whose numbers are made of the vectors of two texts."""
    name: str = "number"
    column: str = "target"
    noun: str = "number"
    plural: str = "numbers"
    metrics: frozenset[str] = frozenset(NUMBER_METRICS)
    positive_metrics: frozenset[str] = frozenset()
    usual_metrics: tuple[str, ...] = ("mae", "r2")
    tolerance: float = 1e-4
    """Relative, or absolute for numbers under 1."""
    figure: str | None = "predictions.png"
    counted: str | None = None
    predicts_names: bool = False
    usual_raters: int = USUAL_RATERS
    rated_how: str = SAY_WHETHER_RIGHT
    question: str = "Is this about right?"
    hint: str = "Write a number first."
    may_be_alike: bool = False
    """Whether all rows may have one number, as pairs of which all belong together."""
    is_share_of_names: bool = False
    linear_model: str = "ridge regression"
    is_of_words: bool = False
    asking: Asking = BY_COLUMN

    # --- rows

    def read(self, column: Column, where: str) -> pa.Array:
        """Numbers; NaN, which is a fault, for what is none, and null for a gap."""
        kind = column.values.type
        texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if column.class_names is not None or not (
            texts or numeric or pa.types.is_decimal(kind) or pa.types.is_null(kind)
        ):
            raise _not_numbers(where, "classes" if column.class_names else str(kind))
        values = [None if v is None else _number(v) for v in column.values.to_pylist()]
        broken = sum(value is not None and math.isnan(value) for value in values)
        if texts and 2 * broken > len(values):
            example = next(v for v in column.values.to_pylist() if v and math.isnan(_number(v)))
            raise _not_numbers(where, f"text, as {example!r:.60}")
        return pa.array(values, pa.float64())

    def cell(self, value: Any) -> Any:
        """The value itself."""
        return value

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ["target is missing"]
        return [] if math.isfinite(value) else ["target is not a finite number"]

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """The classes."""
        return list(class_names)

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """None: numbers have no names."""
        del values, declared
        return []

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Few different numbers, which may be classes."""
        distinct = sorted(set(values))
        if 2 < len(distinct) <= 10 and len(values) >= 100 and all(v == int(v) for v in distinct):
            shown = ", ".join(f"{value:g}" for value in distinct)
            return [f"the target has only the values {shown}; if they have no order, learn labels"]
        return []

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError when all training rows have one number."""
        if not self.may_be_alike and len(set(values["train"])) < 2:
            raise DataError(
                "The training rows all have one target.",
                where="collect.datasets",
                got=", ".join(f"{value:g}" for value in set(values["train"])) or "no rows",
                do="Name the column that holds the numbers: columns: {target: ...}.",
            )

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """As in collect."""
        self.assert_taught(values)

    def settle(self, values: Sequence[Any]) -> Any | None:
        """The median, where the values lie close together; None where they contradict."""
        middle = float(np.median(values))
        return middle if all(self.same(value, middle) for value in values) else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two numbers differ by a twentieth at most."""
        return math.isclose(one, other, rel_tol=ALIKE, abs_tol=1e-9)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """Tenths of the values."""
        inner = np.quantile(values, np.linspace(0, 1, NUM_STRATA + 1)[1:-1]) if values else []
        return [str(place) for place in np.searchsorted(inner, values, side="right")]

    def parts(self, value: Any) -> list[str]:
        """None."""
        del value
        return []

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """Between which ends they lie."""
        del names
        known = [value for value in values if value is not None and math.isfinite(value)]
        return f"numbers from {min(known):g} to {max(known):g}" if known else "no numbers"

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Nothing to count."""
        del values
        return {}

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """The numbers themselves."""
        return {self.column: [float(value) for value in values]}

    def dumps(self, value: Any) -> str:
        """The shortest text that gives the same number back."""
        return repr(float(value))

    def loads(self, text: str) -> Any:
        """The number in a text."""
        if not text:
            raise ValueError(MISSING)
        value = _number(text)
        if not math.isfinite(value):
            raise ValueError(f"{text!r:.60} is no number.")
        return value

    # --- measured

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Any model of numbers can be measured."""
        del prediction, names
        return True

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The predictions as they are."""
        del names
        return list(found)

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """The mean, or of absolute errors the median."""
        if primary in MEAN_METRICS:
            return "always the mean of the test rows", Prediction(float(np.mean(values)))
        return "always the median of the test rows", Prediction(float(np.median(values)))

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Every metric of numbers can be measured."""

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example."""
        del names
        if metric in RETRIEVAL_METRICS:
            return retrieval_statistics(metric, references, [one.vectors for one in found])
        return number_statistics(metric, references, _values(found))

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / strength, random_state=seed).fit(features, values)
        return [Prediction(float(value)) for value in model.predict(asked)]

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """(N,) minus the absolute error, in units of the mean error of a constant median."""
        truth = np.asarray(references, dtype=np.float64)
        usual = float(np.mean(np.abs(truth - np.median(truth)))) or 1.0
        errors: FloatArray = np.abs(np.asarray(_values(found), dtype=np.float64) - truth)
        return -errors / usual

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """The four quarters of the true numbers."""
        return {self.column: [QUARTERS[place] for place in _quarters(references)]}

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Errors by quarter of the true numbers, and points for the picture."""
        del names
        truth = np.asarray(references, dtype=np.float64)
        given = np.asarray(_values(found), dtype=np.float64)
        places = np.asarray(_quarters(references))
        quarters = []
        for place, name in enumerate(QUARTERS):
            chosen = places == place
            if chosen.any():
                errors = given[chosen] - truth[chosen]
                quarters.append(
                    {
                        "quarter": name,
                        "low": float(truth[chosen].min()),
                        "high": float(truth[chosen].max()),
                        "mae": float(np.abs(errors).mean()),
                        "bias": float(errors.mean()),
                        "support": int(chosen.sum()),
                    }
                )
        step = max(1, math.ceil(len(truth) / MAX_POINTS))
        points = np.stack([truth, given], axis=1)[::step]
        return {"errors": {"quarters": quarters, "points": points.tolist()}}

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """Predictions over the truth."""
        from hub_trainer.answers.plots import plot_numbers

        assert self.figure is not None
        truth, given = zip(*detail["errors"]["points"], strict=True)
        plot_numbers(truth, given, folder / self.figure)

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Errors by quarter of the true numbers."""
        header = ["true values", "from", "to", "mean absolute error", "mean error", "test rows"]
        keys = ("quarter", "low", "high", "mae", "bias", "support")
        return [
            Section(
                "Errors",
                header,
                [[one[key] for key in keys] for one in detail["errors"]["quarters"]],
                text="By quarter of the true values; a mean error over 0 is too high a prediction.",
                figure=self.figure,
                alt="Predictions over true values of the test examples",
            )
        ]

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """Where errors are largest, and whether the ends are drawn to the middle."""
        del counts
        quarters = detail["errors"]["quarters"]
        if len(quarters) < 2:
            return []
        worst = max(quarters, key=lambda one: one["mae"])
        found = [
            Sentence(
                f"Its errors are largest in the {worst['quarter']} of the true values, "
                f"{worst['low']:.4g} to {worst['high']:.4g}: {worst['mae']:.4g} on average."
            )
        ]
        first, last = quarters[0], quarters[-1]
        if first["bias"] > 0 > last["bias"]:
            found.append(
                Sentence(
                    "It draws extremes to the middle: low values are predicted "
                    f"{first['bias']:.4g} too high, high ones {-last['bias']:.4g} too low on "
                    "average."
                )
            )
        return found

    def summary(self, names: Sequence[str]) -> str:
        """Nothing: the task's name says it."""
        del names
        return ""

    def repeated(self, worst: float) -> str:
        """Of the proof of reloading."""
        if worst:
            return f"no number differed by more than {worst:.1e} of itself"
        return "the numbers were the same"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """Relative to the larger number, or to 1."""
        if not (math.isfinite(one.value) and math.isfinite(other.value)):
            return math.inf
        return float(abs(one.value - other.value) / max(1.0, abs(one.value), abs(other.value)))

    # --- rated

    def describe(self, names: Sequence[str]) -> str:
        """What the model does."""
        del names
        return "estimates a number"

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The number."""
        del names
        return "Number", {"label": "Prediction", "interactive": False}

    def shown(self, prediction: Prediction) -> Any:
        """The number with as many digits as people read."""
        return float(f"{prediction.value:.6g}")

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A field for the right number."""
        del names
        return "Number", {"value": None, "label": "The right number"}

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: it is given anew."""
        del predicted, names
        return {"value": None}

    def said(self, corrected: Any) -> str:
        """The number in the field."""
        return "" if corrected is None else str(corrected)

    def told(self, text: str) -> str:
        """The number with as many digits as people read."""
        return f"{float(text):,.6g}"

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """A number, and another than the predicted one."""
        del names
        value = self.loads(text)
        if math.isclose(value, self.loads(predicted), rel_tol=1e-6):
            raise ValueError(SAME)
        return self.dumps(value)

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' numbers become one."""
        proven = ", of those who know rows whose number is known" * (aggregate != "majority")
        return f"the median of at least {raters}{proven}, most of whom say nearly the same"

    def agree(
        self,
        votes: Sequence[tuple[str, str, str]],
        gold: Mapping[str, str],
        *,
        rule: str,
        min_raters: int,
        min_gold: int,
    ) -> Aggregation:
        """The median of the raters around the median, where those are most of at least so many.

        They agree within a quarter of the spread of all that is said, or a twentieth of the number.
        By the rule dawid_skene only raters are heard who gave so many numbers for rows whose number
        is known, and most of them rightly.
        """
        said = {(key, rater): self.loads(text) for key, rater, text in votes}
        known = {key: self.loads(text) for key, text in gold.items()}
        room = AGREED * _spread([*said.values(), *known.values()])
        excluded = {} if rule == "majority" else _unproven(said, known, room, min_gold)
        heard: dict[str, dict[str, float]] = defaultdict(dict)
        for (key, rater), value in said.items():
            if rater not in excluded:
                heard[key][rater] = value
        labels = tuple(
            _agreed(key, list(heard[key].values()), room, min_raters, self) for key in sorted(heard)
        )
        return Aggregation(labels, _raters(said, heard, room, excluded))


def _number(value: Any) -> float:
    """A number, or NaN for what is none."""
    if isinstance(value, bool):
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def _not_numbers(where: str, got: str) -> DataError:
    return DataError(
        "The column holds no numbers.",
        where=where,
        got=got,
        do="Write plain numbers with a point, as 12.5, without units; or name another column, "
        "columns: {target: ...}; or take a task that learns labels.",
    )


def _values(found: Sequence[Prediction]) -> list[float]:
    return [float(one.value) for one in found]


def _quarters(values: Sequence[Any]) -> list[int]:
    """The quarter of each value, from 0; equal values are in one quarter."""
    inner = np.quantile(values, [0.25, 0.5, 0.75])
    return [int(place) for place in np.searchsorted(inner, values, side="left")]


def _spread(values: Sequence[float]) -> float:
    """Distance between the ends of the middle half."""
    if len(values) < 2:
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)


def _is_near(value: float, middle: float, room: float) -> bool:
    return abs(value - middle) <= max(room, ALIKE * abs(middle), 1e-9)


def _agreed(
    key: str, values: Sequence[float], room: float, min_raters: int, answer: Number
) -> AggregatedLabel:
    middle = float(np.median(values))
    near = [value for value in values if _is_near(value, middle, room)]
    share = len(near) / len(values)
    decided = len(values) >= min_raters and 2 * len(near) > len(values)
    label = answer.dumps(float(np.median(near))) if near else None
    return AggregatedLabel(key, label if decided else None, share, len(values), decided)


def _unproven(
    said: Mapping[tuple[str, str], float], known: Mapping[str, float], room: float, needed: int
) -> dict[str, str]:
    """Raters without so many numbers for known rows, or with most of them wrong."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for (key, rater), value in said.items():
        if key in known:
            asked[rater] += 1
            right[rater] += _is_near(value, known[key], room)
    return {
        rater: "too few numbers of known rows, or most of them wrong"
        for rater in {rater for _, rater in said}
        if asked[rater] < needed or 2 * right[rater] <= asked[rater]
    }


def _raters(
    said: Mapping[tuple[str, str], float],
    heard: Mapping[str, Mapping[str, float]],
    room: float,
    excluded: Mapping[str, str],
) -> tuple[RaterSummary, ...]:
    """What each rater said, and how often it lay near the median of the others."""
    num_said = Counter(rater for _, rater in said)
    near: dict[str, list[bool]] = defaultdict(list)
    for values in heard.values():
        for rater, value in values.items():
            others = [v for other, v in values.items() if other != rater]
            if others:
                near[rater].append(_is_near(value, float(np.median(others)), room))
    return tuple(
        RaterSummary(
            rater,
            num_said[rater],
            0 if rater in excluded else num_said[rater],
            sum(near[rater]) / len(near[rater]) if near[rater] else None,
            excluded.get(rater),
        )
        for rater in sorted(num_said)
    )


ANSWER = Number()
