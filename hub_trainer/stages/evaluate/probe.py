"""A cheap probe: a linear model of plain features, fitted in seconds on the round's training rows.

It says what the data gives away without a fine-tuned model, so a first model may not be below it.
Texts are weighed words (tf-idf), or themselves for an answer about their words; pictures are small
pixels, tables their own features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.answers import Answer, Prediction
from hub_trainer.pictures import open_image
from hub_trainer.tasks import PredictingTask, Row

MAX_ROWS = 10_000
"""Training rows of a probe; of more, a share is drawn, so that it stays a matter of seconds."""
MAX_TERMS = 50_000
SIDE = 16
"""Pixels of a picture's side."""
MAX_STEPS = 300


@dataclass(frozen=True)
class Probe:
    """What the probe says of the sealed rows, and how it was made."""

    description: str
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class _Known:
    """The training rows that a probe is fitted on."""

    rows: Sequence[Row]
    answer: Answer
    seed: int

    @property
    def values(self) -> list[Any]:
        """The answer of each row."""
        return [row[self.answer.column] for row in self.rows]

    def fitted(self, features: Any, asked: Any, *, strength: float) -> list[Prediction]:
        """A linear model of these features, on other rows' features."""
        return self.answer.fit_linear(
            features, self.values, asked, strength=strength, seed=self.seed
        )


def probe_answers(
    task: PredictingTask, train: Sequence[Row], rows: Sequence[Row], *, seed: int
) -> Probe | None:
    """The probe's answer for each row; None where the training rows give it nothing to learn."""
    known = _Known(_sample(train, seed), task.answer, seed)
    if len({task.answer.dumps(value) for value in known.values}) < 2:
        return None
    fit = {"text": _of_texts, "image": _of_pictures, "table": _of_tables}[task.modality]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged is still a probe
        found = fit(known, rows)
    if found is None:
        return None
    told, predictions = found
    share = "" if len(known.rows) == len(train) else f", drawn from {len(train):,}"
    told = f"{task.answer.linear_model} {told}, fitted on {len(known.rows):,} training rows{share}"
    return Probe(told, predictions)


def _sample(rows: Sequence[Row], seed: int) -> Sequence[Row]:
    if len(rows) <= MAX_ROWS:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[index] for index in sorted(order[:MAX_ROWS])]


Found = tuple[str, list[Prediction]]


def _of_texts(known: _Known, rows: Sequence[Row]) -> Found | None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [str(row["text"]) for row in known.rows]
    if known.answer.is_of_words:
        wanted = [str(row["text"]) for row in rows]
        return "in the texts", known.fitted(texts, wanted, strength=1.0)
    words = sum(len(text.split()) for text in texts) >= 2 * len(texts)
    # scripts without spaces between words are weighed by their characters
    terms: dict[str, Any] = (
        {"analyzer": "word", "token_pattern": r"(?u)\w+|[^\w\s]", "ngram_range": (1, 2)}
        if words
        else {"analyzer": "char", "ngram_range": (1, 3)}
    )
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_TERMS, **terms)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # no term at all
        return None
    asked = vectorizer.transform([str(row["text"]) for row in rows])
    told = "on tf-idf of " + ("words" if words else "characters")
    return told, known.fitted(features, asked, strength=10.0)


def _of_pictures(known: _Known, rows: Sequence[Row]) -> Found:
    told = f"on {SIDE} x {SIDE} pixels"
    return told, known.fitted(_pixels(known.rows), _pixels(rows), strength=1.0)


def _pixels(rows: Sequence[Row]) -> NDArray[np.float64]:
    """(num_rows, SIDE * SIDE * 3) in [0, 1]."""
    from PIL import Image

    small = [
        open_image(row["image"]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        for row in rows
    ]
    return np.stack([np.asarray(one, dtype=np.float64).ravel() / 255 for one in small])


def _of_tables(known: _Known, rows: Sequence[Row]) -> Found:
    from hub_trainer.finetune.tables import encode_tables, find_features

    features = find_features(known.rows)
    encoded, asked = encode_tables(features, known.rows, rows)
    return "on the table's features", known.fitted(encoded, asked, strength=1.0)
