"""Label: one of the names that the training rows have."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hub_trainer.answers import (
    MISSING,
    SAME,
    SAY_WHETHER_RIGHT,
    USUAL_RATERS,
    Asking,
    Prediction,
    Section,
    Sentence,
    plain_estimate,
)
from hub_trainer.answers.asking import BY_COLUMN
from hub_trainer.answers.decisions import reached_of
from hub_trainer.answers.label_names import (
    alike_notes,
    in_order,
    labels_named,
    named,
    plain_label,
    truth_value,
    whole_number,
)
from hub_trainer.answers.measuring import ByStatistics
from hub_trainer.answers.name_probabilities import (
    LABEL_METRICS,
    assert_positive,
    label_statistics,
    logistic_shares,
)
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.metrics import metric_names, metric_spec
from hub_trainer.metrics.positive import POSITIVE_METRICS
from hub_trainer.metrics.probabilities import RANK_METRICS
from hub_trainer.metrics.report import (
    calibration,
    class_table,
    confusion_matrix,
    count_statistics,
    metric_value,
)
from hub_trainer.stats import (
    Aggregation,
    Estimate,
    Metric,
    Statistics,
    dawid_skene_labels,
    majority_labels,
)
from hub_trainer.stats.intervals import FloatArray

MIN_ROWS = 20
"""Rows from which a label for each of them is no chance."""
FEW_EXAMPLES = 30
COUNT_METRICS = metric_names("labels")
"""Metrics of counts of labels, each with its evaluate module."""
IMBALANCE = 3.0
NOTICEABLE_ERROR = 0.05
MAX_MISTAKES = 10
MAX_CHIPS = 12
"""Names that are all shown at once; more of them are searched in a list."""


@dataclass(frozen=True)
class Label(ByStatistics):
    """One name per row; predictions carry a probability per name."""

    measures: ClassVar[Mapping[str, Metric]] = {
        **{name: metric_spec(name).metric for name in COUNT_METRICS},
        **LABEL_METRICS,
    }
    name: str = "label"
    column: str = "label"
    noun: str = "label"
    plural: str = "labels"
    metrics: frozenset[str] = COUNT_METRICS.union(LABEL_METRICS)
    positive_metrics: frozenset[str] = frozenset({*RANK_METRICS, *POSITIVE_METRICS})
    usual_metrics: tuple[str, ...] = ("accuracy", "f1_macro")
    tolerance: float = 1e-4
    """Of a probability."""
    figure: str | None = "confusion.png"
    counted: str | None = "label"
    predicts_names: bool = True
    usual_raters: int = USUAL_RATERS
    rated_how: str = SAY_WHETHER_RIGHT
    question: str = "Is this right?"
    hint: str = "Choose one of the labels first."
    is_share_of_names: bool = True
    linear_model: str = "logistic regression"
    is_of_words: bool = False
    asking: Asking = BY_COLUMN
    positive: str | None = None
    """The label that is looked for, of which some metrics are."""

    # --- rows

    def read(self, column: Column, where: str) -> pa.Array:
        """Names; null for a gap and for -1, which the Hub's datasets write for a hidden label."""
        if column.class_names is not None:
            return class_names(column.values, column.class_names, where)
        return label_texts(column, where)

    def cell(self, value: Any) -> Any:
        """The value itself."""
        return value

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value."""
        return [] if isinstance(value, str) and value else ["label is empty"]

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """The classes."""
        return list(class_names)

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """The dataset's classes in their order, then other labels: numbers by their size."""
        return [*declared, *in_order(set(values) - set(declared))]

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Labels that are probably the same."""
        return alike_notes(Counter(values))

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError for labels of sealed rows that no training row has, or one per row."""
        seen = set(values["train"])
        if len(seen) == len(values["train"]) >= MIN_ROWS:
            raise DataError(
                "Every training row has a label of its own, so that nothing can be learned.",
                where="collect.datasets",
                got=f"{len(seen):,} labels, as {next(iter(in_order(seen)))!r:.60}",
                do="Name the column that holds one of a few labels: columns: {label: ...}.",
            )
        assert_names_seen(seen, {role: set(found) for role, found in values.items()})

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError where one label is left, or one of sealed rows is taught no more."""
        seen = set(values["train"])
        if len(seen) < 2:
            got = f"only {', '.join(seen)}"
            do = "Collect rows of at least two labels."
            what = "The training rows all have one label."
            raise DataError(what, where="prepare", got=got, do=do)
        for name in ("test", "validation"):
            unseen = sorted(set(values[name]) - seen)
            if unseen:
                raise DataError(
                    f"The {name} rows have labels that no training row has.",
                    where="prepare",
                    got=", ".join(unseen[:10]),
                    do="Collect more rows of these labels; each needs some for every split.",
                )

    def settle(self, values: Sequence[Any]) -> Any | None:
        """The label of the majority, if there is one."""
        (best, most), *others = Counter(values).most_common(2)
        return best if not others or most > others[0][1] else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether the names are equal."""
        return bool(one == other)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """Each label."""
        return [str(value) for value in values]

    def parts(self, value: Any) -> list[str]:
        """The label."""
        return [str(value)]

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """How many labels there are, and the first of them."""
        del values
        return labels_named(names)

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Rows per label."""
        return dict(sorted(Counter(values).items()))

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """Nothing: labels have no size."""
        del values
        return {}

    def dumps(self, value: Any) -> str:
        """The name itself."""
        return str(value)

    def loads(self, text: str) -> Any:
        """The name itself."""
        if not text:
            raise ValueError(MISSING)
        return text

    # --- measured

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Whether the model knows one of the labels."""
        return bool(set(prediction.scores) & set(names))

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The given label if it is one of these, else the likeliest; unknown ones have 0."""
        chosen = []
        for one in found:
            scores = {name: one.scores.get(name, 0.0) for name in names}
            value = one.value if one.value in scores else max(scores, key=scores.__getitem__)
            chosen.append(Prediction(value, scores))
        return chosen

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """The commonest label, each label as probable as it is frequent."""
        del primary
        counts = Counter(str(value) for value in values)
        label = min(counts, key=lambda name: (-counts[name], name))
        shares = {name: count / len(values) for name, count in counts.items()}
        return "always the commonest label of the test rows", Prediction(label, shares)

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Raise DataError for a positive label that there is not, or one that is asked for."""
        assert_positive(self.positive, metrics, names)

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example that counts."""
        if metric in COUNT_METRICS:
            return count_statistics(metric, references, _values(found), names)
        return label_statistics(metric, references, found, names, self.positive)

    def estimates(
        self,
        metrics: Sequence[str],
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
        *,
        seed: int,
    ) -> dict[str, Estimate]:
        """Each metric with its interval; the value of counts is that of the evaluate module."""
        every = super().estimates(metrics, references, found, names, seed=seed)
        said = _values(found)
        return {
            name: replace(one, value=metric_value(name, references, said, names))
            if name in COUNT_METRICS
            else one
            for name, one in every.items()
        }

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """Logistic regression."""
        labels = [str(value) for value in values]
        names, shares = logistic_shares(features, labels, asked, strength=strength, seed=seed)
        return [
            Prediction(names[int(row.argmax())], dict(zip(names, row.tolist(), strict=True)))
            for row in shares
        ]

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """1 where the label is right, 0 where not."""
        return np.array(
            [float(truth == one.value) for truth, one in zip(references, found, strict=True)]
        )

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """Each label is a slice."""
        return {self.column: [str(one) for one in references]}

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Figures per label, mistakes, and how far probabilities are off."""
        labels = _values(found)
        shares = [[one.scores[name] for name in names] for one in found]
        sought = {"positive": reached_of(found, references, self.positive)} if self.positive else {}
        return {
            **sought,
            "per_label": [
                {
                    "label": one.label,
                    "precision": plain_estimate(one.precision),
                    "recall": plain_estimate(one.recall),
                    "f1": plain_estimate(one.f1),
                    "support": one.support,
                }
                for one in class_table(references, labels, names)
            ],
            "confusion": {
                "labels": list(names),
                "counts": confusion_matrix(references, labels, names),
            },
            "calibration": {
                "ece": calibration(references, shares, names).expected_calibration_error
            },
        }

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """The confusion matrix."""
        from hub_trainer.answers.plots import plot_confusion

        assert self.figure is not None
        confusion = detail["confusion"]
        plot_confusion(confusion["labels"], confusion["counts"], folder / self.figure)

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Figures per label, and the confusion matrix with its largest mistakes."""
        header = ["label", "precision", "recall", "F1", "test rows"]
        rows = [
            [one["label"], one["precision"], one["recall"], one["f1"], one["support"]]
            for one in detail["per_label"]
        ]
        mistakes = [[*names, count] for count, *names in _mistakes(detail["confusion"])]
        return [
            Section("Per label", header, rows),
            Section(
                "Confusion",
                ["true label", "predicted", "test rows"],
                mistakes[:MAX_MISTAKES],
                num_names=2,
                text="Most frequent mistakes:"
                if mistakes
                else "No test example got a wrong label.",
                figure=self.figure,
                alt="Confusion matrix of the test examples",
            ),
        ]

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """Weak and rare labels, unbalanced ones, and probabilities that are off."""
        found = []
        error = detail["calibration"]["ece"]
        if error is not None and error > NOTICEABLE_ERROR:
            found.append(
                Sentence(
                    f"Its probabilities are off by {error:.4f} on average (expected calibration "
                    "error)."
                )
            )
        entries = [one for one in detail["per_label"] if one["support"]]
        if entries:
            worst = min(entries, key=lambda one: (_figure(one["f1"]), one["label"]))
            values = worst["label"], worst["f1"], worst["support"]
            found.append(Sentence("The weakest label is {}: F1 {} on {} test rows.", values))
        few = sum(one["support"] < FEW_EXAMPLES for one in detail["per_label"])
        if few:
            found.append(
                Sentence(f"Labels with fewer than {FEW_EXAMPLES} test rows: {few}; wide intervals.")
            )
        return [*found, *unbalanced(counts["train"])]

    def summary(self, names: Sequence[str]) -> str:
        """How many labels there are."""
        return f" with {len(names)} labels"

    def repeated(self, worst: float) -> str:
        """Of the proof of reloading."""
        if worst:
            return f"the labels were the same, no probability differed by more than {worst:.1e}"
        return "the labels were the same, as were the probabilities"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """The largest difference of a probability; infinite for another label."""
        return np.inf if one.value != other.value else score_difference(one, other)

    # --- rated

    def describe(self, names: Sequence[str]) -> str:
        """What the model does."""
        return f"chooses one of {len(names)} labels: {named(names)}"

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The likeliest labels as bars, under the given one."""
        return "LabelSet", {"label": "Prediction", "num_top_classes": min(5, len(names))}

    def shown(self, prediction: Prediction) -> Any:
        """The label, and a bar for the probability of each."""
        ranked = sorted(prediction.scores.items(), key=lambda one: -one[1])
        return {
            "label": prediction.value,
            "confidences": [{"label": name, "confidence": score} for name, score in ranked],
        }

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """All labels as chips, or a list to search in where they are many."""
        component = "Radio" if len(names) <= MAX_CHIPS else "Dropdown"
        return component, {"choices": list(names), "value": None, "label": "The right answer"}

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """The other labels, to choose from; the only one is chosen."""
        others = [name for name in names if name != predicted]
        return {"value": others[0] if len(others) == 1 else None, "choices": others}

    def said(self, corrected: Any) -> str:
        """The chosen label."""
        return str(corrected or "")

    def told(self, text: str) -> str:
        """The label."""
        return text

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """One of the labels, and another than the predicted one."""
        if text not in names:
            raise ValueError(f"{text!r:.60} is no label." if text else MISSING)
        if text == predicted:
            raise ValueError(SAME)
        return text

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' labels become one."""
        if aggregate == "majority":
            return f"the majority of at least {raters}"
        return f"Dawid-Skene over at least {raters}, started from rows whose label is known"

    def agree(
        self,
        votes: Sequence[tuple[str, str, str]],
        gold: Mapping[str, str],
        *,
        rule: str,
        min_raters: int,
        min_gold: int,
    ) -> Aggregation:
        """The majority's label, or the likeliest by Dawid and Skene's model of raters."""
        if rule == "majority" or not votes:
            return majority_labels(votes, min_raters=min_raters)
        return dawid_skene_labels(votes, gold, min_raters=min_raters, min_gold=min_gold)


