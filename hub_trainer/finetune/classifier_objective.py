"""Objectives of classifiers: one loss per example, so that weights and normalisation are exact.

Legend: B examples, T positions, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from hub_trainer.finetune.plan import Batch, FitPlan, Loss

IGNORED = -100


@dataclass(frozen=True)
class LabelObjective:
    """The usual loss for the type of `labels`.

    Integers (B,) or (B, T): cross-entropy; floats (B, C): binary cross-entropy, mean over
    classes; floats (B,): squared error. A label of -100 is not predicted. A `loss` changes this:
    focal multiplies by (1 - p of what is true) ** gamma (Lin et al. 2017), huber is linear from
    an error of delta on.
    """

    label_smoothing: float = 0.0
    shifted: bool = False
    """Position t predicts the label at t + 1, as in causal language models."""
    loss: Loss | None = None
    positive_weights: tuple[float, ...] | None = None
    """(C,) how much more an indicator of 1 counts than one of 0."""

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
            values = labels.float()
            return (
                self._of_sets(logits, values)
                if values.ndim == 2
                else self._of_numbers(logits.reshape(len(values)), values)
            )
        if self.shifted:
            logits = logits[:, :-1]
        flat, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long()
        losses = functional.cross_entropy(
            flat,
            wanted,
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        if self._is_focal:
            sure = flat.softmax(dim=-1).gather(1, wanted.clamp_min(0)[:, None])[:, 0]
            losses = losses * self._unsure(sure)
        return losses.reshape(len(labels), -1).sum(dim=1)

    def _of_sets(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = self.positive_weights
        losses = functional.binary_cross_entropy_with_logits(
            logits,
            labels,
            reduction="none",
            pos_weight=None if weights is None else torch.tensor(weights, device=logits.device),
        )
        if self._is_focal:
            shares = logits.sigmoid()
            losses = losses * self._unsure(torch.where(labels > 0, shares, 1 - shares))
        return losses.mean(dim=1)

    def _of_numbers(self, found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.loss is not None and self.loss.name == "huber":
            return functional.huber_loss(found, labels, reduction="none", delta=self.loss.delta)
        return functional.mse_loss(found, labels, reduction="none")

    @property
    def _is_focal(self) -> bool:
        return self.loss is not None and self.loss.name == "focal"

    def _unsure(self, sure: torch.Tensor) -> torch.Tensor:
        assert self.loss is not None
        return (1 - sure) ** self.loss.gamma

    def _labels(self, batch: Batch) -> torch.Tensor:
        labels: torch.Tensor = batch["labels"]
        return labels[:, 1:] if self.shifted else labels


def default_objective(model: Any, label_smoothing: float, plan: FitPlan) -> LabelObjective:
    """By the loss that the model's own class would use, changed as the plan says."""
    causal = getattr(model, "loss_type", None) == "ForCausalLM"
    return LabelObjective(
        label_smoothing, shifted=causal, loss=plan.loss, positive_weights=plan.positive_weights
    )
