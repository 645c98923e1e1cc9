"""Picture of the rounds: drawn without a display, the same for the same numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hub_trainer.answers.plots import figure, save

VERDICT_MARKS = {
    "promote": ("o", "#0b6e4f", "promoted"),
    "hold": ("D", "#b26a00", "held back"),
    "reject": ("X", "#b3261e", "rejected"),
}


@dataclass(frozen=True)
class RoundPoint:
    """One round in the picture: its metric with the interval, and what became of it."""

    round_index: int
    value: float
    low: float
    high: float
    verdict: Literal["promote", "hold", "reject"]


def plot_points(
    points: Sequence[RoundPoint], path: Path, *, metric: str, title: str, base: float | None = None
) -> None:
    """The metric per round with its interval, the published model as a line, the base dashed."""
    with figure(9, 4.6) as (drawn, axes):
        _published_line(axes, points)
        for verdict, (marker, colour, meaning) in VERDICT_MARKS.items():
            shown = [point for point in points if point.verdict == verdict]
            _marks(axes, shown, marker=marker, colour=colour, label=meaning)
        if base is not None and math.isfinite(base):
            axes.axhline(
                base, color="#5f6368", linestyle=(0, (4, 3)), linewidth=1.2, label="base model"
            )
        _write_values(axes, points)
        _scale(axes, points, base)
        axes.set_xlabel("round")
        axes.set_ylabel(f"{metric}, 95 % interval")
        axes.set_title(title, loc="left", fontsize=12)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
        save(drawn, path)


def _published_line(axes: Any, points: Sequence[RoundPoint]) -> None:
    """The published model's metric at each round: a step up where one was promoted."""
    current: float | None = None
    heights = []
    for point in points:
        current = point.value if point.verdict == "promote" else current
        heights.append(math.nan if current is None else current)
    # A step needs two rounds: for one alone the legend would name a line that is not there.
    if sum(map(math.isfinite, heights)) > 1:
        rounds = [point.round_index for point in points]
        style = {"color": "#0b6e4f", "linewidth": 1.4, "alpha": 0.55, "zorder": 1}
        axes.step(rounds, heights, where="post", label="published model", **style)


def _marks(
    axes: Any, points: Sequence[RoundPoint], *, marker: str, colour: str, label: str
) -> None:
    if not points:
        return
    below = [max(0.0, point.value - point.low) for point in points]
    above = [max(0.0, point.high - point.value) for point in points]
    axes.errorbar(
        [point.round_index for point in points],
        [point.value for point in points],
        yerr=[below, above],
        fmt=marker,
        color=colour,
        label=label,
        markersize=8,
        capsize=4,
        elinewidth=1.6,
        zorder=3,
    )


def _write_values(axes: Any, points: Sequence[RoundPoint]) -> None:
    for point in points:
        axes.annotate(
            f"{point.value:.3f}",
            (point.round_index, point.value),
            xytext=(9, 7),
            textcoords="offset points",
            fontsize=10,
            color="#202124",
        )


def _scale(axes: Any, points: Sequence[RoundPoint], base: float | None) -> None:
    rounds = [point.round_index for point in points]
    axes.set_xticks(rounds if len(rounds) <= 20 else rounds[:: len(rounds) // 10])
    axes.set_xlim(min(rounds) - 0.5, max(rounds) + 0.7)
    edges = [edge for point in points for edge in (point.low, point.high)]
    edges += [base] if base is not None and math.isfinite(base) else []
    room = max(0.02, 0.12 * (max(edges) - min(edges)))
    axes.set_ylim(min(edges) - room, max(edges) + room)
    axes.grid(axis="y", color="#e0e0e0", linewidth=0.8)
    axes.set_axisbelow(True)
