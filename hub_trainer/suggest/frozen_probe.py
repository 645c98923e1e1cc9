"""A linear probe of a base model: how well a plain model on its frozen features does."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hub_trainer.answers import Answer, load_answer
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import Row, Splits

MAX_SECONDS = 120.0
"""Of one model; slower ones see fewer rows."""
MAX_ROWS = 2_000
"""Training rows at most; as many validation rows as a quarter of that."""
TIMED_ROWS = 16
MIN_ROWS = 32
RESERVE = 0.7
"""Share of the seconds that features may take."""
STRENGTH = 1.0


@runtime_checkable
class HasFeatures(Protocol):
    """A task whose base models say something of a row before they have learned to."""

    @property
    def answer(self) -> Answer:
        """What is predicted."""
        ...

    def features(self, rows: Sequence[Row], base_dir: Path) -> Any:
        """(N, D) what a base model makes of each row, frozen."""
        ...


@dataclass(frozen=True)
class Probed:
    """What a probe reached."""

    metric: str
    value: float
    """On validation rows."""
    train_rows: int
    validation_rows: int
    seconds: float


def probe_base(task: HasFeatures, splits: Splits, recipe: Recipe, base_dir: Path) -> Probed:
    """Fit the answer's linear model on features of some training rows; score it on validation
    rows, by the primary metric."""
    started = time.monotonic()
    seed, answer = recipe.train.seed, task.answer
    timed = drawn(splits.train, TIMED_ROWS, seed)
    task.features(timed, base_dir)  # the first call also loads the model
    begun = time.monotonic()
    task.features(timed, base_dir)
    per_row = (time.monotonic() - begun) / len(timed)
    count = rows_in_time(per_row, MAX_SECONDS - (begun - started))
    known, asked = drawn(splits.train, count, seed), drawn(splits.validation, count // 4, seed)
    values = [row[answer.column] for row in known]
    ours, theirs = _scaled(task.features(known, base_dir), task.features(asked, base_dir))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not converged is still a probe
        found = load_answer(answer.name).fit_linear(
            ours, values, theirs, strength=STRENGTH, seed=seed
        )
    references = [row[answer.column] for row in asked]
    primary, names = recipe.evaluate.primary, splits.label_names
    measured = answer.estimates([primary], references, answer.over(found, names), names, seed=seed)
    value, seconds = float(measured[primary].value), time.monotonic() - started
    return Probed(primary, value, len(known), len(asked), seconds)


def rows_in_time(seconds_per_row: float, seconds: float) -> int:
    """How many training rows there is time for, with a quarter as many validation rows."""
    fits = int(RESERVE * max(seconds, 0.0) / max(seconds_per_row, 1e-9) / 1.25)
    return max(MIN_ROWS, min(MAX_ROWS, fits))


def drawn(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """So many rows by chance, in their own order; all where there are no more."""
    if len(rows) <= count:
        return list(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[index] for index in sorted(order[:count])]


def _scaled(known: Any, asked: Any) -> tuple[Any, Any]:
    """Each feature with mean 0 and deviation 1 on the known rows, for models differ in scale."""
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 1e-6
    return (known - mean) / deviation, (asked - mean) / deviation
