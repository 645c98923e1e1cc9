"""Labels: any number of names per row, none included."""

import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
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
    plain_estimate,
)
from hub_trainer.answers.asking import BY_COLUMN
from hub_trainer.answers.label import (
    FEW_EXAMPLES,
    assert_names_seen,
    score_difference,
    unbalanced,
)
from hub_trainer.answers.label_names import alike_notes, in_order, labels_named, named, plain_label
from hub_trainer.answers.measuring import ByStatistics
from hub_trainer.answers.name_probabilities import logistic_shares, shares_of
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.metrics.label_sets import (
    LABEL_SET_METRICS,
    indicators,
    set_scores,
    set_statistics,
)
from hub_trainer.metrics.probabilities import PROBABILITY_METRICS, probability_statistics
from hub_trainer.stats import (
    AggregatedLabel,
    Aggregation,
    Metric,
    RaterSummary,
    Statistics,
    dawid_skene_labels,
    majority_labels,
)
from hub_trainer.stats.intervals import FloatArray

SET_METRICS = {**LABEL_SET_METRICS, **PROBABILITY_METRICS}
SEPARATORS = "|;,"
"""Of names in one cell of text, in the order of looking; a cell may also be a list, as JSON or as
Python or NumPy print it."""
_NAME = r"""('[^']*'|"[^"]*")"""
NUMPY_LIST = re.compile(rf"^\s*\[{_NAME}(\s+{_NAME})+\]\s*$")
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Labels(ByStatistics):
    """A set of names per row, kept as a sorted list; predictions carry a probability per name."""

    measures: ClassVar[Mapping[str, Metric]] = SET_METRICS
    name: str = "labels"
    column: str = "labels"
    noun: str = "set of labels"
    plural: str = "sets of labels"
    metrics: frozenset[str] = frozenset(SET_METRICS)
    positive_metrics: frozenset[str] = frozenset()
    usual_metrics: tuple[str, ...] = ("f1_micro", "f1_macro")
    tolerance: float = 1e-4
    """Of a probability."""
    figure: str | None = None
    counted: str | None = "label"
    predicts_names: bool = True
    usual_raters: int = USUAL_RATERS
    rated_how: str = SAY_WHETHER_RIGHT
    question: str = "Are these the labels that fit?"
    hint: str = "Tick the labels that fit; send a JSON list of them through the API."
    is_share_of_names: bool = False
    linear_model: str = "logistic regression of each label"
    is_of_words: bool = False
    asking: Asking = BY_COLUMN

    # --- rows

    def read(self, column: Column, where: str) -> pa.Array:
        """Lists of names, of a list of classes, of texts, or of names in one cell.

        An empty cell of text is a row without a label, as a file of text can write it no other way.
        """
        kind = column.values.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        is_list = is_list or pa.types.is_fixed_size_list(kind)
        if is_list and not pa.types.is_nested(kind.value_type):
            values = column.values.to_pylist()
            if column.class_names is None:
                _assert_names(values, where)
            if pa.types.is_float32(kind.value_type) or pa.types.is_float16(kind.value_type):
                of_type = kind.value_type.to_pandas_dtype()
                values = [
                    v and [None if one is None else float(str(of_type(one))) for one in v]
                    for v in values
                ]
        elif (texts := cells_of_text(column)) is not None:
            values = split_cells(texts)
        else:
            raise DataError(
                "The column holds no lists of labels.",
                where=where,
                got=str(kind),
                do="Write a list of names per row; for one label per row name it label, "
                "columns: {label: ...}.",
            )
        named = [None if v is None else _names_of(v, column.class_names, where) for v in values]
        return pa.array(named, pa.list_(pa.string()))

    def cell(self, value: Any) -> Any:
        """The value itself."""
        return value

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value."""
        if not isinstance(value, list | tuple | frozenset):
            return ["labels are missing"]
        return [] if all(isinstance(one, str) and one for one in value) else ["a label is empty"]

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """The classes."""
        return list(class_names)

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """The dataset's classes in their order, then other labels: numbers by their size."""
        return [*declared, *in_order(set(_all(values)) - set(declared))]

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Labels that are probably the same."""
        return alike_notes(Counter(_all(values)))

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError for labels of sealed rows that no training row has, or no label at all.

        A rare label may be missing from the training rows by chance: it is refused only where
        more than one in twenty sealed rows has one of those.
        """
        seen = set(_all(values["train"]))
        if not seen:
            raise DataError(
                "No training row has a label.",
                where="collect.datasets",
                got=f"{len(values['train']):,} rows with empty lists",
                do="Name the column that holds lists of labels: columns: {labels: ...}.",
            )
        unseen = {role: [set(v) - seen for v in found] for role, found in values.items()}
        many = {
            role: set().union(*rows)
            for role, rows in unseen.items()
            if sum(map(bool, rows)) * 20 > len(rows)
        }
        assert_names_seen(seen, many)

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """As in collect."""
        self.assert_taught(values)

    def settle(self, values: Sequence[Any]) -> Any | None:
        """The names that more than half of the values have; None when half of them differ."""
        sets = Counter(tuple(sorted(value)) for value in values)
        if len(sets) == 1:
            return values[0]
        (best, most), (_, second) = sets.most_common(2)
        return list(best) if most > second else None

    def same(self, one: Any, other: Any) -> bool:
        """Whether the sets are equal."""
        return frozenset(one) == frozenset(other)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """The rarest of each row's labels, so that rare ones come into every split."""
        counts = Counter(_all(values))
        return [min(value, key=lambda n: (counts[n], n)) if value else "" for value in values]

    def parts(self, value: Any) -> list[str]:
        """The labels."""
        return list(value)

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """How many labels there are, and how many of them rows have."""
        known = names or self.names(values, ())
        mean = sum(map(len, values)) / max(len(values), 1)
        return f"{mean:.1f} per row of {labels_named(known)}"

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Rows that have each label."""
        return dict(sorted(Counter(_all(values)).items()))

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """How many labels rows have."""
        return {"labels": [float(len(value)) for value in values]}

    def dumps(self, value: Any) -> str:
        """A JSON list, sorted."""
        return json.dumps(sorted(value), ensure_ascii=False)

    def loads(self, text: str) -> Any:
        """The list in a JSON text."""
        if not text:
            raise ValueError(MISSING)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{text!r:.60} is no JSON list of labels.")
        return sorted(set(value))

    # --- measured

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Whether the model knows one of the labels."""
        return bool(set(prediction.scores) & set(names))

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The predicted labels as far as they are among these; unknown ones have 0."""
        known = frozenset(names)
        return [
            Prediction(
                frozenset(one.value) & known, {name: one.scores.get(name, 0.0) for name in names}
            )
            for one in found
        ]

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """The labels of more than half of the rows, or else the commonest one, with all shares."""
        del primary
        counts = Counter(_all(values))
        common = frozenset(name for name, count in counts.items() if 2 * count > len(values))
        shares = {name: count / len(values) for name, count in counts.items()}
        if common or not counts:
            told = "always the labels that more than half of the test rows have"
            return told, Prediction(common, shares)
        first = min(counts, key=lambda name: (-counts[name], name))
        return "always the commonest label of the test rows", Prediction(frozenset([first]), shares)

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Every metric of sets can be measured."""

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example."""
        truth, given = _indicators(references, found, names)
        if metric in PROBABILITY_METRICS:
            scores = shares_of(found, _every(references, names), self.parts)
            return probability_statistics(metric, truth, scores)
        return set_statistics(metric, truth, given)

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """Logistic regression of each label by itself."""
        counts = Counter(_all(values))
        names = sorted(counts)
        shares = np.ones((asked.shape[0], len(names)))
        chosen = np.ones(shares.shape, dtype=np.bool_)
        for column, name in enumerate(names):
            if counts[name] == len(values):
                continue
            marks = [name in value for value in values]
            _, found = logistic_shares(features, marks, asked, strength=strength, seed=seed)
            shares[:, column] = found[:, 1]
            # rare labels seldom reach one half, so twice their share is enough
            chosen[:, column] = found[:, 1] >= min(0.5, 2 * counts[name] / len(values))
        return [
            Prediction(frozenset(compress(names, marks)), dict(zip(names, row, strict=True)))
            for marks, row in zip(chosen.tolist(), shares.tolist(), strict=True)
        ]

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """(N,) F1 of each row's own labels; 1 where both sets are empty."""
        names = sorted({*_all(references), *_all([one.value for one in found])})
        return set_scores(*_indicators(references, found, names))

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """Of each label the rows that have it."""
        return {
            f"label {name}": [YES if name in value else NO for value in references]
            for name in sorted(set(_all(references)))
        }

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Figures per label."""
        from hub_trainer.metrics.report import class_scores

        truth, given = _indicators(references, found, names)
        hits, support, predicted = (truth * given).sum(0), truth.sum(0), given.sum(0)
        rows = []
        for index, name in enumerate(names):
            one = class_scores(name, int(hits[index]), int(support[index]), int(predicted[index]))
            rows.append(
                {
                    "label": name,
                    "precision": plain_estimate(one.precision),
                    "recall": plain_estimate(one.recall),
                    "f1": plain_estimate(one.f1),
                    "support": one.support,
                    "predicted": int(predicted[index]),
                }
            )
        return {"per_label": rows}

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """There is no picture of sets."""

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Figures per label."""
        header = ["label", "precision", "recall", "F1", "test rows", "predicted"]
        keys = ("label", "precision", "recall", "f1", "support", "predicted")
        rows = [[one[key] for key in keys] for one in detail["per_label"]]
        text = "Each row may have several labels. A label is predicted where its probability is "
        text += "over the threshold that validation rows gave it."
        return [Section("Per label", header, rows, text=text)]

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """The weakest label, labels of few rows, labels that are never predicted."""
        entries, found = [one for one in detail["per_label"] if one["support"]], []
        if entries:
            worst = min(entries, key=lambda one: (one["f1"]["value"], one["label"]))
            values = worst["label"], worst["f1"], worst["support"]
            found.append(Sentence("The weakest label is {}: F1 {} on {} test rows.", values))
        never = [one["label"] for one in entries if not one["predicted"]]
        if never:
            places = ", ".join("{}" for _ in never[:5])
            more = f" and {len(never) - 5} more" if len(never) > 5 else ""
            found.append(Sentence(f"Never predicted: {places}{more}.", tuple(never[:5])))
        few = sum(one["support"] < FEW_EXAMPLES for one in detail["per_label"])
        if few:
            found.append(
                Sentence(f"Labels with fewer than {FEW_EXAMPLES} test rows: {few}; wide intervals.")
            )
        return [*found, *unbalanced(counts["train"])]

    def summary(self, names: Sequence[str]) -> str:
        """How many labels there are."""
        return f" with any of {len(names)} labels"

    def repeated(self, worst: float) -> str:
        """Of the proof of reloading."""
        if worst:
            return f"the labels were the same, no probability differed by more than {worst:.1e}"
        return "the labels were the same, as were the probabilities"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """The largest difference of a probability; infinite for other labels."""
        if frozenset(one.value) != frozenset(other.value):
            return float("inf")
        return score_difference(one, other)

    # --- rated

    def describe(self, names: Sequence[str]) -> str:
        """What the model does."""
        return f"says which of {len(names)} labels fit: {named(names)}"

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The likeliest labels as bars, the predicted ones as the heading."""
        return "LabelSet", {"label": "Prediction", "num_top_classes": min(8, len(names))}

    def shown(self, prediction: Prediction) -> Any:
        """The predicted labels, and a bar for the probability of each."""
        ranked = sorted(prediction.scores.items(), key=lambda one: -one[1])
        return {
            "label": self.told(self.dumps(prediction.value)),
            "confidences": [{"label": name, "confidence": score} for name, score in ranked],
        }

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A box to tick per label."""
        told = "All labels that fit; none is an answer too"
        return "CheckboxGroup", {"choices": list(names), "value": [], "label": told}

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: it is given anew."""
        del predicted, names
        return {"value": []}

    def said(self, corrected: Any) -> str:
        """The ticked labels."""
        return self.dumps(corrected or [])

    def told(self, text: str) -> str:
        """The labels in a row."""
        return ", ".join(self.loads(text)) or "no label"

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """Some of the labels, and others than the predicted ones."""
        value = self.loads(text)
        unknown = [one for one in value if one not in names]
        if unknown:
            raise ValueError(f"{unknown[0]!r:.60} is no label.")
        if self.dumps(value) == predicted:
            raise ValueError(SAME)
        return self.dumps(value)

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' labels become one set."""
        if aggregate == "majority":
            return f"label by label, the majority of at least {raters}"
        return (
            f"label by label, Dawid-Skene over at least {raters}, started from rows whose "
            "labels are known"
        )

    def agree(
        self,
        votes: Sequence[tuple[str, str, str]],
        gold: Mapping[str, str],
        *,
        rule: str,
        min_raters: int,
        min_gold: int,
    ) -> Aggregation:
        """Name by name: whether a row has it; a row is decided when all its names are."""
        said = [(key, rater, frozenset(self.loads(text))) for key, rater, text in votes]
        known = {key: frozenset(self.loads(text)) for key, text in gold.items()}
        names = sorted({name for _, _, value in said for name in value} | {*_all(known.values())})
        found = []
        for name in names:
            marks = [(key, rater, YES if name in value else NO) for key, rater, value in said]
            gold_marks = {key: YES if name in value else NO for key, value in known.items()}
            if rule == "majority":
                found.append(majority_labels(marks, min_raters=min_raters))
            else:
                found.append(
                    dawid_skene_labels(marks, gold_marks, min_raters=min_raters, min_gold=min_gold)
                )
        if not names:  # every rater says that no label fits
            none = [(key, rater, NO) for key, rater, _ in said]
            found = [majority_labels(none, min_raters=min_raters)]
        return _joined([*names] or [NO], found, self)


