"""Objectives of classifiers: one loss per example, so that weights and normalisation are exact.

Legend: B examples, T positions, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from hub_trainer.finetune.plan import Batch

IGNORED = -100


@dataclass(frozen=True)
class LabelObjective:
    """The usual loss for the type of `labels`.

    Integers (B,) or (B, T): cross-entropy; floats (B, C): binary cross-entropy, mean over
    classes; floats (B,): squared error. A label of -100 is not predicted.
    """

    label_smoothing: float = 0.0
    shifted: bool = False
    """Position t predicts the label at t + 1, as in causal language models."""

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) how many labels each example has."""
        labels = self._labels(batch)
        if labels.is_floating_point():
            return torch.ones(len(labels), device=labels.device)
        return (labels != IGNORED).reshape(len(labels), -1).sum(dim=1).float()

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,) summed over the example's labels."""
        labels = self._labels(batch)
        logits = outputs.logits.float()
        if labels.is_floating_point():
            return _float_losses(logits, labels.float())
        if self.shifted:
            logits = logits[:, :-1]
        losses = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1).long(),
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses.reshape(len(labels), -1).sum(dim=1)

    def _labels(self, batch: Batch) -> torch.Tensor:
        labels: torch.Tensor = batch["labels"]
        return labels[:, 1:] if self.shifted else labels


def _float_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.ndim == 2:
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return losses.mean(dim=1)
    return functional.mse_loss(logits.reshape(len(labels)), labels, reduction="none")


def default_objective(model: Any, label_smoothing: float) -> LabelObjective:
    """By the loss that the model's own class would use."""
    causal = getattr(model, "loss_type", None) == "ForCausalLM"
    return LabelObjective(label_smoothing, shifted=causal)
