"""The one Trainer subclass: exact loss normalisation, whole checkpoints, safe stops.

Everything else is `transformers.Trainer`: a user's TrainingArguments mean what they say there.
"""

import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.profiler import record_function
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalLoopOutput

from hub_trainer.errors import Interrupted, TrainingError
from hub_trainer.finetune import checkpoints, replicas
from hub_trainer.finetune.batch_norms import SharedNorms
from hub_trainer.finetune.batches import (
    NUM_ROWS,
    TOKENS,
    WEIGHT,
    BatchShape,
    DrawCollate,
    DrawnRows,
    OrderedDraws,
    PooledBatches,
)
from hub_trainer.finetune.classifier_objective import default_objective
from hub_trainer.finetune.depth import depths_of, sleepers, with_falling_rates
from hub_trainer.finetune.environment import environment_of
from hub_trainer.finetune.evaluation import (
    Evaluation,
    evaluate_draws,
    keep_enough,
    model_inputs,
)
from hub_trainer.finetune.interrupts import StopRequest
from hub_trainer.finetune.methods import resting_modules, trainable_state
from hub_trainer.finetune.peers import Peers, is_of_exchange
from hub_trainer.finetune.plan import Batch, FitData, FitPlan, RowSource, RunsModel
from hub_trainer.finetune.sharded_state import (
    load_optimizer,
    load_schedule,
    save_schedule,
    save_sharded,
)
from hub_trainer.finetune.sharding import evened, is_split, whole
from hub_trainer.finetune.trained_weights import WEIGHTS, load_trained

COUNTS = "counts.json"
STATE = "trainer_state.json"
SKIPS_ALLOWED = 3
SKIPS_ALLOWED_FP16 = 20
SECONDS_BETWEEN_SAVES = 600.0


class OutOfMemoryError(Exception):
    """A micro-batch did not fit; the engine continues with a smaller one."""


