"""Preference losses on log-probability ratios; the same numbers as TRL's, per example.

Legend: R examples. A ratio is log p(answer) of the model minus that of the reference.
"""

from typing import Literal, get_args

import torch
from torch.nn import functional

from hub_trainer.errors import TrainingError

DpoLossType = Literal["sigmoid", "ipo", "robust"]
KtoLossType = Literal["kto", "apo_zero_unpaired"]


def dpo_losses(
    chosen_ratios: torch.Tensor,
    rejected_ratios: torch.Tensor,
    *,
    loss_type: DpoLossType,
    beta: float,
    label_smoothing: float,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """(R,) losses; `lengths` (R, 2) are the learned tokens of chosen and rejected, for ipo."""
    margins = chosen_ratios - rejected_ratios
    if loss_type == "ipo":
        per_token = chosen_ratios / lengths[:, 0] - rejected_ratios / lengths[:, 1]
        return (per_token - 1 / (2 * beta)) ** 2
    right, flipped = functional.logsigmoid(beta * margins), functional.logsigmoid(-beta * margins)
    if loss_type == "sigmoid":
        return -right
    smoothed = (1 - label_smoothing) * right - label_smoothing * flipped
    return -smoothed / (1 - 2 * label_smoothing)


def kto_losses(
    ratios: torch.Tensor,
    desirable: torch.Tensor,
    kl: torch.Tensor,
    *,
    loss_type: KtoLossType,
    beta: float,
    weights: tuple[float, float],
) -> torch.Tensor:
    """(R,) losses; `weights` are those of desirable and undesirable answers."""
    zero = kl if loss_type == "kto" else torch.zeros_like(kl)
    gained = beta * (ratios - zero)
    losses = 1 - functional.sigmoid(torch.where(desirable, gained, -gained))
    return losses * torch.where(desirable, weights[0], weights[1]).to(losses.dtype)


def class_weights(num_desirable: float, num_undesirable: float) -> tuple[float, float]:
    """Weights of desirable and undesirable answers: equal sums for both, and none is below 1."""
    assert num_desirable > 0
    assert num_undesirable > 0
    ratio = num_undesirable / num_desirable
    return (ratio, 1.0) if ratio > 1 else (1.0, 1 / ratio)


def check_loss(loss_type: str, *, beta: float, label_smoothing: float) -> None:
    """Refuse a setting that is wrong or would change nothing."""
    known = [*get_args(DpoLossType), *get_args(KtoLossType)]
    problem = None
    if loss_type not in known:
        problem = ("loss_type", loss_type, f"use one of {', '.join(known)}")
    elif not beta > 0:
        problem = ("beta", str(beta), "use a number above 0, for instance 0.1")
    elif loss_type == "robust" and not 0 < label_smoothing < 0.5:
        what = "for robust, use the share of flipped preferences: above 0 and below 0.5"
        problem = ("label_smoothing", str(label_smoothing), what)
    elif loss_type != "robust" and label_smoothing:
        what = f"remove it: it changes nothing in {loss_type}; robust uses it"
        problem = ("label_smoothing", str(label_smoothing), what)
    if problem is not None:
        where, got, do = problem
        raise TrainingError(
            "The loss is not set up right.", where=f"train.language.{where}", got=got, do=do
        )
