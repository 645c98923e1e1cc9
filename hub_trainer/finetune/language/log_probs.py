"""Log-probabilities of the tokens that are learned, without the logits of all of them at once.

Legend: N learned tokens, D hidden size, V vocabulary, C rows of a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

CHUNK_ELEMENTS = 2**22
"""Logits in memory at a time."""


@dataclass(frozen=True)
class LogitShape:
    """What a model does to its logits after the output layer."""

    scale: float = 1.0
    softcap: float | None = None


@dataclass(frozen=True)
class Head:
    """The output layer of a model."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    shape: LogitShape


def token_log_probs(hidden: torch.Tensor, head: Head, targets: torch.Tensor) -> torch.Tensor:
    """(N, D) hidden states and (N,) tokens to (N,) log-probabilities in float32 or better."""
    device = hidden.device.type
    weight = head.weight
    if torch.is_autocast_enabled(device):
        low = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(low), weight.to(low)
    with torch.autocast(device, enabled=False):
        found: torch.Tensor = _TokenLogProbs.apply(
            hidden.to(weight.dtype), weight, head.bias, targets, head.shape
        )
        return found


class _TokenLogProbs(torch.autograd.Function):
    """Chunk by chunk; with a frozen head the gradient is made on the way and nothing twice."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        shape: LogitShape,
    ) -> torch.Tensor:
        ctx.head_learns = any(ctx.needs_input_grad[1:3])
        ahead = ctx.needs_input_grad[0] and not ctx.head_learns
        found = hidden.new_empty(len(targets), dtype=_exact(hidden))
        slopes = torch.empty_like(hidden) if ahead else None
        for rows in _chunks(len(targets), len(weight)):
            logits = _logits(hidden[rows], weight, bias)
            log_probs, cap_slope = _log_softmax(logits, shape)
            found[rows] = log_probs.gather(1, targets[rows, None])[:, 0]
            if slopes is not None:
                up = _d_logits(log_probs, targets[rows], cap_slope, shape)
                slopes[rows] = up.to(weight.dtype) @ weight
        ctx.shape = shape
        saved = (hidden, weight, bias, targets) if ctx.head_learns else (slopes,)
        ctx.save_for_backward(*saved)
        return found

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        if not ctx.head_learns:
            (slopes,) = ctx.saved_tensors
            return (slopes * grad[:, None]).to(slopes.dtype), None, None, None, None
        hidden, weight, bias, targets = ctx.saved_tensors
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight, dtype=_exact(weight))
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=_exact(bias))
        for rows in _chunks(len(targets), len(weight)):
            log_probs, cap_slope = _log_softmax(_logits(hidden[rows], weight, bias), ctx.shape)
            up = _d_logits(log_probs, targets[rows], cap_slope, ctx.shape) * grad[rows, None]
            if d_bias is not None:
                d_bias += up.sum(0)
            up = up.to(weight.dtype)
            d_hidden[rows] = up @ weight
            d_weight += up.T @ hidden[rows]
        d_bias = None if d_bias is None else d_bias.to(bias.dtype)
        return d_hidden, d_weight.to(weight.dtype), d_bias, None, None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return nn.functional.linear(hidden, weight, None if bias is None else bias.to(weight.dtype))


def _log_softmax(
    logits: torch.Tensor, shape: LogitShape
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(C, V) log-probabilities, and the slope of the soft cap where there is one."""
    exact, slope = _exact(logits), None
    if shape.scale != 1.0 or shape.softcap is not None:
        logits = logits.to(exact) * shape.scale
    if shape.softcap is not None:
        bent = torch.tanh(logits / shape.softcap)
        logits, slope = bent * shape.softcap, 1 - bent**2
    return torch.log_softmax(logits, dim=-1, dtype=exact), slope


def _d_logits(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    cap_slope: torch.Tensor | None,
    shape: LogitShape,
) -> torch.Tensor:
    """(C, V) derivative of each target's log-probability; it overwrites the log-probabilities."""
    up = log_probs.exp_().neg_()
    up.scatter_add_(1, targets[:, None], up.new_ones(len(targets), 1))
    if cap_slope is not None:
        up.mul_(cap_slope)
    return up.mul_(shape.scale) if shape.scale != 1.0 else up


def _chunks(num_rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(CHUNK_ELEMENTS // vocabulary, 1)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def _exact(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
