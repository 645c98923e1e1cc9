"""Pictures of predictions beside the truth, drawn without a display."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_WRITTEN_COUNTS = 15
MAX_NAMED_LABELS = 40


def plot_confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> None:
    """Rows are true labels, columns predictions; colour is the share of the true label's rows."""
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    size = min(9.0, max(3.6, 1.8 + 0.42 * len(labels)))
    with figure(size + 0.8, size) as (drawn, axes):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        drawn.colorbar(image, ax=axes, label="share of the true label", fraction=0.046)
        _name_labels(axes, labels)
        if len(labels) <= MAX_WRITTEN_COUNTS:
            _write_counts(axes, counts, shares)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true label")
        save(drawn, path, bbox_inches="tight", pad_inches=0.1)


def plot_numbers(references: Sequence[float], predictions: Sequence[float], path: Path) -> None:
    """Predictions over the truth, a point per example; on the diagonal they are equal."""
    ends = [*references, *predictions]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low) or 1.0
    with figure(4.8, 4.8) as (drawn, axes):
        axes.plot([low, high], [low, high], color="#5f6368", linestyle=(0, (4, 3)), linewidth=1.2)
        axes.scatter(references, predictions, s=14, alpha=0.45, color="#1a4fa3", linewidths=0)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.set_aspect("equal")
        axes.grid(color="#e0e0e0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("true value")
        axes.set_ylabel("predicted")
        save(drawn, path)


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure of its own, outside pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    yield drawn, axes


def save(drawn: Any, path: Path, **options: Any) -> None:
    """Write a picture that holds no date and no version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, format="png", metadata={"Software": None}, **options)


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
