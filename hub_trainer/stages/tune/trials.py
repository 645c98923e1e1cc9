"""A search: trials in several processes over one study, until its budget is spent."""

import json
import logging
import selectors
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import write_durably
from hub_trainer.errors import TrainingError
from hub_trainer.lineage.tuned import REPORT
from hub_trainer.recipe import Recipe
from hub_trainer.reports import TuneReport
from hub_trainer.stages.tune.study import CUT_OFF, MAX_REPEATS, SECONDS, WHY, Study
from hub_trainer.stages.tune.trial_worker import Attempt, Worker
from hub_trainer.stats import readable

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
TRIALS = "trials.json"
AS_WRITTEN = -1
"""Number of the attempt with the recipe as it is, which is no trial of the study."""


def search_settings(
    recipe: Recipe, setup: Mapping[str, Any], folder: Path, progress: Progress
) -> TuneReport:
    """Make or go on with the search whose study lies in `folder`; `setup` is what each process of
    trials is told. Raises TrainingError when no trial comes to its end.
    """
    maximizes = bool(setup["maximizes"])
    study = Study(folder, recipe.tune.search, maximizes=maximizes, seed=recipe.train.seed)
    try:
        search = Search(recipe, study, setup, folder, progress)
        seconds = search.run()
        report = _report(recipe, study, setup["metric"], seconds)
        trials = [_told(trial) for trial in study.trials()]
    finally:
        study.close()
    write_durably(folder / TRIALS, json.dumps(trials, indent=1).encode())
    write_durably(folder / REPORT, json.dumps(report.to_json(), indent=1).encode())
    return report


@dataclass
class Search:
    """The trials of a study, made by several processes until the budget is spent."""

    recipe: Recipe
    study: Study
    setup: Mapping[str, Any]
    folder: Path
    progress: Progress
    workers: list[Worker] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _written_deaths: int = 0

    def run(self) -> float:
        """Make the trials; the seconds that the search has taken over all its processes."""
        workers = min(self.recipe.tune.workers, self.recipe.tune.trials or self.recipe.tune.workers)
        try:
            if self._left() > 0 or not self.study.knows_written:
                self.workers = [Worker(index, self.setup, self.folder) for index in range(workers)]
            self._tell()
            while self._give_out():
                self._take_in()
        finally:
            for worker in self.workers:
                worker.close()
        return self.seconds

    @property
    def seconds(self) -> float:
        """Spent so far, by this process and those before it."""
        return self.study.earlier_seconds + time.monotonic() - self.started

    def _left(self) -> float:
        """How many trials may still begin."""
        tune = self.recipe.tune
        if tune.minutes is not None and self.seconds >= 60 * tune.minutes and self.study.best:
            return 0
        if tune.trials is None:
            return float("inf")
        return tune.trials - len(self.study.ended) - len(self.study.running)

    def _give_out(self) -> bool:
        """A trial to each process that has none, the recipe as it is first; whether any is at
        work."""
        for worker in self.workers:
            if worker.at is None and self._tries_written():
                worker.begin(Attempt(AS_WRITTEN, {}, self._written_deaths))
            elif worker.at is None and self._left() > 0:
                worker.begin(self.study.begin())
        return any(worker.at for worker in self.workers)

    def _tries_written(self) -> bool:
        at = [worker.at.number for worker in self.workers if worker.at]
        return not self.study.knows_written and AS_WRITTEN not in at

    def _take_in(self) -> None:
        """What the processes tell, as soon as one does."""
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            for key, _ in selector.select():
                for message in key.data.messages():
                    self._hear(key.data, message)
        self._tell()

    def _hear(self, worker: Worker, message: Mapping[str, Any]) -> None:
        attempt, event = worker.at, message["event"]
        if event == "died":
            self._replace(worker, message["why"])
            return
        assert attempt is not None
        if event == "progress":
            attempt.share = message["share"]
        elif event == "evaluated" and attempt.number == AS_WRITTEN:
            worker.answer(prune=False)
        elif event == "evaluated":
            prunes = self.study.prunes(attempt.number, message["count"], message["value"])
            worker.answer(prune=prunes)
        elif attempt.number == AS_WRITTEN:
            self.study.keep_written(message.get("score"))
            worker.at = None
        else:
            self.study.end(attempt.number, message)
            self.study.spend(self.seconds)
            worker.at = None

    def _replace(self, worker: Worker, why: str) -> None:
        """Another process in place of one that died; its trial is made again, once."""
        attempt = worker.at
        again = attempt is not None and self._died(attempt, why)
        number = attempt.number if attempt else "none"
        told = "it is tried again" if again else "it has failed"
        logger.warning("tune: trial %s: %s; %s, see %s", number, why, told, worker.log)
        worker.close()
        if attempt is None:
            lines = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise TrainingError(
                "A process that tries settings ended before its first trial.",
                where=str(worker.log),
                got=(lines[-1] if lines else "no message"),
                do="Mend what the log names, then run the same command again.",
            )
        self.workers[self.workers.index(worker)] = Worker(worker.index, self.setup, self.folder)

    def _died(self, attempt: Attempt, why: str) -> bool:
        """Whether what an attempt's process died of is tried again."""
        if attempt.number != AS_WRITTEN:
            return self.study.died(attempt.number, why)
        self._written_deaths += 1
        if self._written_deaths <= MAX_REPEATS:
            return True
        self.study.keep_written(None)
        return False

    def _tell(self) -> None:
        tune, ended, best = self.recipe.tune, len(self.study.ended), self.study.best
        running = [worker.at for worker in self.workers if worker.at]
        shares = [self.seconds / (60 * tune.minutes)] if tune.minutes else []
        if tune.trials:
            shares.append(
                (ended + sum(one.share for one in running if one.number != AS_WRITTEN))
                / tune.trials
            )
        of = f" of {tune.trials}" if tune.trials else ""
        found = f", best {self.setup['metric']} {readable(best.value)}" if best else ""
        self.progress(min(1.0, max(shares)), f"{ended}{of} trials{found}")


