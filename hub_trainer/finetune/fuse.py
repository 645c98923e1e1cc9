"""Checkpoints of a run as one model, kept where that is better on the validation rows.

Every process reads the same files and sees the same figures, so all of them decide alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.checkpoints import PREFIX, Checkpoint, verified
from hub_trainer.finetune.fuse_adapters import ADAPTER_METHODS, fused_adapters
from hub_trainer.finetune.methods import trainable_state
from hub_trainer.finetune.plan import Fuse
from hub_trainer.finetune.trained_weights import WEIGHTS
from hub_trainer.finetune.trainer import FitTrainer

Weights = Mapping[str, torch.Tensor]


def fuse_checkpoints(trainer: FitTrainer, fuse: Fuse) -> dict[str, Any]:
    """Put the best of the checkpoints and their soup into the model; says what each part gave.

    A uniform soup is the mean of all. A greedy one begins with the best checkpoint and takes in
    another, best first, where the mean is then no worse. Adapters of all are joined by their own
    rules, and what learned beside them is averaged.
    """
    parts = [(one, load_file(one.path / WEIGHTS)) for one in _checkpoints(trainer)]
    if len(parts) < 2:
        raise TrainingError(
            "There are no two checkpoints to make a soup of.",
            where="train.fuse",
            got=f"{len(parts)} in {trainer.run.checkpoints}",
            do="train for more epochs, or remove train.fuse",
        )
    scored = [(_score(trainer, weights), one.step, weights) for one, weights in parts]
    scored.sort(key=lambda part: part[0], reverse=True)  # of equals the earlier one stays first
    everything = [weights for _, _, weights in scored]
    taken = _greedy(trainer, scored) if fuse.method == "greedy_soup" else everything
    soup = mean_of(taken)
    if fuse.method in ADAPTER_METHODS:
        assert fuse.density is not None
        soup |= fused_adapters(
            trainer.model, taken, fuse.method, density=fuse.density, seed=trainer.plan.seed
        )
    score, best = _score(trainer, soup), scored[0]
    is_kept = score > best[0]
    put_in(trainer.model, soup if is_kept else best[2])
    sign = 1 if trainer.args.greater_is_better else -1
    return {
        "method": fuse.method,
        **({"density": fuse.density} if fuse.method in ADAPTER_METHODS else {}),
        "metric": str(trainer.args.metric_for_best_model).removeprefix("eval_"),
        "parts": [
            {"step": step, "score": sign * value, "taken": any(weights is one for one in taken)}
            for value, step, weights in scored
        ],
        "score": sign * score,
        "kept": is_kept,
    }


def mean_of(parts: Sequence[Weights]) -> dict[str, torch.Tensor]:
    """The mean of each tensor in float32; whole numbers, as counts of batches, of the first."""
    first = parts[0]
    return {
        name: torch.stack([part[name].float() for part in parts]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


@torch.no_grad()
def put_in(model: torch.nn.Module, weights: Weights) -> None:
    """Write weights into the parameters that training changes."""
    for name, tensor in trainable_state(model).items():
        tensor.copy_(weights[name])


def _greedy(trainer: FitTrainer, scored: Sequence[tuple[float, int, Weights]]) -> list[Weights]:
    best, _, first = scored[0]
    taken = [first]
    for _, _, weights in scored[1:]:
        score = _score(trainer, mean_of([*taken, weights]))
        if score >= best:
            best, taken = score, [*taken, weights]
    return taken


def _score(trainer: FitTrainer, weights: Weights) -> float:
    """The figure that chooses checkpoints, turned so that more is better."""
    put_in(trainer.model, weights)
    name = f"eval_{str(trainer.args.metric_for_best_model).removeprefix('eval_')}"
    metrics = trainer.evaluation_loop(trainer.get_eval_dataloader(), "soup").metrics
    value = float(metrics[name])
    return value if trainer.args.greater_is_better else -value


def _checkpoints(trainer: FitTrainer) -> list[Checkpoint]:
    """Those of this run that are on the disk, in order."""
    folders = sorted(trainer.run.checkpoints.glob(f"{PREFIX}*"), key=_step_of)
    found = [one for folder in folders if (one := verified(folder)) is not None]
    return [one for one in found if one.run_digest == trainer.run.digest]


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))
