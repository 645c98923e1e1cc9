"""Objective of a language model: SFT, DPO or KTO on packed draws, as the trainer runs it.

Legend: B rows of a draw, R rows of a part, K answers per row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import EvalPrediction

from hub_trainer.finetune.batches import NUM_ROWS, WEIGHT
from hub_trainer.finetune.language.losses import DpoLossType, KtoLossType, dpo_losses, kto_losses
from hub_trainer.finetune.language.packing import Part
from hub_trainer.finetune.language.scoring import answer_log_probs
from hub_trainer.finetune.plan import Batch, Summed
from hub_trainer.finetune.sharding import evened, rest

LossType = Literal["nll"] | DpoLossType | KtoLossType
OF_ROWS = (WEIGHT, "num_learned", "reference", "mismatched_reference", "labels")


@dataclass(frozen=True)
class LanguageObjective:
    """One loss per row, from the log-probabilities of its answers."""

    loss_type: LossType
    beta: float = 0.1
    label_smoothing: float = 0.0
    class_weights: tuple[float, float] = (1.0, 1.0)
    """Weights of desirable and undesirable answers."""

    @property
    def sees_all_draws(self) -> bool:
        """KTO's KL is that of all rows."""
        return self.loss_type == "kto"

    def amounts(self, batch: Batch) -> torch.Tensor:
        """(B,) learned tokens for SFT, one for each preference or rating."""
        learned: torch.Tensor = batch["num_learned"]
        return learned if self.loss_type == "nll" else torch.ones_like(learned)

    def prepare(self, model: nn.Module, draws: Sequence[Batch], summed: Summed) -> None:
        """KTO's KL is of all draws, so the cut into draws and processes changes nothing."""
        if self.loss_type != "kto":
            return
        found = torch.zeros(2, dtype=torch.float64, device=draws[0][WEIGHT].device)
        for draw in draws:
            draw["ratios"] = ratios = self._mismatched_ratios(model, draw)
            if draw[NUM_ROWS]:
                found += torch.stack([ratios.sum(), torch.ones_like(ratios).sum()])
        rest(model)
        total, count = summed(found)
        for draw in draws:
            draw["kl"] = (total / count).clamp_min(0)

    def parts(self, batch: Batch) -> list[Batch]:
        """Each part with what belongs to its rows."""
        return [self._part(part, batch) for part in batch["parts"]]

    def outputs(self, model: nn.Module, part: Batch) -> torch.Tensor:
        """(R, K) log-probabilities."""
        return answer_log_probs(model, part["part"])

    def losses(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(R,) of a part."""
        if self.loss_type == "nll":
            return -outputs[:, 0]
        ratios = outputs - batch["reference"].to(outputs.dtype)
        if self.loss_type in ("kto", "apo_zero_unpaired"):
            kl = batch.get("kl", torch.zeros((), device=outputs.device)).to(outputs.dtype)
            return kto_losses(
                ratios[:, 0],
                batch["labels"],
                kl,
                loss_type=self.loss_type,
                beta=self.beta,
                weights=self.class_weights,
            )
        return dpo_losses(
            ratios[:, 0],
            ratios[:, 1],
            loss_type=self.loss_type,  # type: ignore[arg-type]
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            lengths=self._lengths(batch["part"], outputs),
        )

    def evaluated(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses, and (B, 3): for SFT log-probability, learned tokens, 0; else rewards and KL."""
        device = batch[WEIGHT].device
        losses = torch.zeros(len(batch[WEIGHT]), device=device)
        kept = torch.zeros(len(losses), 3, dtype=torch.float64, device=device)
        if self.loss_type == "kto":
            kept[:, 2] = batch["ratios"]
        for part, counts in evened(self.parts(batch), model):
            members, found = part["part"].members, self.outputs(model, part)
            if not counts:
                continue
            losses[members] = self.losses(found, part).to(losses.dtype)
            if self.loss_type == "nll":
                kept[members, 0] = found[:, 0].double()
                kept[members, 1] = part["num_learned"].double()
            else:
                rewards = self.beta * (found - part["reference"])
                kept[members, : rewards.shape[1]] = rewards.double()
        return losses, kept

    def metrics(self, predicted: EvalPrediction) -> dict[str, float]:
        """Over a whole validation split, from `evaluated`."""
        kept, labels = np.asarray(predicted.predictions), np.asarray(predicted.label_ids)
        if self.loss_type == "nll":
            return {"perplexity": float(np.exp(-kept[:, 0].sum() / kept[:, 1].sum()))}
        if self.loss_type in ("kto", "apo_zero_unpaired"):
            return self._ratings(kept, labels.astype(bool))
        margins = kept[:, 0] - kept[:, 1]
        return {"reward_accuracy": float((margins > 0).mean()), "margin": float(margins.mean())}

    def _ratings(self, kept: NDArray[Any], desirable: NDArray[Any]) -> dict[str, float]:
        rewards = kept[:, 0]
        figures = {
            "desirable_reward": rewards[desirable],
            "undesirable_reward": rewards[~desirable],
        }
        found = {name: float(values.mean()) for name, values in figures.items() if len(values)}
        if self.loss_type == "kto":
            # Of all rows at once: the loss by draws would depend on how they are cut.
            found["kl"] = max(float(kept[:, 2].mean()), 0.0)
        return found

    def _part(self, part: Part, batch: Mapping[str, Any]) -> Batch:
        rows = {name: batch[name][part.members] for name in OF_ROWS if name in batch}
        return {**rows, **{k: batch[k] for k in ("kl",) if k in batch}, "part": part}

    @torch.no_grad()
    def _mismatched_ratios(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """(B,) of the answers to other prompts."""
        ratios = -batch["mismatched_reference"]
        for part, counts in evened(batch["mismatched"], model):
            found = answer_log_probs(model, part)[:, 0]
            if counts:
                ratios[part.members] += found
        return ratios

    def _lengths(self, part: Part, outputs: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros_like(outputs).reshape(-1)
        return counts.index_add(
            0, part.places, torch.ones_like(part.places, dtype=counts.dtype)
        ).view_as(outputs)
