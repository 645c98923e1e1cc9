"""Pictures of a round and of the rounds: drawn without a display, the same for the same numbers."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MAX_WRITTEN_COUNTS = 15
MAX_NAMED_LABELS = 40
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
    with _figure(9, 4.6) as (figure, axes):
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
        _save(figure, path)


def plot_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> None:
    """Rows are true labels, columns predictions; colour is the share of the true label's rows."""
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    size = min(9.0, max(3.6, 1.8 + 0.42 * len(labels)))
    with _figure(size + 0.8, size) as (figure, axes):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        figure.colorbar(image, ax=axes, label="share of the true label", fraction=0.046)
        _name_labels(axes, labels)
        if len(labels) <= MAX_WRITTEN_COUNTS:
            _write_counts(axes, counts, shares)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true label")
        _save(figure, path, bbox_inches="tight", pad_inches=0.1)


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure of its own, outside pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    yield figure, axes


def _published_line(axes: Any, points: Sequence[RoundPoint]) -> None:
    """The published model's metric at each round: a step up where one was promoted."""
    current: float | None = None
    heights = []
    for point in points:
        current = point.value if point.verdict == "promote" else current
        heights.append(math.nan if current is None else current)
    if any(math.isfinite(height) for height in heights):
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


def _name_labels(axes: Any, labels: Sequence[str]) -> None:
    if len(labels) > MAX_NAMED_LABELS:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    shown = [_plain(label) for label in labels]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    style = slanted if max(map(len, shown)) > 3 else {}
    axes.set_xticks(range(len(labels)), shown, fontsize=9, **style)
    axes.set_yticks(range(len(labels)), shown, fontsize=9)


def _plain(label: str) -> str:
    """A label as text of a picture: short, printable, and without TeX."""
    text = "".join(c if c.isprintable() else " " for c in label).replace("$", r"\$")
    return text if len(text) <= 24 else f"{text[:23]}…"


def _write_counts(
    axes: Any, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> None:
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                colour = "white" if shares[row][column] > 0.55 else "#202124"
                style = {"ha": "center", "va": "center", "fontsize": 9, "color": colour}
                axes.text(column, row, f"{count:,}", **style)


def _save(figure: Any, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None}, **options)
