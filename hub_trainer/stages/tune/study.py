"""The study of a search: its trials in one file, the next settings to try, what may be pruned.

One process writes it. The file is a SQLite database, so that it is whole after `kill -9`.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from hub_trainer.artifacts import digest_of
from hub_trainer.recipe import SearchRange
from hub_trainer.recipe.search import is_whole
from hub_trainer.stages.tune.trial_worker import Attempt

STUDY = "study.db"
WHY, SECONDS, REPEATS, CUT_OFF = "why", "seconds", "repeats", "cut_off"
"""Attributes of a trial; a trial that was cut off counts for nothing and is begun again."""
SPENT, WRITTEN = "spent_seconds", "written_score"
"""Attributes of the study."""
MAX_REPEATS = 1
"""Of a trial whose process died: it may be its settings that kill it."""
FIRST_ONES = 4
"""Trials that are never pruned, so that there is a median to be below of."""

FIRST_PRUNED = 2
"""The evaluation from which on a trial may be pruned; the first says too little."""


class Study:
    """The study in a folder, opened or begun."""

    def __init__(
        self, folder: Path, search: Mapping[str, SearchRange], *, maximizes: bool, seed: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.seed, self.maximizes = seed, maximizes
        self.space = {key: distribution(key, one) for key, one in search.items()}
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder / STUDY}",
            study_name="tune",
            direction="maximize" if maximizes else "minimize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=FIRST_ONES, n_warmup_steps=FIRST_PRUNED
            ),
        )
        self.running: dict[int, Trial] = {}
        for trial in self.trials(TrialState.RUNNING):
            self._cut_off(trial, "the search was stopped")
        self._earlier_seconds = float(self.study.user_attrs.get(SPENT, 0.0))

    def close(self) -> None:
        """Let go of the file."""
        storage = self.study._storage
        backend = getattr(storage, "_backend", storage)
        backend.engine.dispose()

    @property
    def earlier_seconds(self) -> float:
        """What earlier processes have spent on this search."""
        return self._earlier_seconds

    def spend(self, seconds: float) -> None:
        """Keep how long the search has taken in all."""
        self.study.set_user_attr(SPENT, seconds)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states, in order."""
        return list(self.study.get_trials(deepcopy=False, states=states or None))

    @property
    def ended(self) -> list[FrozenTrial]:
        """Trials that count: done, pruned, or failed by themselves."""
        ended = self.trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return [trial for trial in ended if not trial.user_attrs.get(CUT_OFF)]

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial so far; the first of equals."""
        return self.study.best_trial if self.trials(TrialState.COMPLETE) else None

    @property
    def knows_written(self) -> bool:
        """Whether the recipe as it is has been tried."""
        return WRITTEN in self.study.user_attrs

    @property
    def written_score(self) -> float | None:
        """What the recipe as it is scored; None where that failed."""
        found: float | None = self.study.user_attrs.get(WRITTEN)
        return found

    def keep_written(self, score: float | None) -> None:
        """Keep what the recipe as it is scored."""
        self.study.set_user_attr(WRITTEN, score)

    @property
    def prefers_written(self) -> bool:
        """Whether no trial is better than the recipe as it is."""
        best, score = self.best, self.written_score
        if best is None or best.value is None or score is None:
            return False
        value = float(best.value)
        return score >= value if self.maximizes else score <= value

    def begin(self) -> Attempt:
        """The next trial: one that was cut off, or new settings.

        Each is drawn with a seed of its own, so that a search that was stopped goes on as it would
        have gone.
        """
        number = len(self.trials(*(set(TrialState) - {TrialState.WAITING})))
        drawn = int(digest_of([self.seed, number])[:8], 16)
        with _quietly():
            self.study.sampler = optuna.samplers.TPESampler(seed=drawn, constant_liar=True)
        trial = self.study.ask(self.space)
        self.running[trial.number] = trial
        return Attempt(trial.number, dict(trial.params), trial.user_attrs.get(REPEATS, 0))

    def prunes(self, number: int, count: int, value: float) -> bool:
        """Whether a trial that has come so far is worse than half of the others were there."""
        trial = self.running[number]
        trial.report(value, count)
        return bool(trial.should_prune())

    def end(self, number: int, told: Mapping[str, Any]) -> None:
        """Keep how a trial ended."""
        trial = self.running.pop(number)
        trial.set_user_attr(SECONDS, told["seconds"])
        if told["event"] == "done":
            self.study.tell(trial, told["score"])
        elif told["event"] == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr(WHY, told["why"])
            self.study.tell(trial, state=TrialState.FAIL)

    def died(self, number: int, why: str) -> bool:
        """Keep that a trial's process died; whether it is tried again."""
        trial = self.running.pop(number)
        if trial.user_attrs.get(REPEATS, 0) < MAX_REPEATS:
            self._cut_off(trial, why)
            return True
        trial.set_user_attr(WHY, why)
        self.study.tell(trial, state=TrialState.FAIL)
        return False

    def importances(self) -> dict[str, float]:
        """Share of the scores' variance that each setting explains, by fANOVA; none where the
        trials are too few or all alike."""
        done = [trial.value for trial in self.trials(TrialState.COMPLETE)]
        if len(done) < 2 or len(set(done)) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        with _quietly():
            found = optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {key: float(value) for key, value in found.items()}

    def _cut_off(self, trial: FrozenTrial | Trial, why: str) -> None:
        """Count a trial as failed, and have its settings tried again."""
        storage, repeats = self.study._storage, trial.user_attrs.get(REPEATS, 0)
        for name, value in ((CUT_OFF, True), (WHY, why)):
            storage.set_trial_user_attr(trial._trial_id, name, value)
        self.study.tell(trial.number, state=TrialState.FAIL)
        died = why != "the search was stopped"
        again = {REPEATS: repeats + 1} if died else {REPEATS: repeats}
        self.study.enqueue_trial(dict(trial.params), user_attrs=again)


def distribution(key: str, searched: SearchRange) -> BaseDistribution:
    """The values of a range, as Optuna draws them."""
    if searched.choices:
        return CategoricalDistribution(searched.choices)
    low, high = searched.low, searched.high
    assert low is not None
    assert high is not None
    with _quietly():  # a step that does not divide the range leaves its upper end out
        if is_whole(key, searched):
            return IntDistribution(
                int(low), int(high), log=searched.log, step=int(searched.step or 1)
            )
        return FloatDistribution(float(low), float(high), log=searched.log, step=searched.step)


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
