"""Sealed prompts as questions: what is asked, what is known of the answer, who can score it.

A prompt of several rows is asked once: answers to it are one answer, not several. Pairs of answers
to one prompt are each compared. A text without a prompt is only weighed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub_trainer.answers import Answer, Asking, Likelihood, Prediction, Preference, Questions
from hub_trainer.errors import DataError, TrainingError
from hub_trainer.inputs import Row
from hub_trainer.inputs.language_examples import (
    answer_text,
    as_text,
    asked_and_answers,
    example_of,
)
from hub_trainer.metrics import metric_spec
from hub_trainer.metrics.written_answers import Sealed, byte_log_prob, can_be_scored

if TYPE_CHECKING:
    from hub_trainer.recipe.schema import EvaluateSection

NUM_REPEATED = 8
FEWEST = 2
"""Examples below which nothing can be said of a metric."""
MAX_EXAMPLE_CHARACTERS = 200


@dataclass(frozen=True)
class Question:
    """One sealed row: a prompt, or a text that is only weighed."""

    prompt: str
    """As people read it; empty for a text without one."""
    sealed: Sealed
    primary: str = ""
    """The metric that its score is of."""
    json_schema: dict[str, Any] | None = None
    is_further_pair: bool = False
    """Its prompt is that of another question, so that only its two answers are compared."""

    def is_scored_by(self, name: str) -> bool:
        """Whether this metric can say something of an answer to it."""
        needs = metric_spec(name).needs
        if self.is_further_pair and needs != "preferences":
            return False
        has_what_it_needs = bool(self.prompt) or needs != "answers"
        return has_what_it_needs and can_be_scored(name, self.sealed)


class _ByPrompt:
    """The new, the published and the base model get the same questions in the same way."""

    measured_by = "the log-probability of an average token"
    base_leads = True
    has_validation = False

    def questions(
        self, answer: Answer, rows: Sequence[Row], section: "EvaluateSection"
    ) -> Questions:
        del answer
        assert_answerable(rows, section.metrics)
        found = [question_of(row) for row in rows]
        places = _each_prompt_once(found)
        if _named(section.metrics, "preferences"):
            places |= {
                place: replace(one, is_further_pair=True)
                for place, one in enumerate(found)
                if place not in places and one.sealed.rejected is not None
            }
        known = [
            replace(one, primary=section.primary, json_schema=section.json_schema)
            for one in places.values()
        ]
        scored_by = {
            name: [place for place, one in enumerate(known) if one.is_scored_by(name)]
            for name in section.metrics
        }
        for name, able in scored_by.items():
            if len(able) < FEWEST:
                raise _too_few(name, known, len(able))
        return Questions(
            [rows[place] for place in places],
            known,
            num_rows=len(rows),
            answered=_needed_for("answers", scored_by),
            weighed=_needed_for("likelihoods", scored_by),
            paired=_needed_for("preferences", scored_by),
            repeated=range(0, len(known), math.ceil(len(known) / NUM_REPEATED)),
        )

    def assert_sound(self, name: str, found: Sequence[Prediction]) -> None:
        weighed = [one.likelihood.log_prob for one in found if one.likelihood]
        pairs = [one.preference for one in found if one.preference]
        weighed += [value for one in pairs for value in (one.chosen, one.rejected)]
        broken = sum(not math.isfinite(value) for value in weighed)
        if broken:
            raise TrainingError(
                f"To {name} sealed answers have a likelihood that is no number.",
                got=f"{broken} of {len(weighed)}",
                do="its weights are broken; train again, with a smaller learning rate perhaps",
            )

    def comparable(
        self, metrics: Sequence[str], questions: Questions, models: Sequence[Sequence[Prediction]]
    ) -> list[Sequence[Prediction]]:
        """Losses of all models per token of the new one, so that other tokenizers can be compared.

        A question that leaves one of them no room for an answer is weighed by none, and a pair that
        one of them does not take whole is compared by none.
        """
        per_question = [_weighed_alike(one) for one in zip(*models, strict=True)]
        alike: list[Sequence[Prediction]] = [list(one) for one in zip(*per_question, strict=True)]
        for name in metrics:
            count = len(scored_places(name, questions.references, alike[0]))
            if count < FEWEST:
                wanted = sum(one.is_scored_by(name) for one in questions.references)
                raise DataError(
                    f"The metric {name} can score too few of the test rows.",
                    where="evaluate.metrics",
                    got=f"{count} of {wanted} leave room for an answer",
                    do="give test rows with shorter prompts, or a base model that takes longer "
                    "ones",
                )
        return alike

    def baseline(
        self, answer: Answer, train: Sequence[Row], questions: Questions, primary: str
    ) -> tuple[str, list[Prediction]]:
        """The commonest answer of the training rows; to likelihoods, any byte is as likely."""
        known = (question_of(row).sealed.reference for row in train)
        told, constant = answer.constant([text for text in known if text], primary)
        if questions.paired:
            told += ", so that of two answers the shorter is likelier"
        found = [
            replace(constant, likelihood=_of_bytes(one), preference=_by_bytes(one))
            for one in questions.references
        ]
        return told, found

    def num_scored(self, metric: str, questions: Questions, found: Sequence[Prediction]) -> int:
        return len(scored_places(metric, questions.references, found))

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row["prompt"]]

    def example(self, answer: Answer, row: Row, prediction: Prediction) -> dict[str, str]:
        reference = question_of(row).sealed.reference
        known = {} if reference is None else {"reference": _cut(reference)}
        return {**known, "answer": _cut(answer.told(prediction.value))}

    def columns(
        self, answer: Answer, found: Sequence[Prediction], scores: Sequence[float | None]
    ) -> dict[str, Sequence[Any]]:
        pairs = [one.preference for one in found]
        weighed: dict[str, Sequence[Any]] = {
            "chosen_log_prob": [one and one.chosen for one in pairs],
            "rejected_log_prob": [one and one.rejected for one in pairs],
        }
        said: dict[str, Sequence[Any]] = {"answer": [one.value for one in found], "score": scores}
        return said | (weighed if any(pairs) else {})

    def references(
        self, answer: Answer, questions: Questions, new: Sequence[Prediction]
    ) -> dict[str, Sequence[Any]]:
        weights = [one.likelihood for one in new]
        return {
            "prompt": [one.prompt for one in questions.references],
            "reference": [one.sealed.reference for one in questions.references],
            "log_prob": [one and one.log_prob for one in weights],
            "num_tokens": [one and one.num_tokens for one in weights],
        }

    def recorded(self, answer: Answer, row: Row) -> Prediction | None:
        """The likelihood: what is written may differ by a token, as sums do by their order."""
        if row["log_prob"] is None:
            return None
        return Prediction(None, likelihood=Likelihood(row["log_prob"], row["num_tokens"]))


def assert_answerable(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Raise DataError when answers are to be scored and no row asks for one, or answers are to be
    compared and no row has two."""
    comparing, kinds = _named(metrics, "preferences"), sorted({row["label"] for row in rows})
    if comparing and rows and not any(question_of(row).sealed.rejected for row in rows):
        raise DataError(
            f"{' and '.join(comparing)} {'compares' if len(comparing) == 1 else 'compare'} a "
            "chosen answer with a rejected one, and no test row has both.",
            where="evaluate.metrics",
            got=f"{len(rows)} rows: {', '.join(kinds)}",
            do="give rows of chosen and rejected, or measure completion_loss",
        )
    scoring = _named(metrics, "answers")
    if scoring and rows and not any(row["prompt"] for row in rows):
        raise DataError(
            f"The test rows are texts without a prompt, and {', '.join(scoring)} "
            f"{'scores' if len(scoring) == 1 else 'score'} answers to prompts.",
            where="evaluate.metrics",
            got=f"no prompt in {len(rows)} rows",
            do="measure completion_loss or perplexity, or give rows of prompt and completion",
        )