def class_names(column: Any, names: Sequence[str], where: str) -> pa.Array:
    """Class numbers as names; -1, which the Hub's datasets write for a hidden label, as null."""
    if not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        raise _not_single(column.type, where)
    hidden = pc.equal(column, -1)
    indices = pc.if_else(hidden, pa.scalar(None, column.type), column)
    if isinstance(indices, pa.ChunkedArray):
        indices = indices.combine_chunks()
    wrong = pc.or_(pc.less(indices, 0), pc.greater_equal(indices, len(names)))
    row = pc.index(wrong, True).as_py()
    if row >= 0:
        raise DataError(
            "A label is outside the dataset's classes.",
            where=f"{where}, row {row + 1}",
            got=f"class {indices[row].as_py()}, of {len(names)} classes",
            do="Correct the row, or the names of the classes in the card.",
        )
    return pa.array(names, pa.string()).take(indices)


def label_texts(column: Column, where: str = "") -> pa.Array:
    """A column's plain values as names: whole numbers without a fraction, whatever their type.

    Words among the numbers of a CSV, such as None, are labels too.
    """
    kind = column.values.type
    if pa.types.is_nested(kind):
        raise _not_single(kind, where)
    values = _plain_values(column.values, where)
    if column.written is not None:
        said = truth_value if pa.types.is_boolean(kind) else whole_number
        values = [None if v is None else said(v) for v in column.written.to_pylist()]
    return pa.array([None if v is None else plain_label(v) for v in values], pa.string())


