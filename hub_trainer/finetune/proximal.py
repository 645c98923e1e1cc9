"""L1 by proximal steps: after each of the optimizer's, weights move to zero and stay there."""

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback


class ProximalSteps(TrainerCallback):
    """Soft thresholding of the weight matrices that a step has moved, by its learning rate.

    It is the proximal operator of `strength * |w|` (ISTA; Parikh and Boyd 2014, section 6.5.2).
    A penalty in the loss would leave small weights in place of zeros, under Adam most of all.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **things: Any) -> None:
        """Shrink what learned in this step; biases, norms and what rests stay."""
        for group in things["optimizer"].param_groups:
            by = group["lr"] * self.strength
            for weight in group["params"]:
                if weight.ndim > 1 and weight.grad is not None:
                    weight.copy_(weight.sign() * (weight.abs() - by).clamp_min(0))


def zero_share(model: nn.Module) -> float:
    """The share of the weights in matrices that learned which are exactly zero."""
    learned = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    zeros: int = sum(int((weight == 0).sum()) for weight in learned)
    total: int = sum(weight.numel() for weight in learned)
    return zeros / max(1, total)