def uncompared_note(rows: Sequence[Row], metrics: Sequence[str]) -> str | None:
    """What to say where rows hold preferences and no metric goes by them."""
    if _named(metrics, "preferences") or not any(question_of(row).sealed.rejected for row in rows):
        return None
    return (
        "the test rows are preferences, and no metric compares their answers: name "
        "preference_accuracy in evaluate"
    )


def question_of(row: Mapping[str, Any]) -> Question:
    """What a row asks, and what it knows of the answer."""
    example = example_of(row)
    _, answers = asked_and_answers(example)
    known = answer_text(answers[0]) if row["prompt"] else as_text(answers[0])
    reference = None if example.desirable is False else known
    rejected = None
    if len(answers) > 1:
        rejected = answer_text(answers[1]) if row["prompt"] else as_text(answers[1])
    return Question(row["prompt"], Sealed(reference, example.expected, rejected))


def scored_places(
    metric: str, questions: Sequence[Question], found: Sequence[Prediction]
) -> list[int]:
    """Places of the questions that a metric can score of a model."""
    places = [place for place, one in enumerate(questions) if one.is_scored_by(metric)]
    needs = metric_spec(metric).needs
    if needs == "likelihoods":
        return [place for place in places if found[place].likelihood]
    if needs == "preferences":
        return [place for place in places if found[place].preference]
    return places


