"""The sealed rows as questions: what is asked, what is known of the answer, who can score it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.inputs.language_examples import answer_text, as_text, asked_and_answers, example_of
from hub_trainer.metrics import metric_spec
from hub_trainer.metrics.answers import Sealed, can_be_scored

NUM_REPEATED = 8
FEWEST = 2
"""Examples below which nothing can be said of a metric."""


@dataclass(frozen=True)
class Question:
    """One sealed row: a prompt, or a text that is only weighed."""

    row: Mapping[str, Any]
    prompt: str
    """As people read it; empty for a text without one."""
    sealed: Sealed


@dataclass(frozen=True)
class SealedSet:
    """The questions of a round, each prompt once, and those that each metric can score."""

    questions: Sequence[Question]
    scored_by: Mapping[str, Sequence[int]]
    """Metric -> indexes of questions."""

    @property
    def asked(self) -> list[int]:
        """Questions that models are to answer."""
        return self._needed_for("answers")

    @property
    def weighed(self) -> list[int]:
        """Questions whose reference's likelihood is wanted of every model."""
        return self._needed_for("likelihoods")

    @property
    def repeated(self) -> list[int]:
        """Questions whose likelihood under the new model publish can repeat."""
        step = math.ceil(len(self.questions) / NUM_REPEATED)
        return list(range(0, len(self.questions), step))

    def _needed_for(self, needs: str) -> list[int]:
        chosen = (i for name, i in self.scored_by.items() if metric_spec(name).needs == needs)
        return sorted({index for indexes in chosen for index in indexes})


def sealed_set_of(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> SealedSet:
    """The questions that the sealed rows ask. Raises DataError for a metric that can score none.

    A prompt of several rows is asked once: answers to it are one answer, not several.
    """
    assert_answerable(rows, metrics)
    questions = _each_prompt_once([question_of(row) for row in rows])
    scored_by = {name: _scored_by(name, questions) for name in metrics}
    for name, indexes in scored_by.items():
        if len(indexes) < FEWEST:
            raise _too_few(name, questions, len(indexes))
    return SealedSet(questions, scored_by)


def assert_answerable(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Raise DataError when answers are to be scored and no row asks for one."""
    scoring = [name for name in metrics if metric_spec(name).needs == "answers"]
    if scoring and rows and not any(row["prompt"] for row in rows):
        raise DataError(
            f"The test rows are texts without a prompt, and {', '.join(scoring)} "
            f"{'scores' if len(scoring) == 1 else 'score'} answers to prompts.",
            where="evaluate.metrics",
            got=f"no prompt in {len(rows)} rows",
            do="measure completion_loss or perplexity, or give rows of prompt and completion",
        )


def question_of(row: Mapping[str, Any]) -> Question:
    """What a row asks, and what it knows of the answer."""
    example = example_of(row)
    _, answers = asked_and_answers(example)
    known = answer_text(answers[0]) if row["prompt"] else as_text(answers[0])
    reference = None if example.desirable is False else known
    return Question(row, row["prompt"], Sealed(reference, example.expected))


def _each_prompt_once(questions: Sequence[Question]) -> list[Question]:
    """In the order of the rows; of a prompt's rows the first that knows a right answer."""
    chosen: dict[str, Question] = {}
    for index, question in enumerate(questions):
        key = f"prompt {question.prompt}" if question.prompt else f"row {index}"
        before = chosen.setdefault(key, question)
        if before.sealed.reference is None and question.sealed.reference is not None:
            chosen[key] = question
    return list(chosen.values())


def _scored_by(name: str, questions: Sequence[Question]) -> list[int]:
    needs_prompt = metric_spec(name).needs == "answers"
    return [
        index
        for index, question in enumerate(questions)
        if can_be_scored(name, question.sealed) and (question.prompt or not needs_prompt)
    ]


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
