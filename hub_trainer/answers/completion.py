"""Completion: what a model writes to a prompt.

In rows it stands in an example of language data, beside its prompt. They are grouped by what may be
learned from them, in the column `label`: demonstration, preference, desirable or undesirable.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hub_trainer.answers import Asking, Prediction, Section, Sentence, Written
from hub_trainer.answers.completion_asking import BY_PROMPT, Question, scored_places
from hub_trainer.answers.label import ANSWER as KIND
from hub_trainer.answers.label_names import in_order
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.inputs.language_examples import KIND_OF
from hub_trainer.metrics import metric_names, metric_spec
from hub_trainer.metrics.written_answers import (
    Losses,
    Measured,
    compare,
    estimate,
    score_answers,
    score_preferences,
)
from hub_trainer.stats import Comparison, Estimate
from hub_trainer.stats.intervals import FloatArray

CONSTANT = (
    "always the commonest answer of the training rows; "
    "to likelihoods, any byte as likely as another"
)


@dataclass(frozen=True)
class Completion:
    """A text, as many tokens long as the model makes it."""

    name: str = "completion"
    column: str = "label"
    noun: str = "completion"
    plural: str = "completions"
    metrics: frozenset[str] = metric_names("answers", "likelihoods", "preferences")
    positive_metrics: frozenset[str] = frozenset()
    usual_metrics: tuple[str, ...] = ("completion_loss", "perplexity")
    tolerance: float = 1e-3
    figure: str | None = None
    counted: str | None = "kind"
    predicts_names: bool = False
    usual_raters: int = 1
    """Seldom two people see one answer."""
    rated_how: str = ": rate its answers, choose between two of them, or write a better one."
    is_share_of_names: bool = False
    is_of_words: bool = False
    asking: Asking = BY_PROMPT

    # --- rows, by the kind of example

    def read(self, column: Column, where: str) -> pa.Array:
        """The kinds, as names."""
        return KIND.read(column, where)

    def cell(self, value: Any) -> Any:
        """The value itself."""
        return value

    def faults(self, value: Any) -> list[str]:
        """None: an example says by its format what it is."""
        del value
        return []

    def declared(self, class_names: Sequence[str]) -> list[str]:
        """Those of thumbs, as a dataset calls them; its kinds have no other names."""
        return KIND.declared(class_names)

    def names(self, values: Sequence[Any], declared: Sequence[str]) -> list[str]:
        """The kinds that there are."""
        del declared
        return in_order(set(values))

    def notes(self, values: Sequence[Any]) -> list[str]:
        """None."""
        del values
        return []

    def assert_taught(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Raise DataError when the training rows are of several kinds, which no one loss takes."""
        kinds = sorted(set(values["train"]))
        if len({KIND_OF[kind] for kind in kinds}) > 1:
            raise DataError(
                "The training rows are of several kinds, and a model learns from one at a time.",
                where="collect.datasets",
                got=", ".join(kinds),
                do="Train on demonstrations, preferences and ratings in recipes of their own.",
            )

    def assert_usable(self, values: Mapping[str, Sequence[Any]]) -> None:
        """Rows of one kind stay of one kind."""

    def settle(self, values: Sequence[Any]) -> Any | None:
        """What equal examples are for, where most say the same."""
        return KIND.settle(values)

    def same(self, one: Any, other: Any) -> bool:
        """Whether two are for the same."""
        return bool(one == other)

    def strata(self, values: Sequence[Any]) -> list[str]:
        """The kinds."""
        return list(values)

    def parts(self, value: Any) -> list[str]:
        """The kind."""
        return [value]

    def overview(self, values: Sequence[Any], names: Sequence[str]) -> str:
        """The kinds that there are."""
        del values
        return ", ".join(names)

    def counts(self, values: Sequence[Any]) -> dict[str, int]:
        """Rows per kind."""
        return KIND.counts(values)

    def sizes(self, values: Sequence[Any]) -> dict[str, Sequence[float]]:
        """None: the input measures the text."""
        del values
        return {}

    def dumps(self, value: Any) -> str:
        """The text itself."""
        return str(value)

    def loads(self, text: str) -> Any:
        """The text itself."""
        return text

    def told(self, text: str) -> str:
        """The text itself."""
        return text

    # --- measured, by what is written

    def is_shared(self, prediction: Prediction, names: Sequence[str]) -> bool:
        """Any model that writes can be measured."""
        del prediction, names
        return True

    def over(self, found: Sequence[Prediction], names: Sequence[str]) -> list[Prediction]:
        """The predictions as they are."""
        del names
        return list(found)

    def constant(self, values: Sequence[Any], primary: str) -> tuple[str, Prediction]:
        """The commonest text."""
        del primary
        counts = Counter(values)
        text = min(counts, key=lambda text: (-counts[text], text), default="")
        return CONSTANT, Prediction(text, written=Written(0, finished=True))

    def assert_measurable(self, metrics: Sequence[str], names: Sequence[str]) -> None:
        """Which metrics can score which questions, those say."""

    def estimates(
        self,
        metrics: Sequence[str],
        references: Sequence[Any],
        found: Sequence[Prediction],
        names: Sequence[str],
        *,
        seed: int,
    ) -> dict[str, Estimate]:
        """Each metric with its interval over the questions that it can score."""
        del names
        return {
            name: estimate(_measured(name, references, found)[1], seed=seed) for name in metrics
        }

    def compare(
        self,
        metric: str,
        references: Sequence[Any],
        pair: tuple[Sequence[Prediction], Sequence[Prediction]],
        names: Sequence[str],
        *,
        seed: int,
    ) -> Comparison:
        """The new model's completions against another's; of losses, on the same tokens."""
        del names
        new, other = (_measured(metric, references, found)[1] for found in pair)
        return compare(new, other, seed=seed)

    def scores(self, references: Sequence[Any], found: Sequence[Prediction]) -> FloatArray:
        """(N,) scores in the primary metric; NaN for a question that it cannot score."""
        places, measured = _measured(references[0].primary, references, found)
        scores = np.full(len(references), np.nan)
        scores[places] = measured.scores
        return scores

    def slices(self, references: Sequence[Any]) -> dict[str, list[str]]:
        """None: a text is in no group by itself."""
        del references
        return {}

    def detail(
        self, references: Sequence[Any], found: Sequence[Prediction], names: Sequence[str]
    ) -> dict[str, Any]:
        """Nothing beyond the metrics: how a model writes stands beside other models' habits."""
        del references, found, names
        return {}

    def draw(self, detail: Mapping[str, Any], folder: Path) -> None:
        """There is no picture of texts."""

    def sections(self, detail: Mapping[str, Any]) -> list[Section]:
        """None: what is known besides stands with the metrics."""
        del detail
        return []

    def limits(
        self, detail: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]]
    ) -> list[Sentence]:
        """What holds of all that is written."""
        del detail, counts
        told = "It writes what is likely, which may be wrong, unfair or harmful; {}."
        return [Sentence(told.format("nothing filters it"))]

    def summary(self, names: Sequence[str]) -> str:
        """Nothing: the task's name says it."""
        del names
        return ""

    def repeated(self, worst: float) -> str:
        """How far the log-probability of an average token differs."""
        return f"the log-probability of a token differed by {worst:.1e} at most, on average"

    def difference(self, one: Prediction, other: Prediction) -> float:
        """Of the log-probability of an average token; infinite for other tokens."""
        mine, theirs = one.likelihood, other.likelihood
        assert mine is not None
        if theirs is None or mine.num_tokens != theirs.num_tokens:
            return float("inf")
        change = abs(mine.log_prob - theirs.log_prob) / max(1, mine.num_tokens)
        return float("inf") if np.isnan(change) else change


def _measured(
    name: str, questions: Sequence[Question], found: Sequence[Prediction]
) -> tuple[list[int], Measured]:
    """Places of the questions that a metric can score, and what it makes of them."""
    places = scored_places(name, questions, found)
    if metric_spec(name).needs == "likelihoods":
        weighed = [one for place in places if (one := found[place].likelihood)]
        losses = Losses(
            np.array([-one.log_prob for one in weighed]),
            np.array([one.num_tokens for one in weighed]),
        )
        return places, Measured(name, losses.scores, losses)
    if metric_spec(name).needs == "preferences":
        pairs = [pair for place in places if (pair := found[place].preference)]
        chosen, rejected = (
            [getattr(one, side) for one in pairs] for side in ("chosen", "rejected")
        )
        return places, Measured(name, score_preferences(name, chosen, rejected))
    sealed = [questions[place].sealed for place in places]
    texts = [str(found[place].value) for place in places]
    schema = questions[0].json_schema
    return places, Measured(name, score_answers(name, texts, sealed, json_schema=schema))


ANSWER = Completion()
