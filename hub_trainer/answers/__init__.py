"""Answers: what a model can give back, one file each; stages ask an answer and never what it is.

A task is an input, an answer and a way to fit. An answer reads its column, measures predictions,
shows itself in cards and in the Space, and joins what raters say. Adding one is a file here and a
row of `ANSWERS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from hub_trainer.inputs import Column, Row

if TYPE_CHECKING:
    import pyarrow as pa

    from hub_trainer.recipe.schema import EvaluateSection
    from hub_trainer.stats import Aggregation, Comparison, Estimate
    from hub_trainer.stats.intervals import FloatArray

NOTHING: Mapping[str, float] = MappingProxyType({})

ANSWERS: Mapping[str, str] = {
    "label": "hub_trainer.answers.label",
    "labels": "hub_trainer.answers.labels",
    "number": "hub_trainer.answers.number",
    "spans": "hub_trainer.answers.spans",
    "transcript": "hub_trainer.answers.transcript",
    "completion": "hub_trainer.answers.completion",
}
"""Name of an answer -> module that holds its `ANSWER`."""

MISSING = "The right answer is missing."
"""What a rater is told who sends none."""
SAME = "That is what the model said."
"""What a rater is told who corrects a prediction to itself."""
SAY_WHETHER_RIGHT = " and say whether it is right."
USUAL_RATERS = 3


@dataclass(frozen=True)
class Written:
    """How a model came to the end of a text."""

    num_tokens: int
    finished: bool
    """It ended by itself, and was not cut at the largest number of tokens."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a row's own answer is to a model."""

    log_prob: float
    """Natural logarithm, summed over tokens."""
    num_tokens: int


@dataclass(frozen=True)
class Preference:
    """How likely both answers of a row are to a model: natural logarithms, summed over tokens."""

    chosen: float
    rejected: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of one row."""

    value: Any
    """str for a label, a transcript or a completion, frozenset of names for labels, float for a
    number, words with their tags for spans; None where nothing was asked."""
    scores: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    """A probability per name, where there are names."""
    written: Written | None = None
    """Of a completion."""
    likelihood: Likelihood | None = None
    """Of the row's own answer, where that was asked."""
    preference: Preference | None = None
    """Of the row's two answers, where that was asked and the model takes both whole."""
    vectors: "tuple[FloatArray, FloatArray] | None" = field(default=None, compare=False, repr=False)
    """(D,) of both texts of a pair, of length 1, where the value was made of them."""


@dataclass(frozen=True)
class Questions:
    """Sealed rows as what models are asked, and what is known of each right answer."""

    rows: Sequence[Mapping[str, Any]]
    references: Sequence[Any]
    num_rows: int | None = None
    """Sealed rows, where several may ask one question; None where each is a question."""
    answered: Sequence[int] | None = None
    """Places of the questions that models are to answer; None is all."""
    weighed: Sequence[int] = ()
    """Places of those whose own answer's likelihood is wanted of every model."""
    paired: Sequence[int] = ()
    """Places of those of whose two answers every model says how likely they are."""
    repeated: Sequence[int] = ()
    """Places of those whose likelihood under the new model publish will repeat."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with values in its places, which a card writes so that none can break it."""

    text: str
    """With `{}` for each value."""
    values: Sequence[Any] = ()
    """A name (str), a metric with its interval (a mapping), or a count (int)."""


