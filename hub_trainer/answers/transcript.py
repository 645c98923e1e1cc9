"""Transcript: what is said in a clip, as a text."""

import unicodedata
from collections import Counter
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
from hub_trainer.answers.label import class_names
from hub_trainer.answers.measuring import ByStatistics
from hub_trainer.answers.transcript_votes import agreed_transcripts, trust_all, trust_by_gold
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.inputs.cleaning import UNSEEN
from hub_trainer.metrics.transcripts import (
    TRANSCRIPT_METRICS,
    edit_counts,
    edits_of,
    normalised,
    transcript_statistics,
    word_accuracy,
)
from hub_trainer.stats import Aggregation, Metric, Statistics
from hub_trainer.stats.intervals import FloatArray

MAX_CHARACTERS = 2_000
"""Of one transcript: nobody says so much in half a minute."""
MAX_CANDIDATES = 50
"""Of the commonest transcripts, of which one is the constant answer."""
MAX_WORDS_SHOWN = 15
FEW_TIMES = 3
"""Times that a word must be said before it is called often wrong."""
LEFT_OUT = "(left out)"


@dataclass(frozen=True)
class Transcript(ByStatistics):
    """One text per row, in one line."""

    measures: ClassVar[Mapping[str, Metric]] = TRANSCRIPT_METRICS
    name: str = "transcript"
    column: str = "text"
    noun: str = "transcript"
    plural: str = "transcripts"
    metrics: frozenset[str] = frozenset(TRANSCRIPT_METRICS)
    positive_metrics: frozenset[str] = frozenset()
    usual_metrics: tuple[str, ...] = ("wer", "cer")
    tolerance: float = 0.0
    """None: transcripts are the same or they are not."""
    figure: str | None = None
    counted: str | None = None
    predicts_names: bool = False
    usual_raters: int = USUAL_RATERS
    rated_how: str = SAY_WHETHER_RIGHT
    question: str = "Is this what was said?"
    hint: str = "Write down what was said first."
    is_share_of_names: bool = False
    linear_model: str = "the transcript of the nearest training clip"
    is_of_words: bool = False
    asking: Asking = BY_COLUMN

    # --- rows

    def read(self, column: Column, where: str) -> pa.Array:
        """Texts in one line, without what cannot be seen; null for a gap.

        Numbers of a file without types are read as they were written, and classes by their names.
        """
        if column.class_names is not None:
            return class_names(column.values, column.class_names, where)
        values = column.values if column.written is None else column.written
        kind = values.type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not is_text and not pa.types.is_null(kind):
            raise DataError(
                "The column holds no transcripts.",
                where=where,
                got=str(kind),
                do="Write what is said in each clip as a text, numbers too, as in five; or name "
                "another column: columns: {text: ...}.",
            )
        texts = [None if v is None else one_line(v) for v in values.to_pylist()]
        return pa.array(texts, pa.string())

    def cell(self, value: Any) -> Any:
        """The value itself."""
        return value

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value."""
        if not isinstance(value, str):
            return ["text is missing"]
        if not value.strip():
            return ["text is empty"]
        if len(value) > MAX_CHARACTERS:
            return [f"text is longer than {MAX_CHARACTERS:,} characters"]
        return [] if normalised(value) else ["text has no word"]

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """None: classes are transcripts like others."""
        del class_names
        return []

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """None: transcripts are not chosen from names."""
        del values, declared
        return []

    def notes(self, values: Sequence[Any]) -> list[str]:
        """Transcripts in capitals among others, which a model cannot tell apart by ear."""
        cased = [text for text in values if text and text.upper() != text.lower()]
        capitals = sum(text == text.upper() for text in cased)
        if 0 < capitals < len(cased):
            return [
                f"{capitals:,} of {len(cased):,} transcripts are all in capitals; write them "
                "alike, as nobody hears that"
            ]
        return []

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError when all training rows have one transcript."""
        if len({normalised(value) for value in values["train"]}) < 2:
            raise DataError(
                "The training rows all have one transcript.",
                where="collect.datasets",
                got=", ".join(sorted(set(values["train"])))[:60] or "no rows",
                do="Name the column that holds what is said: columns: {text: ...}.",
            )

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """As in collect."""
        self.assert_taught(values)

    def settle(self, values: Sequence[Any]) -> Any | None:
        """The commonest spelling, where all say the same; None where they contradict."""
        if len({normalised(value) for value in values}) > 1:
            return None
        return Counter(values).most_common(1)[0][0]

    def same(self, one: Any, other: Any) -> bool:
        """Whether two transcripts have the same words; case and punctuation do not count."""
        return normalised(one) == normalised(other)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """One group: there is nothing to split evenly."""
        return [""] * len(values)

    def parts(self, value: Any) -> list[str]:
        """None."""
        del value
        return []

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """How long they are, and of how many different words."""
        del names
        words = [normalised(value).split() for value in values if value]
        lengths = [len(one) for one in words]
        if not lengths:
            return "no transcripts"
        different = len({word for one in words for word in one})
        ends = f"{min(lengths)} to {max(lengths)}"
        return f"transcripts of {ends} words, {different:,} different ones"

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Nothing to count."""
        del values
        return {}

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """How many words are said."""
        return {"words": [float(len(value.split())) for value in values]}

    def dumps(self, value: Any) -> str:
        """The text itself."""
        return str(value)

    def loads(self, text: str) -> Any:
        """The text itself, in one line; a model may write an empty one."""
        return one_line(text)

    # --- measured

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Any model that writes transcripts can be measured."""
        del prediction, names
        return True

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The predictions as they are."""
        del names
        return list(found)

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """Of the commonest transcripts that with the lowest error rate."""
        counts = Counter(values)
        common = sorted(counts, key=lambda text: (-counts[text], text))[:MAX_CANDIDATES]
        told = "always the same transcript, that of the test rows which suits them all best"
        if primary == "exact_match":
            return told, Prediction(common[0])
        unit = primary or "wer"

        def edits(text: str) -> float:
            return float(edit_counts(unit, list(values), [text] * len(values))[:, 0].sum())

        return told, Prediction(min(common, key=edits))

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Every metric of transcripts can be measured."""

    def statistics(
        self,
        metric: str,
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
    ) -> Statistics:
        """A row per example."""
        del names
        return transcript_statistics(metric, references, _texts(found))

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """What is said in the training row with the nearest features, each of unit spread."""
        del strength, seed
        known, others = np.asarray(features, np.float64), np.asarray(asked, np.float64)
        middle, spread = known.mean(axis=0), known.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        known, others = (known - middle) / scale, (others - middle) / scale
        far = (known**2).sum(axis=1)[None, :] - 2 * others @ known.T
        return [Prediction(values[int(place)]) for place in far.argmin(axis=1)]

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """(N,) share of each row's words that are right: 1 minus its own error rate, or 0."""
        return word_accuracy(references, _texts(found))

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """Short transcripts and long ones, where there are both."""
        lengths = [len(normalised(value).split()) for value in references]
        middle = float(np.median(lengths))
        sides = ["up to the median" if n <= middle else "over the median" for n in lengths]
        return {"words said": sides} if len(set(sides)) > 1 else {}

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Edits by their kind, and the words that are most often wrong."""
        del names
        texts = [normalised(text) for text in _texts(found)]
        edits = edits_of([normalised(value) for value in references], texts)
        right = Counter[str]()
        for value in references:
            right.update(normalised(value).split())
        wrong: dict[str, Counter[str]] = {}
        for one in edits:
            for said, written in (*one.replaced, *((word, LEFT_OUT) for word in one.left_out)):
                wrong.setdefault(said, Counter())[written] += 1
        worst = sorted(wrong, key=lambda word: (-wrong[word].total(), word))[:MAX_WORDS_SHOWN]
        return {
            "edits": {
                "said": right.total(),
                "replaced": sum(len(one.replaced) for one in edits),
                "left_out": sum(len(one.left_out) for one in edits),
                "inserted": sum(len(one.inserted) for one in edits),
            },
            "worst_words": [
                {
                    "word": word,
                    "said": right[word],
                    "wrong": wrong[word].total(),
                    "instead": min(wrong[word], key=lambda w: (-wrong[word][w], w)),
                }
                for word in worst
            ],
            "transcripts": {
                "without_error": sum(one.count == 0 for one in edits),
                "empty": sum(not text for text in texts),
                "different": len(set(texts)),
                "count": len(texts),
            },
        }

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """There is no picture of transcripts."""

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Kinds of errors, and the words most often wrong."""
        edits, texts = detail["edits"], detail["transcripts"]
        kinds = [
            ["words replaced by others", edits["replaced"]],
            ["words left out", edits["left_out"]],
            ["words written that nobody said", edits["inserted"]],
        ]
        told = (
            f"Of {edits['said']:,} words that were said in {texts['count']:,} test clips; "
            f"{texts['without_error']:,} clips are without an error. Case and punctuation do not "
            "count."
        )
        found = [Section("Errors", ["what", "words"], kinds, text=told)]
        keys = ("word", "instead", "said", "wrong")
        rows = [[one[key] for key in keys] for one in detail["worst_words"]]
        if rows:
            header = ["word", "most often written", "said", "wrong"]
            found.append(Section("Words most often wrong", header, rows, num_names=2))
        return found

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """Words that are often wrong, clips without a word, words that nobody said."""
        del counts
        edits, texts, found = detail["edits"], detail["transcripts"], []
        if texts["different"] == 1 and texts["count"] > 1:
            found.append(Sentence("It writes the same for every test clip."))
        elif texts["empty"]:
            found.append(Sentence("It writes nothing for {} test clips.", (texts["empty"],)))
        often = [
            one
            for one in detail["worst_words"]
            if one["said"] >= FEW_TIMES and 2 * one["wrong"] > one["said"]
        ][:3]
        found += [
            Sentence(
                "Of {} times that {} was said, it was wrong {} times.",
                (one["said"], one["word"], one["wrong"]),
            )
            for one in often
        ]
        if edits["inserted"] > edits["replaced"] + edits["left_out"]:
            found.append(
                Sentence("Most of its errors are words that nobody said: {}.", (edits["inserted"],))
            )
        return found

    def summary(self, names: Sequence[str]) -> str:
        """Nothing: the task's name says it."""
        del names
        return ""

    def repeated(self, worst: float) -> str:
        """Of the proof of reloading, which lets nothing else through."""
        del worst
        return "the transcripts were the same"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """None, or endless for another spelling."""
        return 0.0 if one.value == other.value else float("inf")

    # --- rated

    def describe(self, names: Sequence[str]) -> str:
        """What the model does."""
        del names
        return "writes down what is said in it"

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The text."""
        del names
        return "Textbox", {"label": "Transcript", "lines": 3, "interactive": False}

    def shown(self, prediction: Prediction) -> Any:
        """The text."""
        return prediction.value

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A box for the right text."""
        del names
        return "Textbox", {"label": "What was said", "lines": 3}

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """The predicted text, to be mended."""
        del names
        return {"value": predicted}

    def said(self, corrected: Any) -> str:
        """The text in the box."""
        return str(corrected or "")

    def told(self, text: str) -> str:
        """The text, or that there is none."""
        return text or "nothing"

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """A text with words in it, and another than the predicted one."""
        del names
        value = one_line(text)
        if not value:
            raise ValueError(MISSING)
        if value == one_line(predicted):
            raise ValueError(SAME)
        for fault in self.faults(value):
            raise ValueError(f"The {fault}.")
        return value

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' transcripts become one."""
        trusted = ", weighed by what they wrote for rows whose transcript is known"
        weighed = trusted * (aggregate != "majority")
        return (
            f"the transcript of at least {raters}{weighed} that is nearest to the others, where "
            "most say nearly the same"
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
        """The median transcript. By the rule dawid_skene a rater weighs as much as what they wrote
        for rows whose transcript is known was right; without so many of those they are not heard.
        """
        said = {(key, rater): self.loads(text) for key, rater, text in votes}
        trust = trust_all(said) if rule == "majority" else trust_by_gold(said, gold, min_gold)
        return agreed_transcripts(said, trust, min_raters=min_raters)


def one_line(text: str) -> str:
    """NFC, nothing unseen, single blanks in place of all white space."""
    return " ".join(unicodedata.normalize("NFC", UNSEEN.sub("", text)).split())


def _texts(found: Sequence[Prediction]) -> list[str]:
    return [one.value for one in found]


ANSWER = Transcript()
