"""A cheap probe: a linear model of plain features, fitted in seconds on the round's training rows.

It says what the data gives away without a fine-tuned model, so a first model may not be below it.
Texts are weighed words (tf-idf), pictures small pixels, tables their own features.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_trainer.pictures import open_image
from hub_trainer.tasks import Row

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
    labels: Sequence[str]


def probe_labels(
    modality: str, train: Sequence[Row], rows: Sequence[Row], *, seed: int
) -> Probe | None:
    """The probe's label for each row; None where the training rows give it nothing to learn."""
    chosen = _sample(train, seed)
    if len({row["label"] for row in chosen}) < 2:
        return None
    fit = {"text": _of_texts, "image": _of_pictures, "table": _of_tables}[modality]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged is still a probe
        found = fit(chosen, rows, seed)
    if found is None:
        return None
    told, labels = found
    share = "" if len(chosen) == len(train) else f", drawn from {len(train):,}"
    return Probe(f"{told}, fitted on {len(chosen):,} training rows{share}", labels)


def _sample(rows: Sequence[Row], seed: int) -> Sequence[Row]:
    if len(rows) <= MAX_ROWS:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[index] for index in sorted(order[:MAX_ROWS])]


Found = tuple[str, list[str]]


def _of_texts(train: Sequence[Row], rows: Sequence[Row], seed: int) -> Found | None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [str(row["text"]) for row in train]
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
    told = "logistic regression on tf-idf of " + ("words" if words else "characters")
    return told, _logistic(features, _labels(train), asked, strength=10.0, seed=seed)


def _of_pictures(train: Sequence[Row], rows: Sequence[Row], seed: int) -> Found:
    told = f"logistic regression on {SIDE} x {SIDE} pixels"
    return told, _logistic(_pixels(train), _labels(train), _pixels(rows), strength=1.0, seed=seed)


def _pixels(rows: Sequence[Row]) -> NDArray[np.float64]:
    """(num_rows, SIDE * SIDE * 3) in [0, 1]."""
    from PIL import Image

    small = [
        open_image(row["image"]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        for row in rows
    ]
    return np.stack([np.asarray(one, dtype=np.float64).ravel() / 255 for one in small])


def _of_tables(train: Sequence[Row], rows: Sequence[Row], seed: int) -> Found:
    from hub_trainer.finetune.tables import (
        LabelledRows,
        TableFit,
        find_features,
        fit_pipeline,
        table_of,
    )

    features = find_features(train)
    known = LabelledRows(train, [1.0] * len(train))
    pipeline = fit_pipeline(features, known, None, TableFit("logistic_regression", {}, seed))
    labels = pipeline.predict(table_of(rows, features))
    return "logistic regression on the table's features", [str(label) for label in labels]


def _logistic(features: Any, labels: list[str], asked: Any, *, strength: float, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MAX_STEPS, tol=1e-3, random_state=seed)
    return [str(label) for label in model.fit(features, labels).predict(asked)]


def _labels(rows: Sequence[Row]) -> list[str]:
    return [str(row["label"]) for row in rows]
