"""What a round's training will need: memory by kind and time, each with what it rests on."""

import resource
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.artifacts import Artifact
from hub_trainer.errors import HubTrainerError
from hub_trainer.lineage import RoundRecord
from hub_trainer.recipe import Recipe, TuneSection
from hub_trainer.reports import PrepareReport
from hub_trainer.rows.row_files import read_rows
from hub_trainer.tasks import ModelFolders, Preview, Splits, task_of

if TYPE_CHECKING:
    from hub_trainer.finetune.trial import Trial

STEP_SECONDS = 0.005
"""What a step costs beside the model: drawing rows, the learning rate, a line of the log."""
MAX_TABLE_ROWS = 1000
"""Of a table that is fitted to see how long it takes."""


@dataclass(frozen=True)
class Amount:
    """How much is trained: rows of the splits, and how steps are made of them."""

    steps: int
    epochs: float
    per_device: int
    accumulation: int
    processes: int
    train: int
    validation: int

    @property
    def batch(self) -> int:
        """Rows of a step over all processes."""
        return self.per_device * self.accumulation * self.processes

    @property
    def evaluates(self) -> bool:
        """Whether the validation split is answered after each epoch."""
        return self.validation > 0


@dataclass(frozen=True)
class Subject:
    """What is to be trained, and on what."""

    recipe: Recipe
    base: ModelFolders | None
    prepared: Artifact
    preview: Preview | None
    """The training rows in tokens, of a language model."""
    last: RoundRecord | None
    """The last round on the Hub."""
    is_split: bool = False
    """Whether FSDP splits the model over the processes."""


@dataclass(frozen=True)
class Forecast:
    """Memory of one device in MiB by kind, and seconds of the train stage; with their grounds."""

    memory_mb: dict[str, float] | None
    memory_basis: str
    seconds: float | None
    time_basis: str
    inputs: dict[str, Any] = field(default_factory=dict)
    """Tokens or pixels of a row, where the rows were read as the model takes them."""


@dataclass(frozen=True)
class Search:
    """The search over settings before training."""

    trials: int | None
    minutes: float | None
    workers: int
    keys: tuple[str, ...]
    """What it looks for."""
    seconds: float | None
    """At most; None where nobody knows how long a trial takes."""


def forecast(subject: Subject, amount: Amount, weights_mb: Mapping[str, float] | None) -> Forecast:
    """By a few tries on this machine, or else by what the last round took."""
    runtime = _peak_mb()
    if weights_mb is None or subject.base is None:
        return _by_sample(subject, amount)
    trial = _trial(subject, subject.base)
    memory = {kind: value for kind, value in weights_mb.items() if kind != "sum"}
    if trial.activation_bytes is not None:
        memory["activations"] = round(trial.activation_bytes / 2**20, 1)
    if amount.processes > 1 and not subject.is_split:
        memory["exchange"] = weights_mb["gradients"]
    memory["runtime"] = round(runtime, 1)
    memory["sum"] = round(sum(memory.values()), 1)
    seconds, basis = _time(subject, trial, amount)
    return Forecast(memory, _memory_basis(trial), seconds, basis, trial.inputs)


def _trial(subject: Subject, base: ModelFolders) -> "Trial":
    from hub_trainer.finetune.heads import num_outputs
    from hub_trainer.finetune.trial import RowLengths, try_classifier, try_language_model

    recipe, preview = subject.recipe, subject.preview
    task = task_of(recipe)
    auto_name = str(task.card().auto_class)
    if preview is not None:
        lengths = RowLengths(preview.longest, preview.middling)
        adapter = base.model if base.base else None
        whole = base.base or base.model
        return try_language_model(auto_name, whole, adapter, recipe.train, rows=lengths)
    splits = _splits(subject.prepared)
    data = task.fit_data(splits, recipe, base)
    outputs = num_outputs(task.answer.name, splits.label_names)
    return try_classifier(auto_name, base.model, recipe.train, data, num_labels=outputs)


def _splits(prepared: Artifact) -> Splits:
    train, validation = (
        read_rows(prepared.folder / f"{name}.parquet") for name in ("train", "validation")
    )
    return Splits(train, validation, PrepareReport.from_json(prepared.outputs).label_names)


def _memory_basis(trial: "Trial") -> str:
    if trial.activation_bytes is None:
        return "counted by parameters, without activations: this model cannot be laid out here"
    how = "tried" if trial.step_seconds else "laid out without weights"
    return f"counted by parameters; activations of the longest batch {how}; runtime as it is here"


