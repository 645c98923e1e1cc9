"""The one entry to fine-tuning: a model, data and a plan in, the trained model and a report out."""

import copy
import gc
import json
import resource
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments, set_seed

from hub_trainer.artifacts import write_durably
from hub_trainer.errors import TrainingError
from hub_trainer.finetune.batch_norms import shared_norms
from hub_trainer.finetune.checkpoints import Checkpoint, clear_for, newest_valid_checkpoint
from hub_trainer.finetune.classifier_objective import default_objective
from hub_trainer.finetune.features import cached_features
from hub_trainer.finetune.fuse import fuse_checkpoints
from hub_trainer.finetune.interrupts import stop_on_sigterm
from hub_trainer.finetune.methods import TrainableReport, apply_method
from hub_trainer.finetune.mixup import MixupObjective, mixed_data, mixup_note
from hub_trainer.finetune.peers import watched_peers
from hub_trainer.finetune.plan import FitData, FitPlan
from hub_trainer.finetune.profile import ProfileCallback
from hub_trainer.finetune.progress import EvaluationCallback, ProgressCallback, StepProgress
from hub_trainer.finetune.proximal import ProximalSteps, zero_share
from hub_trainer.finetune.replicas import assert_same
from hub_trainer.finetune.sharding import is_split, put_together, skeleton, split
from hub_trainer.finetune.trainer import FitTrainer, OutOfMemoryError, Run
from hub_trainer.finetune.training_arguments import assert_as_asked, training_arguments
from hub_trainer.finetune.watching import watch_here
from hub_trainer.ranks import asked
from hub_trainer.recipe.method_table import METHODS
from hub_trainer.reports import FitReport

SHORTAGE = "shortage.json"
"""Beside the checkpoints: how small the draws became when memory ran out."""


@dataclass(frozen=True)
class Setting:
    """All that a trainer is made of, to make another with a smaller micro-batch."""

    model: nn.Module
    data: FitData
    plan: FitPlan
    run: Run
    watchers: list[TrainerCallback]

    def trainer(self, args: TrainingArguments) -> FitTrainer:
        """A fresh trainer."""
        stopping = self.plan.early_stopping
        watch = watch_here()
        callbacks = [*self.watchers, *([EvaluationCallback(watch)] if watch else [])]
        if self.plan.l1:
            callbacks.append(ProximalSteps(self.plan.l1))
        if stopping is not None:
            callbacks.append(EarlyStoppingCallback(stopping.patience, stopping.min_delta))
        return FitTrainer(
            self.model, args, data=self.data, plan=self.plan, run=self.run, callbacks=callbacks
        )


def fine_tune(
    model: nn.Module,
    data: FitData,
    plan: FitPlan,
    *,
    out_dir: Path,
    run_digest: str = "",
    on_progress: Callable[[StepProgress], None] | None = None,
) -> tuple[nn.Module, FitReport]:
    """Train, going on from the newest valid checkpoint of the same run under `out_dir`.

    `run_digest` stands for everything that went in: the same digest resumes, another starts over.
    The model that comes back holds the best weights and is in evaluation mode; under an adapter
    it is the PEFT model.
    """
    wanted = asked()
    sharding = wanted.sharding if wanted else None
    _check_plan(data, plan, is_split=sharding is not None)
    set_seed(plan.seed)
    model, trainable = apply_method(
        model, plan.method, lora=plan.lora, last_n=plan.last_n, new_blocks=plan.new_blocks
    )
    args = _arguments(data, plan, out_dir)
    if args.world_size > 1:
        assert_same(model, args.device, when="before the first step", frozen=True)
    empty = skeleton(model) if sharding else None
    folder = out_dir / "checkpoints"
    with args.main_process_first(local=False):
        cleared = clear_for(folder, run_digest) if args.process_index == 0 else []
    with ExitStack() as stack:
        peers = stack.enter_context(watched_peers(args.process_index, args.world_size))
        if plan.around is not None:
            stack.enter_context(plan.around(model))
        if sharding is not None:
            split(model, sharding, args.device, compute=torch.bfloat16 if args.bf16 else None)
            data = plan.prepare(model, data) if plan.prepare else data
        norms = stack.enter_context(shared_norms(model)) if args.world_size > 1 else None
        stop = stack.enter_context(stop_on_sigterm())
        run = Run(folder, run_digest, stop, norms, peers=peers, notes=tuple(cleared))
        watchers = _watchers(plan, out_dir, on_progress)
        for watcher in watchers:
            stack.callback(watcher.close)
        data, encoder_seconds = _cached(model, data, plan, args, stack)
        if plan.mixup is not None:
            data, plan = _mixed(model, data, plan, args)
        setting = Setting(model, data, plan, run, [*watchers])
        trainer, resumed_from = _train(setting, args)
        fused = fuse_checkpoints(trainer, plan.fuse) if plan.fuse else None
        trainer.counts.seconds += encoder_seconds
    if empty is not None:
        model = put_together(model, empty)
    _check_finite(model)
    _note_regularisers(trainer, model)
    model.eval()
    report = replace(_report(trainer, trainable, resumed_from), fused=fused)
    return model, replace(report, best_metric=fused["score"]) if fused and fused["kept"] else report