def _report(recipe: Recipe, study: Study, metric: str, seconds: float) -> TuneReport:
    best, ended = study.best, study.ended
    if best is None:
        why = next((trial.user_attrs[WHY] for trial in ended if WHY in trial.user_attrs), "")
        raise TrainingError(
            "No trial of the search came to its end.",
            where="tune.search",
            got=f"{len(ended)} failed; the first: {why}",
            do="narrow the ranges; the settings must be able to train",
        )
    states = [trial.state.name for trial in ended]
    keeps = study.prefers_written
    score = study.written_score if keeps else best.value
    assert score is not None
    return TuneReport(
        metric=metric,
        score=float(score),
        written_score=study.written_score,
        search={k: v.model_dump(exclude_defaults=True) for k, v in recipe.tune.search.items()},
        chosen={} if keeps else {key: best.params[key] for key in recipe.tune.search},
        importances=study.importances(),
        best_trial=None if keeps else best.number,
        trials={
            "done": states.count("COMPLETE"),
            "pruned": states.count("PRUNED"),
            "failed": states.count("FAIL"),
            "cut_off": len(study.trials()) - len(ended) - _waiting(study),
        },
        seconds=seconds,
    )


def _waiting(study: Study) -> int:
    return sum(trial.state.name == "WAITING" for trial in study.trials())


def _told(trial: Any) -> dict[str, Any]:
    """A trial as trials.json holds it."""
    return {
        "number": trial.number,
        "state": "cut off" if trial.user_attrs.get(CUT_OFF) else trial.state.name.lower(),
        "settings": dict(trial.params),
        "score": trial.value,
        "evaluations": list(trial.intermediate_values.values()),
        "seconds": trial.user_attrs.get(SECONDS),
        "why": trial.user_attrs.get(WHY),
    }
