"""A process that tries settings: trains on the round's training rows, scores on validation rows.

It reads one JSON object per line and writes one per line. First it is told the round; then
settings, one trial after the other. Where its parent is gone, it ends at once.
"""

import json
import math
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hub_trainer.errors import HubTrainerError
from hub_trainer.finetune.watching import evaluations_watched
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.search import with_settings
from hub_trainer.rows.row_files import read_rows
from hub_trainer.tasks import ModelFolders, Splits, task_of

SECONDS_BETWEEN_TELLS = 0.5
PARENT_IS_GONE = 1
Tell = Callable[[Mapping[str, Any]], None]
Ask = Callable[[], dict[str, Any]]


class PrunedError(Exception):
    """A trial that its parent has no more use for."""


def main() -> None:
    """Try what comes until nothing does."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()

    def tell(message: Mapping[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    trials = Trials(lines.get(), tell, lines.get)
    while True:
        trials.run(lines.get())


def _listen(lines: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(PARENT_IS_GONE)


class Trials:
    """The rows and the base model of a round, on which one trial follows another."""

    def __init__(self, told: Mapping[str, Any], tell: Tell, ask: Ask) -> None:
        self.tell, self.ask = tell, ask
        self.recipe = Recipe.model_validate(told["recipe"])
        prepared = Path(told["prepared"])
        self.splits = Splits(
            train=read_rows(prepared / "train.parquet"),
            validation=read_rows(prepared / "validation.parquet"),
            label_names=told["label_names"],
        )
        base = told["base"]
        self.base = ModelFolders(*(path and Path(path) for path in base)) if base else None
        self.maximizes = bool(told["maximizes"])
        self._told_at = 0.0

    def run(self, asked: Mapping[str, Any]) -> None:
        """Fit with these settings, and tell the score or why there is none."""
        folder = Path(asked["folder"])
        train = with_settings(self.recipe.train, asked["settings"])
        recipe = self.recipe.model_copy(update={"train": train})
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        told: dict[str, Any]
        try:
            score = self._score(recipe, folder)
            told = {"event": "done", "score": score}
            if not math.isfinite(score):
                told = {"event": "failed", "why": f"its score is {score}"}
        except PrunedError:
            told = {"event": "pruned"}
        except HubTrainerError as error:
            told = {"event": "failed", "why": f"{error.what} {error.got or ''}".strip()}
        except (MemoryError, RuntimeError, ValueError) as error:
            # What a library says of settings that only fail in training.
            told = {"event": "failed", "why": (str(error) or "no memory left").splitlines()[0]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.tell({**told, "seconds": time.monotonic() - started})

    def _score(self, recipe: Recipe, folder: Path) -> float:
        """The primary metric on the validation rows, or the loss there of a model that writes."""
        task, splits = task_of(recipe), self.splits
        with evaluations_watched(self._evaluated):
            report = task.fit(splits, recipe, folder, base=self.base, progress=self._progress)
        if task.converses:
            return math.nan if report.best_metric is None else report.best_metric
        answer, primary = task.answer, recipe.evaluate.primary
        said = task.predict(ModelFolders(folder / "model"), splits.validation)
        found = answer.over(said, splits.label_names)
        references = [row[answer.column] for row in splits.validation]
        measured = answer.estimates([primary], references, found, splits.label_names, seed=0)
        return float(measured[primary].value)

    def _evaluated(self, count: int, value: float, more_is_better: bool) -> None:
        """Ask whether to go on; the figure is turned so that its better end is the score's."""
        turned = value if more_is_better == self.maximizes else -value
        self.tell({"event": "evaluated", "count": count, "value": turned})
        if self.ask()["prune"]:
            raise PrunedError

    def _progress(self, share: float, doing: str) -> None:
        del doing
        if time.monotonic() - self._told_at > SECONDS_BETWEEN_TELLS:
            self._told_at = time.monotonic()
            self.tell({"event": "progress", "share": share})


if __name__ == "__main__":
    main()