@dataclass
class Counts:
    """What has been done so far, carried from checkpoint to checkpoint."""

    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    bit_reproducible: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Which run this is, where its checkpoints are and who may ask it to stop."""

    checkpoints: Path
    digest: str
    stop: StopRequest
    norms: SharedNorms | None = None
    """Batch norms that several processes share."""
    peers: Peers | None = None
    """The other processes, if there are any."""
    batch_rows: int | None = None
    """Rows of a batch as it was begun, on another number of processes."""
    notes: tuple[str, ...] = ()
    """What became of this run before it was begun anew."""


class FitTrainer(Trainer):
    """`transformers.Trainer` on draws, with the guarantees of this package."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        data: FitData,
        plan: FitPlan,
        run: Run,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.data, self.plan, self.run = data, plan, run
        super().__init__(
            model=model,
            args=args,
            train_dataset=data.train,
            eval_dataset=data.validation,
            callbacks=callbacks,
        )
        # Each process drops out other units, as if they were rows of one process.
        set_seed(args.seed + args.process_index)
        self.remove_callback(PrinterCallback)
        self.is_split = is_split(model)
        # Upstream's name for a model that places itself and reduces its own gradients.
        self.is_distributed_loading_by_transformers = self.is_split
        self.objective = plan.objective or default_objective(
            model, args.label_smoothing_factor, plan
        )
        self.resting = resting_modules(model)
        self.counts = Counts(bit_reproducible=args.device.type == "cpu", notes=list(run.notes))
        cut = args.per_device_train_batch_size * args.gradient_accumulation_steps
        batch_rows = run.batch_rows or cut * args.world_size
        self.environment = environment_of(args) | {"batch_rows": batch_rows}
        self._pending = (0, 0)
        self._clock: float | None = None
        self._saved_at = time.monotonic()
        self._saved_step = self._ended_step = -1
        self._skips = 0
        self._compared = False
        self._checkpoint_bytes = 0
        self._last_loss = torch.zeros(())

    # Data

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's draws; the same batches whatever their cut."""
        args = self.args
        shape = BatchShape(
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            args.world_size,
            args.process_index,
            self.run.batch_rows,
        )
        seed = args.seed if args.data_seed is None else args.data_seed
        rows = self.data.train
        draws = PooledBatches(len(rows), shape, lengths=self.data.lengths, seed=seed)
        self._steps_per_epoch = draws.num_batches
        return self._loader(DrawnRows(rows, varies=self.data.augmented), draws)

    def get_eval_dataloader(self, eval_dataset: RowSource | None = None) -> DataLoader[Any]:
        """Every row once over all processes, longest first, so that memory runs out early."""
        rows = self.data.validation if eval_dataset is None else eval_dataset
        assert rows is not None
        args = self.args
        shape = BatchShape(args.per_device_eval_batch_size, 1, args.world_size, args.process_index)
        lengths = self.data.validation_lengths if rows is self.data.validation else None
        draws = OrderedDraws(len(rows), shape, lengths=lengths)
        return self._loader(DrawnRows(rows, varies=False), draws)

    def _loader(self, rows: DrawnRows, draws: PooledBatches | OrderedDraws) -> DataLoader[Any]:
        args = self.args
        return DataLoaderShard(
            rows,
            device=args.device,
            batch_sampler=draws,
            collate_fn=DrawCollate(self.data.collate),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
        )

    # Loss

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The draws of one optimizer step, and the weight they have over all processes."""
        if self._clock is None:
            self._clock = time.perf_counter()
        with record_function("data"):
            draws, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if isinstance(self.objective, RunsModel):
            self.model.train()
            self.objective.prepare(self.model, draws, self._summed)
        amounts = [(self.objective.amounts(draw) * draw[WEIGHT]).sum() for draw in draws]
        counted = [[draw[NUM_ROWS], draw[TOKENS]] for draw in draws]
        sums = torch.cat(
            [torch.stack(amounts).sum()[None], torch.tensor(counted, device=device).sum(0)]
        )
        sums = self._summed(sums.double() if device.type != "mps" else sums)
        self._pending = (int(sums[1]), int(sums[2]))
        return draws, sums[0].float().clamp_min(1e-12)

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> None:
        """Counted in `get_batch_samples`, with weights."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """This draw's share of the weighted mean over the whole batch, on all processes."""
        for module in self.resting:
            module.training = False
        if self.run.norms is not None:
            self.run.norms.counted = bool(inputs.get(NUM_ROWS, 1))
        with record_function("forward"):
            if isinstance(self.objective, RunsModel):
                outputs = self.objective.outputs(model, inputs)
            else:
                outputs = model(**model_inputs(inputs, with_labels=self._with_labels))
            losses = self.objective.losses(outputs, inputs)
        loss = (losses * inputs[WEIGHT]).sum() / num_items_in_batch
        # Gradients are averaged over processes, so each one's share counts world_size times.
        loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Forward and backward; a loss that is not finite never reaches the running mean."""
        try:
            with record_function("training_step"):
                loss = self._stepped(model, inputs, num_items_in_batch)
        except RuntimeError as error:
            if should_reduce_batch_size(error):
                raise OutOfMemoryError(str(error)) from error
            raise
        self._let_sleep()
        self._last_loss = loss
        return torch.where(torch.isfinite(loss), loss, torch.zeros_like(loss))

    def _let_sleep(self) -> None:
        """Drop the gradients of blocks whose turn to learn has not come.

        They are not frozen: a wrapped model would not notice when they wake.
        """
        if self.plan.unfreeze_epochs is None:
            return
        epoch = self.state.global_step / self._steps_per_epoch
        for parameter in sleepers(self.depths, epoch, self.plan.unfreeze_epochs):
            parameter.grad = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As upstream, with rates that fall with depth where the plan says so."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.plan.layer_decay is not None:
            with_falling_rates(optimizer, self.depths, self.plan.layer_decay)
        return optimizer

    @cached_property
    def depths(self) -> dict[nn.Parameter, int]:
        """How deep each parameter lies under the output; see `finetune.depth`."""
        return depths_of(self.model, self.plan.new_blocks)

    def _stepped(
        self, model: nn.Module, inputs: Batch, num_items: torch.Tensor | None
    ) -> torch.Tensor:
        if not isinstance(self.objective, RunsModel):
            return super().training_step(model, inputs, num_items)
        parts = [
            part if counts else part | {WEIGHT: torch.zeros_like(part[WEIGHT])}
            for part, counts in evened(self.objective.parts(inputs), model)
        ]
        losses = []
        for part in parts[:-1]:
            alone = (
                self._defer_fsdp_gradient_reduction
                if self.is_split
                else partial(self.accelerator.no_sync, model)
            )
            with alone():
                losses.append(super().training_step(model, part, num_items))
        losses.append(super().training_step(model, parts[-1], num_items))
        return torch.stack(losses).sum()

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Within, copies of a split model keep their gradients to themselves; parts never do."""
        self.model.set_requires_all_reduce(False)
        yield
        self.model.set_requires_all_reduce(True)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm, or a step without gradients where it is not finite on any process."""
        norm = whole(super()._get_grad_norm(model, grad_norm))
        if math.isfinite(norm):
            self._skips = 0
            return norm
        self._skips += 1
        step = self.state.global_step + 1
        allowed = SKIPS_ALLOWED_FP16 if self.args.fp16 else SKIPS_ALLOWED
        if self._skips > allowed:
            raise TrainingError(
                f"The gradient was not finite in {self._skips} steps in a row.",
                where=f"step {step}, epoch {self.state.epoch:.2f}",
                got=f"loss {float(self._last_loss)}, gradient norm {float(norm)}",
                do="lower learning_rate, use bf16 in place of fp16, or look for broken rows",
            )
        if not self.args.fp16:
            self.counts.notes.append(f"step {step} skipped: its gradient was not finite")
        model.zero_grad(set_to_none=True)
        return None

    # Evaluation

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Exact loss and metrics over every row once."""
        del description, prediction_loss_only, ignore_keys
        started = time.perf_counter()
        found = self._evaluated(dataloader)
        metrics = {"loss": found.loss, **self._metrics(found)}
        self.counts.evaluation_seconds += time.perf_counter() - started
        return EvalLoopOutput(
            predictions=found.predictions,
            label_ids=found.references,
            metrics={f"{metric_key_prefix}_{key}": value for key, value in metrics.items()},
            num_samples=len(found.references),
        )

    def check_evaluation(self) -> None:
        """Evaluate a few rows before training: a missing metric is found now and not in hours."""
        rows = self.data.validation
        if rows is None or not self.args.metric_for_best_model:
            return
        few = [rows[i] for i in range(min(len(rows), 2 * self.args.per_device_eval_batch_size))]
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics = self._metrics(self._evaluated(self.get_eval_dataloader(few)))
        names = ["loss", *metrics]
        if self.args.metric_for_best_model.removeprefix("eval_") not in names:
            raise TrainingError(
                "The metric that chooses the best model is not computed.",
                where="metric_for_best_model",
                got=self.args.metric_for_best_model,
                do=f"use one of {', '.join(names)}",
            )

    def _evaluated(self, dataloader: DataLoader[Any]) -> Evaluation:
        found: Evaluation = evaluate_draws(
            self.model,
            dataloader,
            self.objective,
            keep=self.plan.keep or keep_enough,
            with_labels=self._with_labels,
        )
        return found

    def _metrics(self, found: Evaluation) -> dict[str, float]:
        if self.plan.compute_metrics is None:
            return {}
        pair = EvalPrediction(predictions=found.predictions, label_ids=found.references)
        return {key: float(value) for key, value in self.plan.compute_metrics(pair).items()}

    @property
    def _with_labels(self) -> bool:
        # An encoder-decoder makes its decoder's inputs from the labels.
        return bool(getattr(self.model.config, "is_encoder_decoder", False))

    # Stopping and saving

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As upstream, which would train on if resumed from the last step or after a stop."""
        if self._is_finished():
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _is_finished(self) -> bool:
        stoppers = [
            c for c in self.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)
        ]
        exhausted = any(
            c.early_stopping_patience_counter >= c.early_stopping_patience for c in stoppers
        )
        return exhausted or self.state.global_step >= self.state.max_steps

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """As upstream, and a checkpoint when one is overdue or the process must stop.

        Called after each step and once more at the end of an epoch. At an epoch's last step the
        extra checkpoint waits for that second call, or its evaluation would be lost on resume.
        """
        self._count_step()
        step = self.state.global_step
        if self.args.world_size > 1 and (not self._compared or step % replicas.EVERY_STEPS == 0):
            replicas.assert_same(self.model, self.args.device, when=f"step {step}")
            self._compared = True
        epoch_ended = step == self._ended_step
        self._ended_step = step
        last_of_epoch = self.control.should_training_stop or step % self._steps_per_epoch == 0
        stop, overdue = self._agreed(
            self.run.stop.received, time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES
        )
        now = epoch_ended or not last_of_epoch
        if now and (stop or overdue):
            self.control.should_save = True
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self._clock = time.perf_counter()
        if stop and now:
            raise Interrupted(
                "Training was stopped by a signal; its checkpoint is on disk.",
                where=str(self.run.checkpoints / f"{checkpoints.PREFIX}{step}"),
                do="run the same command again: it goes on from there",
            )

    def _count_step(self) -> None:
        rows, tokens = self._pending
        self.counts.rows += rows
        self.counts.tokens += tokens
        self._pending = (0, 0)
        if self._clock is not None:
            self.counts.seconds += time.perf_counter() - self._clock

    def _agreed(self, *flags: bool) -> list[bool]:
        """Each flag, raised on every process if it is on any."""
        if self.args.world_size == 1:
            return list(flags)
        raised = self._summed(torch.tensor(flags, device=self.args.device, dtype=torch.float32))
        return [bool(flag > 0) for flag in raised]

    def _summed(self, values: torch.Tensor) -> torch.Tensor:
        if self.args.world_size == 1:
            return values
        summed: torch.Tensor = self.accelerator.reduce(values, "sum")
        return summed

    def save_checkpoint(self) -> None:
        """A checkpoint of the last completed step."""
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        del model, trial
        step = self.state.global_step
        if step == self._saved_step:
            return
        started = time.perf_counter()
        self.store_flos()
        folder = self.run.checkpoints
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(folder / f"{checkpoints.PREFIX}{step}")
        if self.is_world_process_zero():
            checkpoints.check_free_space(folder, self._checkpoint_bytes)
        try:
            written = checkpoints.write_checkpoint(
                folder,
                step,
                self._write_state,
                seal=self._seal(),
                barrier=self.accelerator.wait_for_everyone,
                is_writer=self.is_world_process_zero(),
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_of_exchange(error):
                raise  # no fault of the disk: another process is gone
            raise checkpoints.save_failed(folder, step, error) from error
        if self.is_world_process_zero():
            self._rotate(written)
        self._saved_step, self._saved_at = step, time.monotonic()
        self.counts.checkpoint_seconds += time.perf_counter() - started

    def _rotate(self, written: Path) -> None:
        best = self.state.best_model_checkpoint
        spare = Path(best) if best else None
        keep = self.args.save_total_limit or checkpoints.KEPT
        checkpoints.rotate(self.run.checkpoints, keep=keep, spare=spare)
        self._checkpoint_bytes = checkpoints.size_bytes(written)

    def _seal(self) -> dict[str, Any]:
        return {
            "run_digest": self.run.digest,
            "environment": self.environment,
            "needs_step": self.state.best_global_step,
        }

    def _write_state(self, folder: Path) -> None:
        self._save_rng_state(str(folder))
        if self.is_split:
            save_sharded(folder, self.model, self.optimizer.optimizer)
        if not self.args.should_save:
            return
        if self.is_split:
            save_schedule(folder, self.optimizer.optimizer, self.lr_scheduler)
        else:
            save_file(trainable_state(self.model), folder / WEIGHTS)
            self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        (folder / COUNTS).write_text(json.dumps(dataclasses.asdict(self.counts)), encoding="utf-8")
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(folder / STATE))

    # Resuming

    def resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from a verified checkpoint; say so where the environment is another one."""
        saved = json.loads((checkpoint.path / COUNTS).read_text(encoding="utf-8"))
        self.counts = Counts(**saved)
        self.counts.notes += [note for note in self.run.notes if note not in self.counts.notes]
        self.counts.notes.append(f"resumed from step {checkpoint.step}")
        changed = sorted(
            key
            for key in {*self.environment, *checkpoint.environment}
            if self.environment.get(key) != checkpoint.environment.get(key)
        )
        if changed:
            self.counts.bit_reproducible = False
            self.counts.notes.append(f"resumed in another environment: {', '.join(changed)}")
        if "num_processes" in changed:
            self.counts.notes.append(
                f"from step {checkpoint.step} on {self.args.world_size} processes: the same batches"
                f" of {self.environment['batch_rows']} rows, added up in another order, with other"
                " dropout; no longer bit for bit what it would have been"
            )
        self._checkpoint_bytes = checkpoints.size_bytes(checkpoint.path)
        self._saved_step = checkpoint.step
        self.train(resume_from_checkpoint=str(checkpoint.path))

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        """As upstream, with the best checkpoint looked for where the folder is now."""
        found = super()._init_training_state(*args, **kwargs)
        if self.state.best_global_step:
            best = self.run.checkpoints / f"{checkpoints.PREFIX}{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        return found

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self.is_split:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        optimizer = self.optimizer.optimizer
        load_optimizer(Path(checkpoint), self.model, optimizer)
        load_schedule(Path(checkpoint), optimizer, self.lr_scheduler)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        load_trained(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if checkpoints.verified(best) is None:
            raise TrainingError(
                "The best checkpoint does not read back as it was written.",
                where=str(best),
                do="remove this folder and run the same command again",
            )
        load_trained(self.model, best)