def _arguments(data: FitData, plan: FitPlan, out_dir: Path) -> TrainingArguments:
    args = training_arguments(
        plan.arguments,
        output_dir=out_dir / "logs",
        seed=plan.seed,
        evaluates=data.validation is not None,
        metric_for_best=plan.metric_for_best,
    )
    assert_as_asked(args)
    if plan.fuse is not None:
        args.save_total_limit = max(plan.fuse.checkpoints, args.save_total_limit or 0)
    return args


def _mixed(
    model: nn.Module, data: FitData, plan: FitPlan, args: TrainingArguments
) -> tuple[FitData, FitPlan]:
    """Rows that are mixed, and what is then minimised."""
    assert plan.mixup is not None
    inner = plan.objective or default_objective(model, args.label_smoothing_factor, plan)
    return mixed_data(data, plan.mixup), replace(plan, objective=MixupObjective(inner))


def _note_regularisers(trainer: FitTrainer, model: nn.Module) -> None:
    """How rows were mixed, and how many weights an L1 penalty has made zero."""
    strength, mixup = trainer.plan.l1, trainer.plan.mixup
    if mixup is not None:
        trainer.counts.notes.append(mixup_note(mixup))
    if strength:
        told = f"{zero_share(model):.1%} of the weights that learned are exactly zero"
        trainer.counts.notes.append(f"{told}, by train.l1 = {strength:g}")


def _cached(
    model: nn.Module, data: FitData, plan: FitPlan, args: TrainingArguments, stack: ExitStack
) -> tuple[FitData, float]:
    """Features in place of rows where the head alone learns, and the seconds they took."""
    if is_split(model) or not _may_cache(data, plan):
        return data, 0.0
    cached = stack.enter_context(cached_features(model, data, args))
    return (data, 0.0) if cached is None else (cached.data, cached.seconds)


def _may_cache(data: FitData, plan: FitPlan) -> bool:
    return METHODS[plan.method].head_only and not data.augmented


def _check_plan(data: FitData, plan: FitPlan, *, is_split: bool) -> None:
    if not len(data.train):
        do = "name a split with rows under collect.datasets"
        raise TrainingError("There is nothing to train on: the training split is empty.", do=do)
    if plan.fuse is not None and is_split:
        raise TrainingError(
            "Checkpoints of a split model are not fused.",
            where="train.fuse",
            do="remove fuse, or train on one process or by ddp.yaml",
        )
    wanted = {"early_stopping": plan.early_stopping, "fuse": plan.fuse}
    needing = [name for name, value in wanted.items() if value is not None]
    if needing and data.validation is None:
        raise TrainingError(
            f"{needing[0].replace('_', ' ').capitalize()} needs a validation split.",
            where=f"train.{needing[0]}",
            do=f"give a validation split or remove {needing[0]}",
        )


def _watchers(
    plan: FitPlan, out_dir: Path, on_progress: Callable[[StepProgress], None] | None
) -> list[ProgressCallback | ProfileCallback]:
    watchers: list[ProgressCallback | ProfileCallback] = [ProgressCallback(on_progress)]
    if plan.profile:
        watchers.append(ProfileCallback(out_dir / "profile"))
    return watchers


def _train(setting: Setting, args: TrainingArguments) -> tuple[FitTrainer, int | None]:
    run = setting.run
    start = newest_valid_checkpoint(run.checkpoints, run_digest=run.digest)
    resumed_from = start.step if start else None
    if start is not None:
        args, rows = _cut_as_in(start, args)
        run = replace(run, batch_rows=rows)
    run, args = _after_shortage(run, args)
    setting = replace(setting, run=run)
    trainer = setting.trainer(args)
    trainer.check_evaluation()
    while not _ran(trainer, start):
        args = _smaller(trainer)
        start = newest_valid_checkpoint(run.checkpoints, run_digest=run.digest)
        del trainer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        trainer = setting.trainer(args)
    return trainer, resumed_from


def _ran(trainer: FitTrainer, start: Checkpoint | None) -> bool:
    """Whether training came to its end; False if it ran out of memory, with a checkpoint made."""
    try:
        if start is None:
            trainer.train()
        else:
            trainer.resume(start)
    except OutOfMemoryError:
        # Handled by the caller: a traceback alive here would keep the tensors that did not fit.
        return False
    return True


