"""Mixup: a row is learned together with another, each by its share (Zhang et al. 2018).

Which other row, and by what share, depends on the row, the epoch and the seed alone, so the cut
into draws and processes changes nothing. Numbers (pixels, spectra, samples, frozen features) are
mixed as they are; texts are mixed as the vectors of their pieces, which the model looks up.
Legend: B rows of a draw, T pieces.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hub_trainer.errors import Problem
from hub_trainer.finetune.evaluation import keep_enough, model_inputs
from hub_trainer.finetune.plan import Batch, DrawByDraw, FitData, Objective, RowSource
from hub_trainer.recipe import TrainSection

PARTNER = "mixup_partner"
SHARE = "mixup_share"
"""(B,) of a row itself in what the model sees; the rest is its partner's."""
LABEL_SHARE = "mixup_label_share"
"""(B,) of a row itself in the loss: its share by its weight."""
PARTNER_LABELS = "mixup_labels"
PARTNER_IDS = "mixup_input_ids"
OURS = (SHARE, LABEL_SHARE, PARTNER_LABELS, PARTNER_IDS)


@dataclass(frozen=True)
class MixedRows:
    """Training rows, each with another and the share by which it counts itself."""

    source: RowSource
    alpha: float

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        own = dict(self.source[index])
        # The engine has seeded the global state for this row of this epoch.
        rng = np.random.default_rng(random.getrandbits(64))
        share = float(rng.beta(self.alpha, self.alpha))
        other = dict(self.source[int(rng.integers(len(self.source)))])
        weights = [_weight(own.pop("weight", None)), _weight(other.pop("weight", None))]
        counted = share * weights[0] + (1 - share) * weights[1]
        by_label = share * weights[0] / counted if counted else share
        return {**own, "weight": counted, PARTNER: other, SHARE: share, LABEL_SHARE: by_label}


@dataclass(frozen=True)
class MixedCollate:
    """The task's collate of rows and their partners at once, so that both have one shape."""

    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]

    def __call__(self, rows: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Mixed tensors; rows that have no partner, as in an evaluation, are left as they are."""
        if PARTNER not in rows[0]:
            return self.collate(rows)
        own = [{k: v for k, v in row.items() if k not in (PARTNER, *OURS)} for row in rows]
        both = self.collate([*own, *(row[PARTNER] for row in rows)])
        shares = torch.tensor([row[SHARE] for row in rows])
        batch: Batch = {
            SHARE: shares,
            LABEL_SHARE: torch.tensor([row[LABEL_SHARE] for row in rows]),
        }
        for key, value in both.items():
            if isinstance(value, torch.Tensor):
                first, second = value.split(len(rows))
                batch |= _mixed(key, first, second, shares)
        counted = [key for key, value in both.items() if not isinstance(value, torch.Tensor)]
        plain = self.collate(own) if counted else {}
        return batch | {key: plain[key] for key in counted}


def _mixed(
    key: str, own: torch.Tensor, other: torch.Tensor, shares: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What becomes of one tensor of (B, ...) rows and one of their partners."""
    if key == "labels":
        return {key: own, PARTNER_LABELS: other}
    if key.endswith("mask"):
        return {key: torch.maximum(own, other)}
    if own.is_floating_point():
        share = shares.to(own.dtype).reshape(-1, *[1] * (own.ndim - 1))
        return {key: share * own + (1 - share) * other}
    return {key: own, PARTNER_IDS: other} if key == "input_ids" else {key: own}


@dataclass(frozen=True)
class MixupObjective(DrawByDraw):
    """The loss against both labels of a mixed row, each by its share."""

    inner: Objective

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) as without mixup: both rows of a mixture have as many."""
        return self.inner.amounts(batch)

    def outputs(self, model: nn.Module, part: Batch) -> Any:
        """The model's outputs of what is mixed already, or is while it is looked up."""
        inputs = {k: v for k, v in model_inputs(part, with_labels=False).items() if k not in OURS}
        if PARTNER_IDS not in part:
            return model(**inputs)
        with mixed_embeddings(model, part[PARTNER_IDS], part[SHARE]):
            return model(**inputs)

    def losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """(B,)."""
        losses = self.inner.losses(outputs, batch)
        if PARTNER_LABELS not in batch:
            return losses
        other = self.inner.losses(outputs, batch | {"labels": batch[PARTNER_LABELS]})
        share = batch[LABEL_SHARE]
        return share * losses + (1 - share) * other

    def evaluated(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) losses and the logits, of rows that are not mixed."""
        outputs = self.outputs(model, batch)
        return self.losses(outputs, batch), keep_enough(outputs.logits)


@contextmanager
def mixed_embeddings(
    model: nn.Module, partner_ids: torch.Tensor, shares: torch.Tensor
) -> Iterator[None]:
    """Within, (B, T) pieces are looked up as (B, T, D) mixtures with those of their partners.

    It happens inside the model's own forward, so any wrapper around the model sees it.
    """
    whole: Any = getattr(model, "module", model)
    layer = whole.get_input_embeddings()

    def mix(module: Any, args: Any, found: torch.Tensor) -> torch.Tensor:
        del args
        share = shares.to(found.dtype)[:, None, None]
        return share * found + (1 - share) * module.forward(partner_ids)

    handle = layer.register_forward_hook(mix)
    try:
        yield
    finally:
        handle.remove()


def mixed_data(data: FitData, alpha: float) -> FitData:
    """Rows that are mixed anew in every epoch; those of validation stay as they are."""
    return replace(
        data,
        train=MixedRows(data.train, alpha),
        collate=MixedCollate(data.collate),
        augmented=True,
    )


def mixup_problems(train: TrainSection, model: Any) -> list[Problem]:
    """Models whose texts are looked up twice: their second look is not that of a mixture."""
    reads_text = getattr(model, "main_input_name", "") == "input_ids"
    if train.mixup is None or not (reads_text and model.config.is_encoder_decoder):
        return []
    kind = type(model.config).__name__.removesuffix("Config")
    text = f"train.mixup: texts of {kind}, which both reads and writes, are not mixed; remove it"
    return [Problem("train.mixup", text)]


def mixup_note(alpha: float) -> str:
    """How rows were mixed."""
    return (
        f"each row was mixed with another by a share from Beta({alpha:g}, {alpha:g}), train.mixup"
    )


def _weight(weight: Any) -> float:
    return 1.0 if weight is None else float(weight)
