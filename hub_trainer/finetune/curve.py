"""The training curve as a small picture: loss on the left, the primary metric on the right."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOSS, VALIDATION, METRIC = "#1a73e8", "#b26a00", "#0b6e4f"


def plot_curve(history: Sequence[Mapping[str, Any]], path: Path, *, metric: str) -> None:
    """Draw what was logged over the steps; without steps, as in a table's model, draw nothing.

    The metric has an axis of its own where it was measured while training.
    """
    series = {
        name: [(entry["step"], entry[name]) for entry in history if name in entry]
        for name in ("loss", "eval_loss", f"eval_{metric}")
    }
    if not any(points for points in series.values()):
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot()
    left.set_xlabel("step")
    left.set_ylabel("loss")
    left.plot(*_xy(series["loss"]), color=LOSS, linewidth=1.2, label="training loss")
    dots: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.2}
    left.plot(*_xy(series["eval_loss"]), color=VALIDATION, label="validation loss", **dots)
    lines = [*left.get_lines()]
    if series[f"eval_{metric}"]:
        right = left.twinx()
        right.set_ylabel(f"validation {metric}")
        lines += right.plot(*_xy(series[f"eval_{metric}"]), color=METRIC, label=metric, **dots)
    figure.legend(
        lines, [str(line.get_label()) for line in lines], loc="outside upper center", ncols=3
    )
    figure.savefig(path, format="png", metadata={"Software": None})


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