@dataclass(frozen=True)
class Section:
    """A part of a model's card: a picture, a sentence, a table."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    """Cells as the values of a Sentence."""
    num_names: int = 1
    """How many columns, from the left, are names; the others are numbers."""
    text: str = ""
    """What stands above the table."""
    figure: str | None = None
    """File of the picture, among those that `draw` makes."""
    alt: str = ""
    """What the picture shows, for those who cannot see it."""


class OfRows(Protocol):
    """What collect, prepare, contribute and review ask."""

    name: str
    column: str
    """The canonical column."""
    noun: str
    """What one value is called: a label, a set of labels, a number."""
    plural: str

    def read(self, column: Column, where: str) -> "pa.Array":
        """Canonical values; null for a gap. Raises DataError for a column that cannot hold any."""

    def cell(self, value: Any) -> Any:
        """A value as a dataset's column holds it: what `read` would make the value of."""

    def faults(self, value: Any) -> list[str]:
        """What is wrong with one value; nothing is a good one."""

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """The names that the classes of a dataset's column stand for, in their order."""

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """The names that values choose from, the dataset's own order first; none for numbers."""

    def notes(self, values: Sequence[Any]) -> list[str]:
        """What a person should know of the training values."""

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError when values of `train` cannot teach those of the other roles."""

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """As `assert_taught`, of the splits of a round, once rows were left out."""

    def settle(self, values: Sequence[Any]) -> Any | None:
        """What equal contents with these values keep; None when they contradict each other."""

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values say the same."""

    def strata(self, values: Sequence[Any]) -> list[str]:
        """The group of each value that is split evenly."""

    def parts(self, value: Any) -> list[str]:
        """The names in one value; none for numbers."""

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """What the values are, in a few words."""

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Rows per name; nothing where there are no names."""

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """Measures whose spread is worth telling, as a target's own values."""

    def dumps(self, value: Any) -> str:
        """A value as a text; `loads` reads it."""

    def loads(self, text: str) -> Any:
        """A value from its text. Raises ValueError for a text that is none."""

    def told(self, text: str) -> str:
        """An answer, as `dumps` has it, for people."""


class Measured(Protocol):
    """What evaluate, the gate, publish and cards ask."""

    metrics: frozenset[str]
    """Names in `evaluate.metrics`."""
    positive_metrics: frozenset[str]
    """Those that are of one label where `evaluate.positive` names it; `load_answer` says it."""
    usual_metrics: tuple[str, ...]
    """Those of a first recipe, the primary first."""
    tolerance: float
    """The largest difference of a reloaded model's prediction, as `difference` measures it."""
    figure: str | None
    """File of the picture that `draw` makes."""
    counted: str | None
    """What `counts` counts rows by: a label, a kind; None where there are no names."""
    predicts_names: bool
    """Whether a prediction is made of the answer's names."""
    usual_raters: int
    """Raters who must have seen a row before it counts, where a recipe names no number."""
    rated_how: str
    """What a card asks visitors of the Space to do."""
    is_share_of_names: bool
    """Whether a prediction's scores are shares of its names that add up to 1."""
    is_of_words: bool
    """Whether it is about the words of a text, and holds those itself."""

    @property
    def asking(self) -> "Asking":
        """How sealed rows become questions, and what else is asked of models."""

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Whether a model that predicts so can be measured among these names at all."""

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """Predictions among exactly these names, in their order."""

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """What is said without looking, in words, and the prediction."""

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Raise DataError where a metric means nothing among these names."""

    def estimates(
        self,
        metrics: Sequence[str],
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
        *,
        seed: int,
    ) -> "dict[str, Estimate]":
        """Each metric with its interval over examples."""

    def compare(
        self,
        metric: str,
        references: Sequence[Any],
        pair: tuple[Sequence[Prediction], Sequence[Prediction]],
        names: Sequence[str],
        *,
        seed: int,
    ) -> "Comparison":
        """The new model's predictions against another's in one metric."""

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> "FloatArray":
        """(N,) a score per example, higher is better: what slices compare. NaN where the primary
        metric can score none."""

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """Groups by the answer itself: a column, and each row's group."""

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """What results.json says beyond the metrics."""

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """Write the picture, where there is one."""

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """Parts of the card."""

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """What the figures show to be weak; `counts` are rows per name of each split."""

    def summary(self, names: Sequence[str]) -> str:
        """What the first line of a card adds after the task: ` with 3 labels`."""

    def repeated(self, worst: float) -> str:
        """What the proof of reloading showed, `worst` being the largest difference."""

    def difference(self, one: Prediction, other: Prediction) -> float:
        """How far two predictions of one row are apart; infinite for another answer."""