def _named(metrics: Sequence[str], needs: str) -> list[str]:
    """Those of the metrics that need this."""
    return [name for name in metrics if metric_spec(name).needs == needs]


def _each_prompt_once(questions: Sequence[Question]) -> dict[int, Question]:
    """Place of a row -> its question, in order; of a prompt's rows the first that knows an answer.

    It stands where the prompt was met first.
    """
    chosen: dict[str, tuple[int, Question]] = {}
    for place, question in enumerate(questions):
        key = f"prompt {question.prompt}" if question.prompt else f"row {place}"
        _, before = chosen.setdefault(key, (place, question))
        if before.sealed.reference is None and question.sealed.reference is not None:
            chosen[key] = place, question
    return dict(chosen.values())


def _needed_for(needs: str, scored_by: Mapping[str, Sequence[int]]) -> list[int]:
    chosen = (places for name, places in scored_by.items() if metric_spec(name).needs == needs)
    return sorted({place for places in chosen for place in places})


def _too_few(name: str, questions: Sequence[Question], count: int) -> DataError:
    prompts = sum(bool(question.prompt) for question in questions)
    references = sum(question.sealed.reference is not None for question in questions)
    return DataError(
        f"The metric {name} can score too few of the test rows.",
        where="evaluate.metrics",
        got=f"{count} of {len(questions)} sealed examples: {prompts} have a prompt, {references} "
        "a right answer",
        do="give more test rows, with answers that are right; contains also takes what a good "
        "answer contains, in the column expected",
    )


def _weighed_alike(found: Sequence[Prediction]) -> list[Prediction]:
    """What each model says of one question, weighed over as many tokens, or not at all."""
    if not all(one.preference for one in found):
        found = [replace(one, preference=None) for one in found]
    likelihoods = [one.likelihood for one in found]
    if not all(one and one.num_tokens for one in likelihoods):
        return [replace(one, likelihood=None) for one in found]
    count = next(one.num_tokens for one in likelihoods if one)
    alike = [one and replace(one, num_tokens=count) for one in likelihoods]
    return [replace(one, likelihood=weighed) for one, weighed in zip(found, alike, strict=True)]


def _of_bytes(question: Question) -> Likelihood:
    text = question.sealed.reference or ""
    return Likelihood(byte_log_prob(text), max(1, len(text.encode())))


def _by_bytes(question: Question) -> Preference | None:
    sealed = question.sealed
    if sealed.reference is None or sealed.rejected is None:
        return None
    return Preference(byte_log_prob(sealed.reference), byte_log_prob(sealed.rejected))


def _cut(text: str) -> str:
    """The beginning of a text that is shown as an example."""
    return text if len(text) <= MAX_EXAMPLE_CHARACTERS else f"{text[:MAX_EXAMPLE_CHARACTERS]}…"


BY_PROMPT: Asking = _ByPrompt()