def _not_single(kind: Any, where: str) -> DataError:
    do = "Name a column with one label per row under columns: in the recipe."
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        do = "Several labels per row are learned too: name it labels, columns: {labels: ...}."
    return DataError("A label is not a single value.", where=where, got=str(kind), do=do)


def _plain_values(values: Any, where: str) -> list[Any]:
    """Values as people write them: 0.1 of 32 bits is no 0.10000000149, bytes of a text are one."""
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return list(values.cast(pa.string()).to_pylist())
        except pa.ArrowInvalid:
            do = "Write the labels as text."
            raise DataError("A label is no text.", where=where, got=str(kind), do=do) from None
    cells: list[Any] = values.to_pylist()
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        of_type = kind.to_pandas_dtype()
        return [None if v is None else float(str(of_type(v))) for v in cells]
    if pa.types.is_decimal(kind):
        return [int(v) if v is not None and v == v.to_integral_value() else v for v in cells]
    return cells


def assert_names_seen(seen: set[str], names: Mapping[str, set[str]]) -> None:
    """Raise DataError when rows of another role have names that no training row has."""
    for role in sorted(set(names) - {"train"}):
        unseen = sorted(names[role] - seen)
        if unseen:
            raise DataError(
                f"The {role} rows have labels that no training row has.",
                where=f"prepare.{role}_split",
                got=", ".join(unseen[:10]) + (" ..." if len(unseen) > 10 else ""),
                do=f"Add training rows of these labels, or take them out of the {role} split.",
            )