class Asking(Protocol):
    """What evaluate and publish ask around the metrics."""

    measured_by: str
    """What an answer's `difference` is of: a prediction, the log-probability of a token."""
    base_leads: bool
    """Whether the base model is asked as it is, and is what a first model is tested against."""
    has_validation: bool
    """Whether the validation rows are measured too."""

    def questions(
        self, answer: "Answer", rows: Sequence[Row], section: "EvaluateSection"
    ) -> Questions:
        """Sealed rows as questions. Raises DataError for a metric that can measure none of them."""

    def assert_sound(self, name: str, found: Sequence[Prediction]) -> None:
        """Raise TrainingError where a model of this name says what cannot be measured."""

    def comparable(
        self, metrics: Sequence[str], questions: Questions, models: Sequence[Sequence[Prediction]]
    ) -> list[Sequence[Prediction]]:
        """The predictions of all models, the new one's first, as far as they can be compared."""

    def baseline(
        self, answer: "Answer", train: Sequence[Row], questions: Questions, primary: str
    ) -> tuple[str, list[Prediction]]:
        """What is said without looking, in words, and per question."""

    def num_scored(self, metric: str, questions: Questions, found: Sequence[Prediction]) -> int:
        """How many questions a metric can score."""

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows that make an example for a card."""

    def example(self, answer: "Answer", row: Row, prediction: Prediction) -> dict[str, str]:
        """A row's right answer and what was predicted, for people, by what they are."""

    def columns(
        self, answer: "Answer", found: Sequence[Prediction], scores: Sequence[float | None]
    ) -> dict[str, Sequence[Any]]:
        """What predictions.parquet holds of one model."""

    def references(
        self, answer: "Answer", questions: Questions, new: Sequence[Prediction]
    ) -> dict[str, Sequence[Any]]:
        """What it holds of the questions, and of the new model's predictions alone."""

    def recorded(self, answer: "Answer", row: Row) -> Prediction | None:
        """What was predicted, by a row of it; None where publish can repeat nothing."""


class Judging(Protocol):
    """What a cheap probe asks."""

    linear_model: str
    """What `fit_linear` fits, in words."""

    def fit_linear(
        self, features: Any, values: Sequence[Any], asked: Any, *, strength: float, seed: int
    ) -> list[Prediction]:
        """A linear model of (N, D) features, on other rows' features; strength is 1 / L2.

        Where the answer `is_of_words`, what is cheap there, of (N,) texts as they are.
        """


class Rated(Protocol):
    """What the Space, ratings, curate and review ask."""

    question: str
    """What a rater is asked, to be answered Right or Wrong."""
    hint: str
    """What a rater is told to do whose answer is none."""

    def describe(self, names: Sequence[str]) -> str:
        """What the model does with what it reads, for the head of the Space."""

    def output(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The Gradio component that shows a prediction, and its arguments."""

    def shown(self, prediction: Prediction) -> Any:
        """A prediction as that component's value."""

    def correction(self, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The Gradio component in which a rater gives the right answer, and its arguments."""

    def draft(self, predicted: str, names: Sequence[str]) -> dict[str, Any]:
        """Arguments of that component once a prediction is wrong: its value, and its choices."""

    def said(self, corrected: Any) -> str:
        """That component's value as a text for `rating`."""

    def rating(self, text: str, predicted: str, names: Sequence[str]) -> str:
        """The answer that a rater gives in place of a wrong one.

        Raises ValueError with a sentence for one that is none, or is what was predicted.
        """

    def rule(self, aggregate: str, raters: str) -> str:
        """How raters' answers become one, in words; `raters` is how many at least: "3 raters"."""

    def agree(
        self,
        votes: Sequence[tuple[str, str, str]],
        gold: Mapping[str, str],
        *,
        rule: str,
        min_raters: int,
        min_gold: int,
    ) -> "Aggregation":
        """One answer per rated row from (row, rater, answer) votes, all as `dumps` has them."""


class Answer(OfRows, Measured, Protocol):
    """One kind of answer, as all of the house sees it."""


class RatedAnswer(Answer, Judging, Rated, Protocol):
    """One that a rater calls right, or wrong with the right answer; a linear model can learn it."""


@cache
def load_answer(name: str, positive: str | None = None) -> RatedAnswer:
    """The answer of a name; `positive` is the label that is looked for, if it is one of labels.

    What models write, people rate in other ways: of that no caller asks what only a `RatedAnswer`
    has.
    """
    answer: RatedAnswer = import_module(ANSWERS[name]).ANSWER
    if positive is None or not answer.positive_metrics:
        return answer
    return replace(answer, positive=positive)  # type: ignore[type-var]


def plain_estimate(estimate: "Estimate") -> dict[str, float]:
    """A metric with its interval, as it stands in results.json."""
    interval = estimate.interval
    return {"value": estimate.value, "low": interval.low, "high": interval.high}
