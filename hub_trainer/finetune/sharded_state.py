"""State of a split model on disk: each process writes its part, any number of them reads it.

Weights that learn and what the optimizer holds of them; frozen weights are never written.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.methods import trainable_state
from hub_trainer.finetune.sharding import rest

FOLDER = "sharded"
SCHEDULE = "schedule.json"
WEIGHT, MOMENT = "weight.", "optimizer."


def save_sharded(folder: Path, model: nn.Module, optimizer: Any) -> None:
    """Called by every process."""
    state = _weights(model) | _moments(model, optimizer)
    with _as_raised():
        dcp.save(state, checkpoint_id=folder / FOLDER)


def load_weights(folder: Path, model: nn.Module) -> None:
    """Put the weights into the parameters that learn, exactly those."""
    _load(_weights(model), folder, prefix=WEIGHT)


def load_optimizer(folder: Path, model: nn.Module, optimizer: Any) -> None:
    """Put what the optimizer held back into it."""
    _make_moments(optimizer)
    _load(_moments(model, optimizer), folder, prefix=MOMENT)


def save_schedule(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """The settings of the optimizer's groups and the state of the learning rate, by one process."""
    content = {"groups": _groups(optimizer), "scheduler": scheduler.state_dict()}
    (folder / SCHEDULE).write_text(json.dumps(content), encoding="utf-8")


def load_schedule(folder: Path, optimizer: Any, scheduler: Any) -> None:
    """Back as it was saved."""
    content = json.loads((folder / SCHEDULE).read_text(encoding="utf-8"))
    for group, saved in zip(optimizer.param_groups, content["groups"], strict=True):
        group |= {key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()}
    scheduler.load_state_dict(content["scheduler"])


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    rest(model)
    return {WEIGHT + name: tensor for name, tensor in trainable_state(model).items()}


def _moments(model: nn.Module, optimizer: Any) -> dict[str, torch.Tensor]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{MOMENT}{names[id(p)]}.{key}": value
        for p, held in optimizer.state.items()
        for key, value in held.items()
        if isinstance(value, torch.Tensor)
    }


def _make_moments(optimizer: Any) -> None:
    """What an optimizer makes in its first step, by a step that changes nothing."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _load(state: dict[str, torch.Tensor], folder: Path, *, prefix: str) -> None:
    """Raises TrainingError where the names on disk are others."""
    reader = dcp.FileSystemReader(folder / FOLDER)
    saved = {name for name in reader.read_metadata().state_dict_metadata if name.startswith(prefix)}
    odd = sorted(saved ^ set(state))
    if odd:
        raise TrainingError(
            "The checkpoint is of another model or another method.",
            where=str(folder / FOLDER),
            got=f"{len(odd)} names differ, the first is {odd[0].removeprefix(prefix)}",
            do="remove this folder to train from the start",
        )
    with _as_raised():
        dcp.load(state, storage_reader=reader)


@contextmanager
def _as_raised() -> Iterator[None]:
    """What went wrong on the first process where something did, as an exception of its own kind.

    torch wraps it in a BaseException, which passes whoever looks for a full disk.
    """
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error
