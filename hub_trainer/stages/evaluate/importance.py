"""Importance of a table's columns by permutation, and whether one of them explains almost all.

The values of one column are exchanged among sealed rows: what a model loses by that is what it goes
by. N rows, R exchanges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hub_trainer.answers import Answer, Prediction
from hub_trainer.answers.plots import figure, save
from hub_trainer.rows.row_files import feature_names
from hub_trainer.stats.intervals import FloatArray
from hub_trainer.tasks import ModelFolders, Row, Task

FIGURE = "importance.png"
REPEATS = 5
MAX_ROWS = 1_000
MAX_DRAWN = 20
MAX_NAME = 40
ALMOST_ALL = 0.8
"""Share of what a model tells from which one column alone explains it."""
LITTLE = 0.2
"""The largest such share of every other column then."""
TELLS_MUCH = 0.7
"""How near a model must come to being right always for that to look like a leak."""


@dataclass(frozen=True)
class _Measure:
    """How well a model does row by row; higher is better."""

    answer: Answer
    references: Sequence[Any]

    @property
    def told(self) -> str:
        """In words."""
        if self.answer.is_share_of_names:
            return "the probability of the right answer"
        return "the error of a row, in units of a constant answer's mean error"

    def scores(self, found: Sequence[Prediction]) -> FloatArray:
        """(N,) of one prediction per row."""
        if not self.answer.is_share_of_names:
            return self.answer.scores(self.references, found)
        pairs = zip(self.references, found, strict=True)
        return np.array([one.scores.get(truth, 0.0) for truth, one in pairs])

    def best(self) -> FloatArray:
        """(N,) of a model that is always right, and sure."""
        return self.scores([Prediction(truth, {truth: 1.0}) for truth in self.references])


def measure_importance(
    task: Task, folders: ModelFolders, rows: Sequence[Row], *, seed: int
) -> dict[str, Any]:
    """As results.json holds it: what each column is worth, and one that explains almost all."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(rows))[:MAX_ROWS])
    some = [rows[index] for index in chosen]
    measure = _Measure(task.answer, [row[task.answer.column] for row in some])
    orders = [rng.permutation(len(some)) for _ in range(REPEATS)]
    found = task.predict(folders, some)
    whole = measure.scores(found)
    chance = np.mean([measure.scores([found[i] for i in order]).mean() for order in orders])
    gain = float(whole.mean() - chance)
    columns: list[dict[str, Any]] = []
    for name in feature_names(list(some[0])):
        mixed = [
            {**row, name: some[other][name]}
            for order in orders
            for row, other in zip(some, order, strict=True)
        ]
        said = task.predict(folders, mixed)
        parts = [said[start : start + len(some)] for start in range(0, len(said), len(some))]
        lost = whole - np.mean([measure.scores(part) for part in parts], axis=0)
        share = float(lost.mean()) / gain if gain > 0 else 0.0
        columns.append({"column": name, **_interval(lost), "share": share})
    columns.sort(key=lambda one: -one["value"])
    quality = gain / max(float(measure.best().mean() - chance), 1e-12)
    return {
        "measure": measure.told,
        "num_rows": len(some),
        "repeats": REPEATS,
        "columns": columns,
        "leak": _leak(columns) if quality >= TELLS_MUCH else None,
    }


def draw_importance(found: Mapping[str, Any], path: Path) -> None:
    """Bars of what the columns are worth, with their intervals, the most important on top."""
    shown = found["columns"][:MAX_DRAWN][::-1]
    values = np.array([[one["value"], one["low"], one["high"]] for one in shown])
    with figure(6.4, 1.2 + 0.28 * len(shown)) as (drawn, axes):
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        names = [_short(one["column"]) for one in shown]
        axes.barh(range(len(shown)), values[:, 0], xerr=spread, color="#8fb0e6", ecolor="#202124")
        axes.set_yticks(range(len(shown)), [name.replace("$", r"\$") for name in names])
        axes.grid(axis="x", color="#e0e0e0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("what is lost when the column's values are exchanged")
        save(drawn, path)


def leak_told(found: Mapping[str, Any] | None) -> str | None:
    """A warning of a column that alone explains almost all; None where there is none."""
    leak = (found or {}).get("leak")
    if leak is None:
        return None
    alone = f"the column {leak['column']!r} alone explains {leak['share']:.0%} of what is told"
    return f"{alone}: if it is made from the answer, name it in drop_columns"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _interval(lost: FloatArray) -> dict[str, float]:
    """The mean of what (N,) rows lose, with its 95 % interval over rows."""
    mean, half = float(lost.mean()), 1.96 * float(lost.std()) / len(lost) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half}


def _leak(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if len(columns) < 2:
        return None
    first, second = columns[:2]
    if first["share"] < ALMOST_ALL or second["share"] > LITTLE:
        return None
    return {"column": first["column"], "share": min(first["share"], 1.0)}
