"""A cheap probe: a linear model of plain features, fitted in seconds on the round's training rows.

It says what the data gives away without a fine-tuned model, so a first model may not be below it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.inputs import PlainFeatures, load_input
from hub_trainer.tasks import Row, Task

MAX_ROWS = 10_000
"""Training rows of a probe; of more, a share is drawn, so that it stays a matter of seconds."""


@dataclass(frozen=True)
class Probe:
    """What the probe says of the sealed rows, and how it was made."""

    description: str
    predictions: Sequence[Prediction]


def probe_answers(
    task: Task, train: Sequence[Row], rows: Sequence[Row], *, seed: int
) -> Probe | None:
    """The probe's answer for each row; None where the training rows give it nothing to learn."""
    answer, known = task.answer, _sample(train, seed)
    values = [row[answer.column] for row in known]
    if len({answer.dumps(value) for value in values}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged is still a probe
        plain = (
            _words(known, rows)
            if answer.is_of_words
            else load_input(task.modality).plain_features(known, rows)
        )
        if plain is None:
            return None
        linear = load_answer(answer.name)
        predictions = linear.fit_linear(
            plain.known, values, plain.asked, strength=plain.strength, seed=seed
        )
    share = "" if len(known) == len(train) else f", drawn from {len(train):,}"
    told = f"{linear.linear_model} on {plain.told}, fitted on {len(known):,} training rows{share}"
    return Probe(told, predictions)


def _words(known: Sequence[Row], asked: Sequence[Row]) -> PlainFeatures:
    """Texts as they are, for an answer about their words."""
    texts, others = ([str(row["text"]) for row in rows] for rows in (known, asked))
    return PlainFeatures("words as written", texts, others, strength=1.0)


def _sample(rows: Sequence[Row], seed: int) -> Sequence[Row]:
    if len(rows) <= MAX_ROWS:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[index] for index in sorted(order[:MAX_ROWS])]