def _time(subject: Subject, trial: "Trial", amount: Amount) -> tuple[float | None, str]:
    recipe, preview = subject.recipe, subject.preview
    if trial.step_seconds is None or trial.answer_seconds is None:
        return by_record(
            recipe, amount, subject.last, otherwise="the model is too large to try here"
        )
    rounds = float(amount.steps * amount.accumulation)
    answered = amount.epochs * amount.validation / amount.per_device
    if preview is not None and trial.num_tokens:
        seen = amount.steps * amount.batch / max(amount.train, 1)
        rounds = seen * preview.num_tokens / trial.num_tokens
        if preview.kind != "demonstration":
            answered += preview.num_tokens / trial.num_tokens  # the reference, once
    if recipe.train.method_facts.head_only and not recipe.prepare.augment:
        answered += amount.train / amount.per_device  # features once, then the head alone
        rounds = 0.0
    seconds = rounds * trial.step_seconds + amount.steps * STEP_SECONDS
    seconds += answered * trial.answer_seconds
    return round(seconds, 1), "a few steps tried on this machine, on random weights"


def by_record(
    recipe: Recipe, amount: Amount, last: RoundRecord | None, *, otherwise: str
) -> tuple[float | None, str]:
    """As fast as the last round on the Hub, where that was trained in the same way."""
    known = last.train.get("rows_per_second") if last else None
    if last is None or not known:
        return None, f"unknown: {otherwise}, and no round on the Hub says how long it took"
    then = last.recipe.get("train", {}).get("method")
    base, here = (last.base_model or {}).get("repo_id"), recipe.base_model
    if then != recipe.train.method or base != (here.repo_id if here else None):
        return None, f"unknown: {otherwise}, and round {last.round} was trained in another way"
    seconds = amount.steps * amount.batch / float(known)
    return round(seconds, 1), f"{known:,.0f} rows per second, as in round {last.round}"


def _by_sample(subject: Subject, amount: Amount) -> Forecast:
    """What is no model of transformers is fitted on some rows."""
    recipe, last, splits = subject.recipe, subject.last, _splits(subject.prepared)
    task = task_of(recipe)
    if task.card().auto_class is not None:
        seconds, basis = by_record(recipe, amount, last, otherwise="the model is made in training")
        return Forecast(None, "unknown before the model is made", seconds, basis)
    every = -(-len(splits.train) // MAX_TABLE_ROWS)
    some = replace(splits, train=splits.train[::every])
    with tempfile.TemporaryDirectory(prefix="hub-trainer-plan-") as scratch:
        try:
            fitted = task.fit(some, recipe, Path(scratch), base=None, progress=_silent)
        except HubTrainerError as error:
            seconds, basis = by_record(recipe, amount, last, otherwise=error.what)
            return Forecast(None, "unknown: no sample of the rows can be fitted", seconds, basis)
    peak = round(_peak_mb(), 1)
    seconds = round(fitted.seconds * len(splits.train) / max(len(some.train), 1), 2)
    told = f"{len(some.train):,} rows fitted here"
    return Forecast({"runtime": peak, "sum": peak}, f"as it is after {told}", seconds, told)


def search_of(tune: TuneSection, seconds: float | None) -> Search | None:
    """The search before training, each trial as long as training itself; None for none.

    Pruned trials are shorter, and trials side by side on the same cores longer.
    """
    if not tune.is_on:
        return None
    at_most = 60 * tune.minutes if tune.minutes else None
    if tune.trials and seconds is not None:
        needed = -(-tune.trials // tune.workers) * seconds
        at_most = needed if at_most is None else min(at_most, needed)
    seconds = at_most and round(at_most, 1)
    return Search(tune.trials, tune.minutes, tune.workers, tuple(tune.search), seconds)


def _silent(share: float, doing: str) -> None:
    pass


def _peak_mb() -> float:
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident / (2**20 if sys.platform == "darwin" else 2**10)


def amount_of(arguments: Mapping[str, Any], rows: Mapping[str, int], processes: int) -> Amount:
    """Steps as transformers' Trainer counts them, by the arguments of the recipe."""
    per_device = int(arguments.get("per_device_train_batch_size", 8))
    accumulation = int(arguments.get("gradient_accumulation_steps", 1))
    train, batch = rows["train"], per_device * accumulation * processes
    steps_per_epoch = max(1, -(-train // batch))
    if arguments.get("max_steps", -1) > 0:
        steps = int(arguments["max_steps"])
        epochs = steps / steps_per_epoch
    else:
        epochs = float(arguments.get("num_train_epochs", 3))
        steps = -int(-epochs * steps_per_epoch // 1)
    evaluated = arguments.get("eval_strategy") != "no"
    validation = rows.get("validation", 0) if evaluated else 0
    return Amount(steps, round(epochs, 2), per_device, accumulation, processes, train, validation)
