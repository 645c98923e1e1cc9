"""Spans: stretches of words of a text, each with a type, as the diseases that it names.

A value is the words of the row, each with its tag of IOB2: [["breast", "B-Disease"], ...]. The
words are in it so that spans can be told, mended and joined without the row beside them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hub_trainer.answers import (
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
from hub_trainer.answers.label_names import alike_notes, in_order, named
from hub_trainer.answers.measuring import ByStatistics
from hub_trainer.answers.partial_spans_section import partial_sections
from hub_trainer.answers.span_lines import NOTHING_THERE, mended, span_lines
from hub_trainer.answers.span_reading import (
    assert_tags,
    form_notes,
    read_text,
    tag_names,
    tagged,
    tagged_tokens,
    written,
)
from hub_trainer.answers.span_votes import agreed_spans
from hub_trainer.answers.tags import OUTSIDE, is_tag, spans_of_tags, type_of
from hub_trainer.answers.word_lists import words_of
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.metrics.partial_spans import partial_matches
from hub_trainer.metrics.span_metrics import (
    SPAN_METRICS,
    Span,
    span_counts,
    span_scores,
    span_statistics,
)
from hub_trainer.stats import Aggregation, Metric, Statistics, estimate
from hub_trainer.stats.intervals import FloatArray

YES, NO = "yes", "no"
NO_TAG = "a tag is not O, and not a prefix and a type as B-Disease"
UNEVEN = "tags and tokens differ in number"


@dataclass(frozen=True)
class Spans(ByStatistics):
    """Typed spans of a row's words; predictions carry a probability per type."""

    measures: ClassVar[Mapping[str, Metric]] = SPAN_METRICS
    name: str = "spans"
    column: str = "tags"
    noun: str = "set of spans"
    plural: str = "sets of spans"
    metrics: frozenset[str] = frozenset(SPAN_METRICS)
    positive_metrics: frozenset[str] = frozenset()
    usual_metrics: tuple[str, ...] = ("entity_f1", "entity_precision", "entity_recall")
    tolerance: float = 1e-4
    """Of a probability."""
    figure: str | None = None
    counted: str | None = "label"
    predicts_names: bool = True
    usual_raters: int = USUAL_RATERS
    rated_how: str = SAY_WHETHER_RIGHT
    question: str = "Are these the right spans?"
    hint: str = (
        "Write a line for each span, as in: New York -> place. Write none where there is no span."
    )
    is_share_of_names: bool = False
    linear_model: str = "the commonest tag of each word"
    is_of_words: bool = True
    asking: Asking = BY_COLUMN

    # --- rows

    def read(self, column: Column, where: str) -> pa.Array:
        """Words with tags of IOB2, of tags in any usual form; an empty list is a fault.

        A token that holds white space becomes several words of its span; an empty one is left out.
        """
        kind = column.values.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not is_list or pa.types.is_nested(kind.value_type) or column.words is None:
            raise DataError(
                "The column holds no lists of tags.",
                where=where,
                got=str(kind),
                do="Write a list of tags per row, one for each of its tokens, and name both "
                "columns: {tokens: ..., tags: ...}.",
            )
        rows = [
            None if v is None else tag_names(v, column.class_names, where)
            for v in column.values.to_pylist()
        ]
        good = [tags for tags in rows if tags and all(map(is_tag, tags))]
        assert_tags(rows, good, where)
        column.notes.extend(form_notes(good))
        pairs = zip(column.words, rows, strict=True)
        values = [None if None in pair else tagged_tokens(*pair) for pair in pairs]  # type: ignore[arg-type]
        return pa.array(values, pa.list_(pa.list_(pa.string())))

    def cell(self, value: Any) -> Any:
        """The tags alone; the words stand in a column of their own."""
        return [tag for _, tag in value]

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value."""
        if not isinstance(value, list | tuple):
            return ["tags are missing"]
        if not value:
            return [UNEVEN]
        return [] if all(is_tag(tag) for _, tag in value) else [NO_TAG]

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """The types of the tags."""
        types = [type_of(tag) for tag in class_names if is_tag(tag)]
        return list(dict.fromkeys(name for name in types if name is not None))

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """The types: the dataset's own first."""
        return [*declared, *in_order(set(_types(values)) - set(declared))]

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Types that are probably the same."""
        return alike_notes(Counter(_types(values)))

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError for types of sealed rows that no training row has, or no span at all.

        A rare type may be missing from the training rows by chance: it is refused only where more
        than one in twenty sealed rows has one of those.
        """
        seen = set(_types(values["train"]))
        if not seen:
            raise DataError(
                "No training row has a span.",
                where="collect.datasets",
                got=f"{len(values['train']):,} rows in which every tag is {OUTSIDE}",
                do="Name the column that holds the tags: columns: {tags: ...}.",
            )
        unseen = {
            role: [set(self.parts(v)) - seen for v in found] for role, found in values.items()
        }
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
        """The spans that more of the values have than any other; None where two are even."""
        found = Counter(_spans(value) for value in values)
        (best, most), *others = found.most_common(2)
        if others and others[0][1] == most:
            return None
        return next(value for value in values if _spans(value) == best)

    def same(self, one: Any, other: Any) -> bool:
        """Whether the spans are equal."""
        return _spans(one) == _spans(other)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """The rarest type in each row, so that rare ones come into every split."""
        parts = [self.parts(value) for value in values]
        counts = Counter(name for found in parts for name in found)
        return [min(found, key=lambda n: (counts[n], n)) if found else "" for found in parts]

    def parts(self, value: Any) -> list[str]:
        """The types of its spans."""
        return sorted({kind for _, _, kind in _spans(value)})

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """How many spans rows have, and of which types."""
        known = names or self.names(values, ())
        if not known:
            return "no spans"
        mean = sum(len(_spans(value)) for value in values) / max(len(values), 1)
        return f"{mean:.1f} spans per row of {_types_named(known)}"

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Rows that have a span of each type."""
        return dict(sorted(Counter(name for v in values for name in self.parts(v)).items()))

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """How many spans rows have."""
        return {"spans": [float(len(_spans(value))) for value in values]}

    def dumps(self, value: Any) -> str:
        """The text and its spans by characters, as JSON."""
        return written([word for word, _ in value], _spans(value))

    def loads(self, text: str) -> Any:
        """Words with tags, of what `dumps` writes."""
        return read_text(text)

    # --- measured

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Whether the model knows one of the types."""
        return bool(set(prediction.scores) & set(names))

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The spans as far as their types are among these; unknown types have 0."""
        known, chosen = frozenset(names), []
        for one in found:
            kept = [span for span in _spans(one.value) if span[2] in known]
            value = tagged([word for word, _ in one.value], kept)
            chosen.append(Prediction(value, {name: one.scores.get(name, 0.0) for name in names}))
        return chosen

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """No span."""
        del values, primary
        return "no span in any of the test rows", Prediction([])

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Every metric of spans can be measured."""

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """Three counts per example, the same for every metric."""
        del metric, names
        return span_statistics(*_pair(references, found))

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """The commonest tag of each word in the values; O for a word that is in none.

        A word is looked up as it is written, else without its case.
        """
        del features, strength, seed
        counts: dict[str, Counter[str]] = {}
        for value in values:
            for word, tag in value:
                for form in {word, word.casefold()}:
                    counts.setdefault(form, Counter())[tag] += 1
        usual = {
            form: min(found, key=lambda tag: (-found[tag], tag)) for form, found in counts.items()
        }
        predictions = []
        for text in asked:
            words = words_of(str(text))
            tags = [usual.get(word, usual.get(word.casefold(), OUTSIDE)) for word in words]
            predictions.append(Prediction(tagged(words, spans_of_tags(tags))))
        return predictions

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """(N,) F1 of each row's own spans; 1 where it has none and none was found."""
        return span_scores(*_pair(references, found))

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """Of each type the rows that have it."""
        parts = [self.parts(value) for value in references]
        return {
            f"type {name}": [YES if name in found else NO for found in parts]
            for name in sorted({name for found in parts for name in found})
        }

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Figures per type, and what became of the spans that were not right."""
        truth, given = _pair(references, found)
        rows = []
        for name in names:
            own = [[frozenset(s for s in one if s[2] == name) for one in side]
                   for side in (truth, given)]  # fmt: skip
            _, support, predicted = span_counts(*own).sum(axis=0)
            statistics = span_statistics(*own)
            figures = {
                key.removeprefix("entity_"): plain_estimate(estimate(metric, statistics))
                for key, metric in SPAN_METRICS.items()
            }
            counts = {"support": int(support), "predicted": int(predicted)}
            nearly = {way: one["f1"] for way, one in partial_matches(*own).items()}
            rows.append({"label": name, **figures, **counts, "partial_f1": nearly})
        return {
            "per_type": rows,
            "mistakes": _mistakes(truth, given),
            "partial": partial_matches(truth, given),
        }

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """There is no picture of spans."""

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Figures per type, and kinds of mistakes."""
        header = ["type", "precision", "recall", "F1", "test spans", "found"]
        keys = ("label", "precision", "recall", "f1", "support", "predicted")
        rows = [[one[key] for key in keys] for one in detail["per_type"]]
        text = "A span is right where its words and its type are all those of the reference."
        mistakes = [[what, count] for what, count in detail["mistakes"].items()]
        return [
            Section("Per type", header, rows, text=text),
            Section("Mistakes", ["what", "spans"], mistakes),
            *partial_sections(detail),
        ]

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """The weakest type, types of few spans, types that are never found."""
        entries, found = [one for one in detail["per_type"] if one["support"]], []
        if len(entries) > 1:
            worst = min(entries, key=lambda one: (one["f1"]["value"], one["label"]))
            values = worst["label"], worst["f1"], worst["support"]
            found.append(Sentence("The weakest type is {}: F1 {} on {} test spans.", values))
        found += [
            Sentence("Spans of the type {} are never found.", (one["label"],))
            for one in entries
            if not one["predicted"]
        ]
        few = sum(one["support"] < FEW_EXAMPLES for one in detail["per_type"])
        if few:
            found.append(
                Sentence(f"Types with fewer than {FEW_EXAMPLES} test spans: {few}; wide intervals.")
            )
        return [*found, *unbalanced(counts["train"])]

    def summary(self, names: Sequence[str]) -> str:
        """How many types there are."""
        return f" with spans of {len(names)} type{'' if len(names) == 1 else 's'}"

    def repeated(self, worst: float) -> str:
        """Of the proof of reloading."""
        if worst:
            return f"the spans were the same, no probability differed by more than {worst:.1e}"
        return "the spans were the same, as were the probabilities"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """The largest difference of a probability; infinite for other spans."""
        if not self.same(one.value, other.value):
            return float("inf")
        return score_difference(one, other)

    # --- rated

    def describe(self, names: Sequence[str]) -> str:
        """What the model does."""
        return f"marks the words in it that are {named(names)}"

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The text with its spans marked."""
        del names
        shown = {"label": "Prediction", "combine_adjacent": False, "show_legend": True}
        return "HighlightedText", shown

    def shown(self, prediction: Prediction) -> Any:
        """Pieces of the text, each with its type, or None between spans."""
        words = [word for word, _ in prediction.value]
        pieces: list[tuple[str, str | None]] = []
        end = 0
        for start, stop, kind in sorted(_spans(prediction.value)):
            pieces += [(" ".join(words[end:start]), None)] if end < start else []
            pieces.append((" ".join(words[start:stop]), kind))
            end = stop
        return [*pieces, *([(" ".join(words[end:]), None)] if end < len(words) else [])]

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A line for each span."""
        told = {
            "label": "The right spans",
            "info": f"A line for each: words -> {' or '.join(names[:8])}. Empty where none is.",
            "lines": 4,
        }
        return "Textbox", told

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """The predicted spans, a line for each."""
        del names
        value = self.loads(predicted)
        return {"value": span_lines([word for word, _ in value], sorted(_spans(value)))}

    def said(self, corrected: Any) -> str:
        """The lines; an empty box says that there is no span."""
        return str(corrected or "").strip() or NOTHING_THERE

    def told(self, text: str) -> str:
        """The spans in a row, of a value or of a rater's lines."""
        try:
            value = self.loads(text)
        except ValueError:
            said = "; ".join(filter(None, (line.strip() for line in text.splitlines())))
            return "no span" if said == NOTHING_THERE else said
        words = [word for word, _ in value]
        found = [f"{' '.join(words[a:b])} ({kind})" for a, b, kind in sorted(_spans(value))]
        return ", ".join(found) or "no span"

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """The spans of a rater's lines, and others than the predicted ones.

        Through the API they may also be what `dumps` writes, of the same text.
        """
        value = self.loads(predicted)
        words = [word for word, _ in value]
        try:
            given = self.loads(text)
        except ValueError:
            spans = mended(text, words, names)
        else:
            if [word for word, _ in given] != words:
                raise ValueError("That is another text than the one that was asked about.")
            spans = sorted(_spans(given))
            unknown = next((kind for _, _, kind in spans if kind not in names), None)
            if unknown is not None:
                raise ValueError(f"{unknown!r:.60} is no type.")
        if frozenset(spans) == _spans(value):
            raise ValueError(SAME)
        return written(words, spans)

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' spans become one set."""
        if aggregate == "majority":
            return f"span by span, the majority of at least {raters}"
        return (
            f"span by span, Dawid-Skene over at least {raters}, started from rows whose "
            "spans are known"
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
        """Span by span: whether the row has it; a row is decided when all its spans are."""
        said = [(key, rater, self.loads(text)) for key, rater, text in votes]
        words = {key: [word for word, _ in value] for key, _, value in said}
        spans = [(key, rater, _spans(value)) for key, rater, value in said]
        known = {key: _spans(self.loads(text)) for key, text in gold.items()}
        found = agreed_spans(spans, known, rule=rule, min_raters=min_raters, min_gold=min_gold)
        return found.joined(lambda key, chosen: written(words[key], chosen))


def _spans(value: Sequence[Sequence[str]]) -> frozenset[Span]:
    return frozenset(spans_of_tags([tag for _, tag in value]))


def _types(values: Iterable[Any]) -> list[str]:
    return [kind for value in values for _, _, kind in _spans(value)]


def _pair(
    references: Sequence[Any], found: Sequence[Prediction]
) -> tuple[list[frozenset[Span]], list[frozenset[Span]]]:
    return [_spans(one) for one in references], [_spans(one.value) for one in found]


def _types_named(names: Sequence[str]) -> str:
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} type{plural}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


def _mistakes(truth: Sequence[frozenset[Span]], given: Sequence[frozenset[Span]]) -> dict[str, int]:
    """Spans that are not right, by what is near them on the other side."""
    found = dict.fromkeys(
        (
            "right words, another type",
            "some of the right words",
            "not found",
            "found where none is",
        ),
        0,
    )
    for reference, said in zip(truth, given, strict=True):
        for start, stop, _ in reference - said:
            near = [(a, b) for a, b, _ in said if a < stop and start < b]
            if (start, stop) in near:
                found["right words, another type"] += 1
            else:
                found["some of the right words" if near else "not found"] += 1
        found["found where none is"] += sum(
            not any(a < stop and start < b for a, b, _ in reference) for start, stop, _ in said
        )
    return found


ANSWER = Spans()
