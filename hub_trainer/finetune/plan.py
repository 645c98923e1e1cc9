"""Plan and data of a fine-tuning run: plain values and no recipe."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import EvalPrediction

from hub_trainer.recipe.learning import LossName
from hub_trainer.recipe.method_table import MethodName

Rows = Sequence[Mapping[str, Any]]
Batch = dict[str, Any]
Summed = Callable[[torch.Tensor], torch.Tensor]


class RowSource(Protocol):
    """A map-style data set of rows: `datasets.Dataset`, a list, or anything with these two."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


class Objective(Protocol):
    """What is minimised: a loss per example, and how many predictions each example holds."""

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) predictions per example, known before the model has run."""

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) loss per example, summed over its predictions."""


@runtime_checkable
class RunsModel(Protocol):
    """An objective that runs the model itself: on parts of a draw, and not only for logits."""

    @property
    def sees_all_draws(self) -> bool:
        """Whether a draw of an evaluation depends on the others; they are then held in memory."""

    def prepare(self, model: nn.Module, draws: Sequence[Batch], summed: Summed) -> None:
        """Before a step or an evaluation, add to its draws what depends on all of them; `summed`
        adds up a tensor over processes."""

    def parts(self, batch: Batch) -> list[Batch]:
        """A draw in pieces, each for one forward and one backward pass; at least one."""

    def outputs(self, model: nn.Module, part: Batch) -> Any:
        """What `losses` takes of a piece."""

    def evaluated(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) losses and (B, ...) predictions of a whole draw, once it is prepared."""


class DrawByDraw:
    """The part of an objective that runs the model on each draw by itself."""

    @property
    def sees_all_draws(self) -> bool:
        """Each draw is by itself."""
        return False

    def prepare(self, model: nn.Module, draws: Sequence[Batch], summed: Summed) -> None:
        """Nothing depends on other draws."""

    def parts(self, batch: Batch) -> list[Batch]:
        """The draw as it is."""
        return [batch]


@dataclass(frozen=True)
class FitData:
    """The rows to learn from. A row may hold `weight`, how much it counts (1 when absent)."""

    train: RowSource
    validation: RowSource | None
    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]
    """Rows to a batch of tensors with `labels`; it never sees the `weight` column."""
    lengths: Sequence[int] | None = None
    """Length of each training row; batches are then made of rows of similar length."""
    validation_lengths: Sequence[int] | None = None
    augmented: bool = False
    """Training rows differ from epoch to epoch, so nothing about them may be cached."""


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the metric has not improved for `patience` evaluations."""

    patience: int
    min_delta: float = 0.0


@dataclass(frozen=True)
class Loss:
    """What is minimised in place of the usual loss; see `train.loss`."""

    name: LossName
    gamma: float = 2.0
    delta: float = 1.0


@dataclass(frozen=True)
class Fuse:
    """Make one model of the run's last checkpoints."""

    method: str
    checkpoints: int
    density: float | None = None
    """Of adapters, the share of each one's changes that is kept."""


@dataclass(frozen=True)
class FitPlan:
    """How to train: the method, any `TrainingArguments` by their own names, and the metrics."""

    method: MethodName
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    lora: Mapping[str, Any] | None = None
    """Arguments of `peft.LoraConfig`, for `lora` and `qlora`."""
    last_n: int | None = None
    """Blocks to train besides the head, for `last_n`."""
    new_blocks: int = 0
    """Last blocks that start anew, for `hybrid`."""
    unfreeze_epochs: float | None = None
    """Epochs after which one more block of the base begins to learn; None, all from the start."""
    layer_decay: float | None = None
    """Learning rate of a block as a share of the next one's to the output."""
    l1: float = 0.0
    """Strength of proximal steps on weight matrices."""
    mixup: float | None = None
    """Each row is mixed with another, by a share from Beta(mixup, mixup)."""
    loss: Loss | None = None
    positive_weights: tuple[float, ...] | None = None
    """(C,) of sets of labels, how much more having one counts than not having it."""
    early_stopping: EarlyStopping | None = None
    compute_metrics: Callable[[EvalPrediction], Mapping[str, float]] | None = None
    metric_for_best: str = "loss"
    """A key of `compute_metrics`, or `loss`: the best checkpoint by it is the one kept."""
    keep: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Logits to what `compute_metrics` needs; without it, logits per example as they are,
    and the best class at each position where there are logits per token."""
    objective: Objective | None = None
    """None: cross-entropy, binary cross-entropy or squared error, by the type of `labels`."""
    around: Callable[[nn.Module], AbstractContextManager[Any]] | None = None
    """Entered with the model to train, its adapter on, and left when training ends."""
    prepare: Callable[[nn.Module, FitData], FitData] | None = None
    """Rows with what a model says of them before its first step, where it is split: no process
    could hold it whole earlier."""
    fuse: Fuse | None = None
    """None: the best checkpoint as it is."""
    profile: bool = False