def _joined(names: Sequence[str], found: Sequence[Aggregation], answer: Labels) -> Aggregation:
    """What was decided of each name as one set per row."""
    rows: dict[str, list[tuple[str, AggregatedLabel]]] = defaultdict(list)
    for name, one in zip(names, found, strict=True):
        for label in one.labels:
            rows[label.example_id].append((name, label))
    labels = []
    for key in sorted(rows):
        parts = rows[key]
        decided = all(label.decided for _, label in parts)
        value = [name for name, label in parts if label.label == YES]
        labels.append(
            AggregatedLabel(
                key,
                answer.dumps(value) if decided else None,
                min(label.confidence for _, label in parts),
                max(label.num_raters for _, label in parts),
                decided,
            )
        )
    raters = defaultdict(list)
    for one in found:
        for rater in one.raters:
            raters[rater.rater_id].append(rater)
    return Aggregation(tuple(labels), tuple(_rater(raters[key]) for key in sorted(raters)))


def _rater(parts: Sequence[RaterSummary]) -> RaterSummary:
    """A rater over all names: heard when heard of any, as accurate as on the mean."""
    known = [one.accuracy for one in parts if one.accuracy is not None]
    heard = [one for one in parts if one.excluded is None]
    return RaterSummary(
        parts[0].rater_id,
        max(one.num_ratings for one in parts),
        max(one.num_counted for one in parts),
        float(np.mean(known)) if known else None,
        None if heard else parts[0].excluded,
    )


