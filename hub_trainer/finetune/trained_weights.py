"""Weights that training changed, read back from a checkpoint into the model."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.methods import trainable_state
from hub_trainer.finetune.sharded_state import load_weights
from hub_trainer.finetune.sharding import is_split

WEIGHTS = "trained.safetensors"
"""Their file, of a model that one process holds whole."""


@torch.no_grad()
def load_trained(model: nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint's weights into the parameters that training changes, exactly those."""
    if (checkpoint / WEIGHTS).exists() == is_split(model):
        raise TrainingError(
            "The checkpoint is of a model that was split over processes, or the model now is.",
            where=str(checkpoint),
            do="go on with the accelerate file that it was begun with; num_processes may differ",
        )
    if is_split(model):
        load_weights(checkpoint, model)
        return
    saved = load_file(checkpoint / WEIGHTS)
    state = trainable_state(model)
    if saved.keys() != state.keys():
        odd = sorted(saved.keys() ^ state.keys())
        raise TrainingError(
            "The checkpoint is of another model or another method.",
            where=str(checkpoint / WEIGHTS),
            got=f"{len(odd)} names differ, the first is {odd[0]}",
            do="remove this folder to train from the start",
        )
    for name, tensor in state.items():
        tensor.copy_(saved[name])
