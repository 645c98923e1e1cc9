"""Evaluation that is exact on any number of processes and keeps only what the metrics need."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from hub_trainer.finetune.batches import NUM_ROWS, OURS, ROWS, WEIGHT
from hub_trainer.finetune.classifier_objective import IGNORED
from hub_trainer.finetune.plan import Batch, Objective, RunsModel
from hub_trainer.finetune.sharding import rest


@dataclass(frozen=True)
class Evaluation:
    """Every row once, in the order of the data set."""

    loss: float
    predictions: NDArray[Any]
    references: NDArray[Any]


def keep_enough(logits: torch.Tensor) -> torch.Tensor:
    """Logits per example stay; logits per token become the best class of each."""
    return logits.float() if logits.ndim < 3 else logits.argmax(dim=-1)


def model_inputs(batch: Batch, *, with_labels: bool) -> dict[str, Any]:
    """What the model's forward takes: no bookkeeping, and labels only where it needs them."""
    dropped = OURS if with_labels else (*OURS, "labels")
    return {key: value for key, value in batch.items() if key not in dropped}


@torch.no_grad()
def evaluate_draws(
    model: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    keep: Callable[[torch.Tensor], torch.Tensor],
    with_labels: bool = False,
) -> Evaluation:
    """The weighted mean loss, and predictions beside references, gathered over processes."""
    evaluation_mode(model)
    runs = objective if isinstance(objective, RunsModel) else None
    if runs is not None and runs.sees_all_draws:
        batches = list(batches)
        runs.prepare(model, batches, _summed)
    rows: list[tuple[int, NDArray[Any], NDArray[Any]]] = []
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        if runs is not None:
            per_row, kept = runs.evaluated(model, batch)
        else:
            outputs = model(**model_inputs(batch, with_labels=with_labels))
            per_row, kept = objective.losses(outputs, batch), keep(outputs.logits)
        weight = batch[WEIGHT]
        losses = (per_row * weight).sum()
        amounts = (objective.amounts(batch) * weight).sum()
        sums += torch.stack([losses, amounts]).cpu().double()
        if batch[NUM_ROWS]:
            references = batch["labels"].cpu().numpy()
            rows += zip(batch[ROWS], kept.cpu().numpy(), references, strict=True)
    rest(model)
    total, amount = np.sum(gather_object([sums.tolist()]), axis=0)
    rows = sorted(gather_object(rows), key=lambda row: row[0])
    _, predictions, references = zip(*rows, strict=True)
    return Evaluation(float(total / max(amount, 1e-12)), _stack(predictions), _stack(references))


def _summed(values: torch.Tensor) -> torch.Tensor:
    everywhere: list[list[float]] = gather_object([values.tolist()])
    return torch.tensor(everywhere, dtype=values.dtype, device=values.device).sum(0)


def evaluation_mode(model: nn.Module) -> None:
    """As `eval()`, except that 4-bit layers keep the layout of training.

    On a CPU with bfloat16 instructions bitsandbytes 0.50 repacks a layer for good at its first
    forward in evaluation mode, and gradients through the packed one are silently wrong.
    """
    model.eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.training = True


def _stack(arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """(N, ...) rows of different lengths are padded at the end with the ignored label."""
    longest = max(array.shape[:1] for array in arrays)
    if not longest or all(array.shape[:1] == longest for array in arrays):
        return np.stack(arrays)
    widths = [(longest[0] - len(array), array) for array in arrays]
    return np.stack(
        [
            np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=IGNORED)
            for missing, array in widths
        ]
    )
