"""Progress of training for people: a bar on a terminal, a line per evaluation elsewhere."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hub_trainer.finetune.watching import Watch

TIMES = ("_runtime", "_per_second", "_time")
"""Last parts of names of figures that say how long something took."""


@dataclass(frozen=True)
class StepProgress:
    """Where training is, for whoever shows it."""

    step: int
    max_steps: int
    epoch: float
    logged: Mapping[str, float]
    """The latest of each figure logged: loss, learning_rate, eval_loss, ..."""

    @property
    def doing(self) -> str:
        """In words, for a progress bar."""
        loss = self.logged.get("loss")
        told = f", loss {loss:.3f}" if loss is not None else ""
        found = [
            f", {name.removeprefix('eval_')} {value:.4g}"
            for name, value in self.logged.items()
            if name.startswith("eval_") and not name.endswith((*TIMES, "_loss"))
        ]
        return f"step {self.step:,} of {self.max_steps:,}{told}{''.join(found)}"


class ProgressCallback(TrainerCallback):
    """Shows progress on stderr, on the first process alone, or passes it to who shows it."""

    def __init__(
        self, on_progress: Callable[[StepProgress], None] | None, console: Console | None = None
    ) -> None:
        self.on_progress = on_progress
        self.console = console or Console(file=sys.stderr)
        self.logged: dict[str, float] = {}
        self.bar: Progress | None = None
        self.task: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar where it can be drawn."""
        del args, control, kwargs
        if not (state.is_world_process_zero and self.console.is_terminal) or self.on_progress:
            return
        columns = (TextColumn("train"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=self.console)
        self.bar.start()
        self.task = self.bar.add_task(
            "train", total=state.max_steps, completed=state.global_step, figures=""
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        del args, control, kwargs
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step, figures=self._figures())
        if self.on_progress is not None and state.is_world_process_zero:
            self.on_progress(self._now(state))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember the latest figures; an evaluation gets its line."""
        del args, control
        logs = kwargs["logs"]
        self.logged |= {k: v for k, v in logs.items() if isinstance(v, int | float)}
        told_elsewhere = self.on_progress is not None and self.console.is_terminal
        evaluated = any(key.startswith("eval_") for key in logs)
        if state.is_world_process_zero and evaluated and not told_elsewhere:
            self.console.print(_evaluation_line(state, logs), highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was, however training ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _now(self, state: TrainerState) -> StepProgress:
        epoch = float(state.epoch or 0.0)
        return StepProgress(state.global_step, state.max_steps, epoch, dict(self.logged))

    def _figures(self) -> str:
        shown = ("loss", "learning_rate", "eval_loss")
        return " ".join(f"{key} {self.logged[key]:.4g}" for key in shown if key in self.logged)


class EvaluationCallback(TrainerCallback):
    """Tells a watcher of each evaluation, by the figure that chooses the checkpoint."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.count = 0

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell of it."""
        del state, control
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        self.count += 1
        self.watch(self.count, float(kwargs["metrics"][name]), bool(args.greater_is_better))


def _evaluation_line(state: TrainerState, logs: Mapping[str, Any]) -> str:
    figures = [
        f"{key.removeprefix('eval_')} {value:.4g}"
        for key, value in logs.items()
        if key.startswith("eval_") and not key.endswith(TIMES) and isinstance(value, int | float)
    ]
    return f"step {state.global_step}/{state.max_steps}  " + "  ".join(figures)
