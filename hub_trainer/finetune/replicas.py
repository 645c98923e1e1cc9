"""What several processes hold in common, compared: copies that drift apart stop the run.

Adapters that were put on after splitting, heads in no exchange of gradients and bases that differ
from disk to disk train on without a sign: each process learns its own, and one is saved.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.methods import trainable_state

EVERY_STEPS = 100
SAMPLED = 2**20
"""Elements of a frozen weight that are compared."""
CHUNK = 2**22
ODD = 0x9E3779B1


def assert_same(model: nn.Module, device: torch.device, *, when: str, frozen: bool = False) -> None:
    """Stop every process if any holds another copy than another; called by all of them."""
    groups: dict[Any, dict[str, torch.Tensor]] = {}
    for name, tensor, group in _copies(model, frozen=frozen):
        groups.setdefault(group, {})[name] = fingerprint(tensor).to(device)
    odd: list[str] = []
    for group, found in groups.items():
        odd += _different(found, group)
    flag = torch.tensor(len(odd), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    if flag > 0:
        raise TrainingError(
            "The processes do not hold the same weights.",
            where=when,
            got=f"{int(flag)} differ" + (f", the first is {odd[0]}" if odd else ""),
            do="remove the checkpoints of this run and start it again; if it stops again, say so in"
            " an issue: each process would have learned a model of its own",
        )


def fingerprint(tensor: torch.Tensor) -> torch.Tensor:
    """A number by the bits of a tensor and their places."""
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    bits = content.view(torch.int32) if content.numel() % 4 == 0 else content
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for start in range(0, bits.numel(), CHUNK):
        part = bits[start : start + CHUNK].to(torch.int64)
        places = torch.arange(start, start + len(part), device=part.device)
        total += ((part + 1) * (places * ODD + 1)).sum()
    return total


def _copies(model: nn.Module, *, frozen: bool) -> Iterator[tuple[str, torch.Tensor, Any]]:
    """Each tensor that others hold too, and the group of those (None: all processes)."""
    for name, tensor in trainable_state(model).items():
        if not isinstance(tensor, DTensor):
            yield name, tensor, None
        elif tensor.device_mesh.ndim == 2:
            yield name, tensor.to_local(), tensor.device_mesh.get_group(0)
    for name, parameter in model.named_parameters():
        if frozen and not parameter.requires_grad and not isinstance(parameter, DTensor):
            step = max(1, parameter.numel() // SAMPLED)
            yield name, parameter.detach().reshape(-1)[::step], None


def _different(found: dict[str, torch.Tensor], group: Any) -> list[str]:
    least = torch.stack(list(found.values()))
    most = least.clone()
    distributed.all_reduce(least, op=distributed.ReduceOp.MIN, group=group)
    distributed.all_reduce(most, op=distributed.ReduceOp.MAX, group=group)
    return [name for name, same in zip(found, (least == most).tolist(), strict=True) if not same]
