"""New answers that are no labels, such as numbers, held against a judge's predictions.

A judge errs too. How far is measured on held-out rows, whose answers are taken as right: the error
that one in twenty of them exceeds. More new rows beyond it than one in twenty look wrong. Where an
error has a largest value that more of the held-out rows have, as spans of which none is right, it
is the share of those instead.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hub_trainer.answers import Answer
from hub_trainer.checks.labels import FloatArray, LabelQuality
from hub_trainer.checks.probe import MAX_BASE_ROWS, NUM_FOLDS, features_of, sample_rows
from hub_trainer.rows import Modality
from hub_trainer.stats import wilson_interval

Row = Mapping[str, Any]

MAX_NEW_ROWS = 2_000
MAX_HELD_OUT_ROWS = 1_000
MIN_HELD_OUT_ROWS = 40
USUAL = 0.05
"""Share of held-out rows whose error is called large."""
STRENGTH = 1.0


def judge_errors(
    new: Sequence[Row],
    base: Sequence[Row],
    test: Sequence[Row],
    *,
    model: Mapping[str, Any] | None,
    modality: Modality,
    answer: Answer,
) -> dict[str, Any] | None:
    """As the worker answers: judge, quality, groups, and what it says; None with too few rows."""
    rows = sample_rows(new, MAX_NEW_ROWS)
    numbers = [number for number, row in enumerate(new, start=1) if any(row is one for one in rows)]
    judge = "the published model"
    errors = _by_model(rows, sample_rows(test, MAX_HELD_OUT_ROWS), model, answer) if model else None
    if errors is None:
        judge = "a probe of the dataset"
        errors = _by_probe(rows, sample_rows(base, MAX_BASE_ROWS), modality, answer)
    if errors is None:
        return None
    quality = compare_errors(*errors, numbers)
    told = (
        f"{judge} gives other answers: its error is {quality.disagreement:.2f}, on held-out rows "
        f"{quality.reference_disagreement:.2f}"
    )
    return {"judge": judge, "quality": quality.to_dict(), "groups": [], "told": told}


def compare_errors(held_out: FloatArray, new: FloatArray, numbers: Sequence[int]) -> LabelQuality:
    """How many of the (N,) new errors are larger than those of (H,) held-out rows explain."""
    from scipy.stats import fisher_exact

    limit = _limit(held_out)
    beyond, usual = new > limit, held_out > limit
    count, total = int(beyond.sum()), len(new)
    explained = max(USUAL, float(usual.mean()))
    interval = wilson_interval(count, total, 0.9)
    counts = [[count, total - count], [int(usual.sum()), len(held_out) - int(usual.sum())]]
    share = _beyond(count / total, explained)
    worst = np.argsort(-new, kind="stable")[: round(share * total)]
    return LabelQuality(
        wrong_fraction=share,
        low=_beyond(interval.low, explained),
        high=_beyond(interval.high, explained),
        p_value=float(fisher_exact(counts, alternative="greater").pvalue),
        disagreement=float(new.mean()),
        reference_disagreement=float(held_out.mean()),
        num_rows=total,
        doubtful=tuple(int(numbers[place]) for place in worst),
    )


def _limit(held_out: FloatArray) -> float:
    """The error that few held-out rows exceed; below the largest, which many of them may have."""
    limit, largest = float(np.quantile(held_out, 1 - USUAL)), float(held_out.max())
    below = held_out[held_out < largest]
    return limit if limit < largest or not len(below) else float(below.max())


def _beyond(share: float, explained: float) -> float:
    """The share of wrong rows that makes this share of large errors."""
    return max(0.0, (share - explained) / (1 - explained))


def _by_model(
    rows: Sequence[Row], held_out: Sequence[Row], model: Mapping[str, Any], answer: Answer
) -> tuple[FloatArray, FloatArray] | None:
    """Errors of the published model, on held-out rows and on new ones."""
    from hub_trainer.tasks import load_task, predicting

    if len(held_out) < MIN_HELD_OUT_ROWS or not rows:
        return None
    task = predicting(load_task(model["task"], answer.name))
    found = task.predict(Path(model["folder"]), [*held_out, *rows])
    errors = _errors(answer, [*held_out, *rows], found)
    return errors[: len(held_out)], errors[len(held_out) :]


def _by_probe(
    rows: Sequence[Row], base: Sequence[Row], modality: Modality, answer: Answer
) -> tuple[FloatArray, FloatArray] | None:
    """Errors of a linear model of the dataset's rows, each judged by one that did not see it."""
    if len(base) < MIN_HELD_OUT_ROWS or not rows:
        return None
    if answer.is_of_words:
        known, asked = (np.array([row["text"] for row in side], object) for side in (base, rows))
    else:
        known, asked = features_of(base, rows, modality)
    folds = np.random.default_rng(0).permutation(len(base)) % NUM_FOLDS
    mine = np.arange(len(rows)) % NUM_FOLDS
    held_out: list[Any] = [None] * len(base)
    new: list[Any] = [None] * len(rows)
    for fold in range(NUM_FOLDS):
        train = np.flatnonzero(folds != fold)
        values = [base[int(place)][answer.column] for place in train]
        for places, features, found in (
            (np.flatnonzero(folds == fold), known, held_out),
            (np.flatnonzero(mine == fold), asked, new),
        ):
            if len(places):
                said = answer.fit_linear(
                    known[train], values, features[places], strength=STRENGTH, seed=0
                )
                for place, one in zip(places, said, strict=True):
                    found[place] = one
    return _errors(answer, base, held_out), _errors(answer, rows, new)


def _errors(answer: Answer, rows: Sequence[Row], found: Sequence[Any]) -> FloatArray:
    """(N,) the larger, the further from the answer that the row carries."""
    return -answer.scores([row[answer.column] for row in rows], found)