def _all(values: Iterable[Iterable[str]]) -> list[str]:
    return [name for value in values for name in value]


def _every(references: Sequence[Any], names: Sequence[str]) -> list[str]:
    """The names, and those of rows that no training row has."""
    return [*names, *sorted(set(_all(references)) - set(names))]


def _indicators(
    references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """(N, K) each: labels that rows have, and labels that they were given."""
    every = _every(references, names)
    given = [frozenset(one.value) for one in found]
    return indicators([frozenset(one) for one in references], every), indicators(given, every)


def cells_of_text(column: Column) -> list[str | None] | None:
    """Cells that may hold several names; None for values of another kind.

    What was read as a number with a decimal comma may be two names: 1,2.
    """
    kind, written = column.values.type, column.written
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.values.to_pylist())
    cells = [] if written is None else written.to_pylist()
    return cells if any("," in (cell or "") for cell in cells) else None


def split_cells(cells: Sequence[Any]) -> list[Any]:
    """The names in each cell: a JSON list, or texts between the separator that the column has."""
    separator = next((one for one in SEPARATORS if any(one in (c or "") for c in cells)), ",")
    return [_cell_names(str(cell or ""), separator) for cell in cells]


def _assert_names(lists: Sequence[Sequence[Any] | None], where: str) -> None:
    """Raise DataError for lists of zeros and ones, a place for each label: they name none."""
    cells = [tuple(one) for one in lists if one is not None]
    lengths = {len(one) for one in cells}
    if (
        len(lengths) == 1
        and min(lengths) > 1
        and all(set(one) <= {0, 1, "0", "1"} for one in cells)
    ):
        example = next((one for one in cells if len(set(one)) < len(one)), None)
        if example is not None:
            raise DataError(
                "The lists are zeros and ones with a place for each label, and name no label.",
                where=where,
                got=str(list(example))[:60],
                do="Write in each row the names of its labels, as [sport, film].",
            )


def _cell_names(cell: str, separator: str) -> list[Any]:
    if cell.lstrip()[:1] in ("[", "(", "{"):
        for read in (json.loads, _printed):
            try:
                found = read(cell)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
            if isinstance(found, list | tuple | set):
                return list(found)
    return [part for part in cell.split(separator) if part.strip()]


def _printed(cell: str) -> Any:
    """A list as Python or NumPy prints it."""
    if NUMPY_LIST.match(cell):
        return [name[1:-1] for name in re.findall(_NAME, cell)]
    return ast.literal_eval(cell.strip())


def _names_of(value: Sequence[Any], classes: Sequence[str] | None, where: str) -> list[str]:
    """The distinct names of one row, sorted."""
    if classes is None:
        found = [plain_label(one) for one in value if one is not None]
        return sorted({name for name in found if name})
    outside = [one for one in value if not isinstance(one, int) or not 0 <= one < len(classes)]
    if outside:
        raise DataError(
            "A label is outside the dataset's classes.",
            where=where,
            got=f"class {outside[0]}, of {len(classes)} classes",
            do="Correct the row, or the names of the classes in the card.",
        )
    return sorted({classes[one] for one in value})


ANSWER = Labels()
