"""The one entry to fine-tuning a language model: encoded rows and a plan in, the model out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.language.adapters import fast_adapters
from hub_trainer.finetune.language.encode import Encoded, check_batch, check_classes
from hub_trainer.finetune.language.losses import check_loss, class_weights
from hub_trainer.finetune.language.norms import lean_norms
from hub_trainer.finetune.language.objective import LanguageObjective, LossType
from hub_trainer.finetune.language.packing import Packing, PackingCollate
from hub_trainer.finetune.language.ratings import with_mismatched
from hub_trainer.finetune.language.references import with_references
from hub_trainer.finetune.language.scoring import can_be_dense, output_layer, scoring
from hub_trainer.finetune.plan import FitData, FitPlan
from hub_trainer.finetune.progress import StepProgress
from hub_trainer.ranks import asked
from hub_trainer.reports import FitReport

TOKENS_PER_PASS = {"cpu": 1536, "cuda": 16384}
EXACT_TOKENS_PER_PASS = {"cpu": 768}
"""For float32, whose activations take twice the memory: on a CPU they also leave the cache."""
DEFAULTS: dict[str, LossType] = {"sft": "nll", "dpo": "sigmoid", "kto": "kto"}
LOSSES = {"sft": ("nll",), "dpo": ("sigmoid", "ipo", "robust"), "kto": ("kto", "apo_zero_unpaired")}


@dataclass(frozen=True)
class LanguageData:
    """Encoded rows of one kind."""

    train: Encoded
    validation: Encoded | None = None


@dataclass(frozen=True)
class LanguagePlan:
    """How to train, and what is particular to language models."""

    fit: FitPlan
    loss_type: LossType | None = None
    """None: the usual one for the kind of data."""
    beta: float = 0.1
    """How strongly preferences hold the model to its reference."""
    label_smoothing: float = 0.0
    """For `robust`: the share of preferences that are flipped."""
    desirable_weight: float | None = None
    undesirable_weight: float | None = None
    """None: set by the counts, so that both kinds of ratings weigh the same."""
    tokens_per_pass: int | None = None
    """Tokens of one forward and backward pass; a batch is cut into as many as it needs."""
    max_length: int = 1024
    """Longest prompt with an answer to another one, for KTO."""


def fine_tune_language_model(
    model: nn.Module,
    data: LanguageData,
    plan: LanguagePlan,
    *,
    out_dir: Path,
    run_digest: str = "",
    on_progress: Callable[[StepProgress], None] | None = None,
) -> tuple[nn.Module, FitReport]:
    """As `fine_tune`, by SFT, DPO or KTO as the kind of the rows has it.

    The model as it comes in is the reference of preference losses. It is run once over the rows
    before training, and not in training: where it is to be split, once it is.
    """
    check_classes(data.train)
    objective = make_objective(data.train, plan)
    check_batch(data.train.kind, objective.loss_type, _rows_per_batch(plan.fit))
    state = PartialState(cpu=not torch.accelerator.is_available())
    wanted = asked()
    to_be_split = wanted is not None and wanted.sharding is not None
    if not getattr(model, "is_quantized", False) and not to_be_split:
        model.to(state.device)
    budget = plan.tokens_per_pass or tokens_per_pass(state.device.type, model.dtype)
    packing = Packing(budget, dense=can_be_dense(model))
    prepare = _Prepare(data, objective, packing, plan.max_length, out_dir)
    rows = prepare.encoded() if to_be_split else prepare.prepared(model)
    fit = replace(
        plan.fit,
        objective=objective,
        compute_metrics=objective.metrics,
        around=lambda trained: _around(trained, packing),
        prepare=lambda split, _: prepare.prepared(split),
    )
    return fine_tune(
        model, rows, fit, out_dir=out_dir, run_digest=run_digest, on_progress=on_progress
    )


def tokens_per_pass(device_type: str, dtype: torch.dtype) -> int:
    """Enough to keep a device of this type busy with weights of this type, and little memory."""
    found = TOKENS_PER_PASS.get(device_type, 4096)
    return EXACT_TOKENS_PER_PASS.get(device_type, found) if dtype == torch.float32 else found


def make_objective(train: Encoded, plan: LanguagePlan) -> LanguageObjective:
    """The loss for this kind of data, with the weights that its counts ask for."""
    loss_type = loss_of(train, plan)
    if loss_type == "nll":
        return LanguageObjective(loss_type)
    weights = _class_weights(train, plan) if train.kind == "kto" else (1.0, 1.0)
    return LanguageObjective(loss_type, plan.beta, plan.label_smoothing, weights)


def loss_of(train: Encoded, plan: LanguagePlan) -> LossType:
    """By its name, or the usual one for this kind of data; refused where it cannot learn it."""
    loss_type = plan.loss_type or DEFAULTS[train.kind]
    if loss_type not in LOSSES[train.kind]:
        raise TrainingError(
            f"Rows of {train.format} cannot be learned with this loss.",
            where="train.language.loss_type",
            got=loss_type,
            do=f"use {', '.join(LOSSES[train.kind])}",
        )
    if loss_type != "nll":
        check_loss(loss_type, beta=plan.beta, label_smoothing=plan.label_smoothing)
    return loss_type


def _class_weights(train: Encoded, plan: LanguagePlan) -> tuple[float, float]:
    counts = {True: 0.0, False: 0.0}
    for row in train.rows:
        counts[row["desirable"]] += row["weight"]
    found = class_weights(counts[True], counts[False])
    good, bad = plan.desirable_weight, plan.undesirable_weight
    return found[0] if good is None else good, found[1] if bad is None else bad


def _rows_per_batch(fit: FitPlan) -> int:
    micro = int(fit.arguments.get("per_device_train_batch_size", 8))
    accumulation = int(fit.arguments.get("gradient_accumulation_steps", 1))
    processes = PartialState(cpu=not torch.accelerator.is_available()).num_processes
    return micro * accumulation * int(processes)


@dataclass(frozen=True)
class _Prepare:
    data: LanguageData
    objective: LanguageObjective
    packing: Packing
    max_length: int
    out_dir: Path

    def encoded(self) -> FitData:
        """The rows as they are."""
        held = self.data.validation
        collate = PackingCollate(self.packing)
        return FitData(self.data.train.rows, held.rows if held else None, collate)

    def prepared(self, model: nn.Module) -> FitData:
        """Rows with what the loss needs of the reference."""
        held = self.data.validation
        train = self._rows(model, self.data.train)
        return replace(
            self.encoded(), train=train, validation=self._rows(model, held) if held else None
        )

    def _rows(self, model: nn.Module, encoded: Encoded) -> Sequence[dict[str, Any]]:
        if encoded.kind == "sft":
            return encoded.rows
        rows = encoded.rows
        if self.objective.loss_type == "kto":
            rows = with_mismatched(rows, block=8, max_length=self.max_length)
        return with_references(model, rows, self.packing, self.out_dir / "references")


@contextmanager
def _around(model: nn.Module, packing: Packing) -> Iterator[None]:
    output_layer(model)
    with ExitStack() as stack:
        stack.enter_context(scoring(model, dense=packing.dense))
        stack.enter_context(fast_adapters(model))
        stack.enter_context(lean_norms(model))
        yield