def unbalanced(counts: Mapping[str, int]) -> list[Sentence]:
    """A sentence where the training rows have far more of one name than of another."""
    if not counts:
        return []
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] <= IMBALANCE * max(1, counts[least]):
        return []
    text = "The training labels are unbalanced: {} rows of {}, {} of {}."
    return [Sentence(text, (counts[most], most, counts[least], least))]


def score_difference(one: Prediction, other: Prediction) -> float:
    """The largest difference of a probability; infinite where one is missing or no number."""
    if one.scores.keys() != other.scores.keys():
        return float("inf")
    changes = [abs(score - other.scores[name]) for name, score in one.scores.items()]
    return (
        float("inf") if any(change != change for change in changes) else max(changes, default=0.0)
    )


def _values(found: Sequence[Prediction]) -> list[Any]:
    return [one.value for one in found]


def _figure(metric: Mapping[str, Any]) -> float:
    value = float(metric["value"])
    return value if np.isfinite(value) else 0.0


def _mistakes(confusion: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """(rows, true label, predicted label), the most frequent first."""
    labels: Sequence[str] = confusion["labels"]
    found = [
        (int(count), labels[truth], labels[answer])
        for truth, row in enumerate(confusion["counts"])
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    return sorted(found, key=lambda mistake: (-mistake[0], mistake[1], mistake[2]))


ANSWER = Label()
