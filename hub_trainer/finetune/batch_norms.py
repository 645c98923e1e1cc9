"""Batch norms over all processes, on any backend: several processes then learn as one does.

torch's SyncBatchNorm needs a GPU. Statistics are those of one draw of every process; draws that are
accumulated are not seen together, as on one process.

Legend: B examples, C channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from hub_trainer.finetune.forwards import replaced_forwards


@dataclass
class SharedNorms:
    """The batch norms of a model that learns in several processes."""

    counted: bool = True
    """Whether the rows of this process's next forward pass count; a filler's do not."""


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[SharedNorms]:
    """Within, batch norms that learn take their statistics from the rows of all processes."""
    shared = SharedNorms()

    def forward(module: Any, x: torch.Tensor) -> torch.Tensor:
        if not module.training:
            normed: torch.Tensor = type(module).forward(module, x)
            return normed
        return _forward(module, x, counted=shared.counted)

    with replaced_forwards(model, _is_batch_norm, forward):
        yield shared


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)


def _forward(module: Any, x: torch.Tensor, *, counted: bool) -> torch.Tensor:
    """(B, C, ...) normed over all but C and over all processes."""
    dims = [d for d in range(x.ndim) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
    own = x.numel() / x.shape[1] if counted else 0.0
    exact = torch.promote_types(x.dtype, torch.float32)
    wide, sums = x.to(exact), torch.float64 if x.device.type != "mps" else exact
    count = _summed(torch.tensor(own, dtype=sums, device=x.device))
    share = float(counted)
    mean = _summed(wide.sum(dims, dtype=sums) * share) / count
    centred = wide - mean.to(exact).view(shape)
    variance = _summed(centred.square().sum(dims, dtype=sums) * share) / count
    scale = torch.rsqrt(variance + module.eps).to(exact)
    if module.track_running_stats:
        _track(module, mean.detach(), variance.detach(), count)
    if module.affine:
        scale = scale * module.weight
    normed = centred * scale.view(shape)
    if module.affine:
        normed = normed + module.bias.view(shape)
    return normed.to(x.dtype)


@torch.no_grad()
def _track(module: Any, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
    module.num_batches_tracked.add_(1)
    momentum = module.momentum
    if momentum is None:
        momentum = 1 / float(module.num_batches_tracked)
    unbiased = variance * count / (count - 1).clamp_min(1)
    for running, found in ((module.running_mean, mean), (module.running_var, unbiased)):
        running.lerp_(found.to(running.dtype), momentum)


def _summed(own: torch.Tensor) -> torch.Tensor:
    """The sum over processes, in the gradient too."""
    summed: torch.Tensor = _Summed.apply(own)
    return summed


class _Summed(torch.autograd.Function):
    """Every process's loss depends on every process's part."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        del ctx
        summed = own.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        del ctx
        summed = grad.contiguous().clone()
        distributed.all_reduce(summed)
        return summed