def _smaller(trainer: FitTrainer) -> TrainingArguments:
    """Half the micro-batch and more accumulation, from the last completed step; same batches.

    Several processes are all begun anew with it, from the last checkpoint: those that still wait
    in an exchange could not be reached in any other way.
    """
    args = trainer.args
    micro, total = _cut(args)[0], _cut(args)[0] * _cut(args)[1]
    smaller = next((size for size in range(micro // 2, 0, -1) if total % size == 0), None)
    if smaller is None:
        raise TrainingError(
            "The accelerator's memory is not enough for a step of training.",
            where=f"step {trainer.state.global_step + 1}",
            got=f"per_device_train_batch_size {micro} on {args.world_size} processes",
            do="lower per_device_train_batch_size and raise gradient_accumulation_steps,"
            " or set activation_checkpointing, or use method lora or head",
        )
    note = (
        f"out of memory at step {trainer.state.global_step + 1}: per_device_train_batch_size"
        f" {micro} -> {smaller}, gradient_accumulation_steps {_cut(args)[1]} -> {total // smaller}"
    )
    run = trainer.run
    if run.peers is not None:
        shortage = {"run_digest": run.digest, "per_device_train_batch_size": smaller, "note": note}
        write_durably(run.checkpoints / SHORTAGE, json.dumps(shortage).encode())
        run.peers.begin_again()
    trainer.model.zero_grad(set_to_none=True)
    trainer.counts.notes.append(note)
    trainer.save_checkpoint()
    return _with_cut(args, smaller, total // smaller)


def _after_shortage(run: Run, args: TrainingArguments) -> tuple[Run, TrainingArguments]:
    """The smaller draws that an earlier life of this run was begun anew with, and its note."""
    try:
        found = json.loads((run.checkpoints / SHORTAGE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return run, args
    micro, accumulation = _cut(args)
    smaller = found["per_device_train_batch_size"]
    if found["run_digest"] != run.digest or smaller >= micro:
        return run, args
    args = _with_cut(args, smaller, -(-micro * accumulation // smaller))
    rows = run.batch_rows or micro * accumulation * args.world_size
    return replace(run, batch_rows=rows, notes=(*run.notes, found["note"])), args


def _cut_as_in(start: Checkpoint, args: TrainingArguments) -> tuple[TrainingArguments, int]:
    """The cut that the checkpoint was made with, or one into as small draws, and a batch's rows."""
    made = start.environment
    micro, accumulation = _cut(args)
    before = made.get("num_processes", args.world_size)
    rows = made.get("batch_rows", micro * accumulation * before)
    micro = min(made.get("per_device_train_batch_size", micro), rows)
    if before == args.world_size:
        accumulation = made.get("gradient_accumulation_steps", accumulation)
    else:
        accumulation = -(-rows // (micro * args.world_size))
    return _with_cut(args, micro, accumulation), rows


def _cut(args: TrainingArguments) -> tuple[int, int]:
    return args.per_device_train_batch_size, args.gradient_accumulation_steps


def _with_cut(args: TrainingArguments, micro: int, accumulation: int) -> TrainingArguments:
    changed = copy.copy(args)
    changed.per_device_train_batch_size = micro
    changed.gradient_accumulation_steps = accumulation
    return changed


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            raise TrainingError(
                "The trained weights are not finite.",
                where=name,
                do="lower learning_rate, or use bf16 in place of fp16",
            )


def _report(trainer: FitTrainer, trainable: TrainableReport, resumed_from: int | None) -> FitReport:
    counts, state, args = trainer.counts, trainer.state, trainer.args
    seconds = max(counts.seconds, 1e-9)
    return FitReport(
        method=trainable.method,
        rows=len(trainer.data.train),
        tokens=counts.tokens or None,
        seconds=counts.seconds,
        rows_per_second=counts.rows / seconds,
        tokens_per_second=counts.tokens / seconds if counts.tokens else None,
        peak_mb=_peak_mb(args.device),
        trainable_parameters=trainable.trainable_parameters,
        epochs=float(state.epoch or 0.0),
        num_processes=args.world_size,
        steps=state.global_step,
        best_metric=state.best_metric,
        history=list(state.log_history),
        resumed_from=resumed_from,
        bit_reproducible=counts.bit_reproducible,
        evaluation_seconds=counts.evaluation_seconds,
        checkpoint_seconds=counts.checkpoint_seconds,
        per_device_train_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        notes=tuple(counts.notes),
    )


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident / (2**20 if sys.platform == "darwin" else 2**10)
