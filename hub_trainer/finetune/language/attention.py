"""Exact attention over sequences laid end to end, for any transformers decoder.

On a CPU the blocks are small matrix products: 9 ms where a mask over the whole row takes 83 and
torch's fused kernel, sequence by sequence, 35 (docs/log.md). Elsewhere the fused kernels are used.

Legend: T tokens, H query heads, J key heads, G = H / J, D head size, Q queries and S keys of a
block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

from hub_trainer.finetune.language.sequence_layout import Block, Layout

NAME = "hub_trainer_segments"
KEPT_KEYS = 512
"""Attention weights of a block with up to so many keys are kept for the backward pass; of a larger
one they are computed again, so that memory grows with the length and not with its square."""


@contextmanager
def segment_attention(model: Any) -> Iterator[None]:
    """The model attends by the `layout` it is given, and has its own attention back after."""
    before = model.config._attn_implementation
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(  # noqa: PLR0913  transformers' own interface
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """(1, H, T, D) queries, (1, J, T, D) keys and values to (1, T, H, D)."""
    del module, attention_mask
    odd = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if odd or dropout:
        raise NotImplementedError(f"attention with {', '.join(odd) or 'dropout'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # Rotated in float32 by some models; the backward pass has no autocast to mend that.
        low = torch.get_autocast_dtype(device)
        query, key, value = query.to(low), key.to(low), value.to(low)
    if device == "cpu":
        with torch.autocast(device, enabled=False):
            return _Blocks.apply(query, key, value, layout, sliding_window, scale), None
    return fused(query, key, value, layout, sliding_window, scale), None


def fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    window: int | None,
    scale: float,
) -> torch.Tensor:
    """As `attend`, segment by segment through torch's fused kernels."""
    outputs = []
    for segment in layout.segments:
        own, before = slice(segment.start, segment.end), slice(*_prefix(segment))
        keys = torch.cat([key[:, :, before], key[:, :, own]], dim=2)
        values = torch.cat([value[:, :, before], value[:, :, own]], dim=2)
        mask = None
        if segment.prefix or (window is not None and segment.size > window):
            block = Block(segment, segment.start, segment.end, window)
            mask = layout.bias(block, 1, query)[None]
        found = functional.scaled_dot_product_attention(
            query[:, :, own],
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=True,
        )
        outputs.append(found.transpose(1, 2))
    return torch.cat(outputs, dim=1)


def _prefix(segment: Any) -> tuple[int, int]:
    return segment.prefix_start, segment.prefix_end


class _Blocks(torch.autograd.Function):
    """Softmax attention, one block of queries after another."""

    @staticmethod
    def forward(  # noqa: PLR0913
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: Layout,
        window: int | None,
        scale: float,
    ) -> torch.Tensor:
        _, heads, tokens, size = query.shape
        out = query.new_empty(1, tokens, heads, size)
        keep, kept = any(ctx.needs_input_grad[:3]), []
        for block in layout.blocks(window):
            weights = _weights(query, key, layout, block, scale)
            found = torch.bmm(weights, _seen(value, block))
            out[0, block.start : block.end] = _ungrouped(found, block)
            if keep and block.num_keys <= KEPT_KEYS:
                kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.layout, ctx.window, ctx.scale = layout, window, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        query, key, value, *kept = ctx.saved_tensors
        kept, groups = iter(kept), key.shape[1]
        d_query = torch.empty_like(query.transpose(1, 2))
        exact = torch.promote_types(key.dtype, torch.float32)
        d_key, d_value = (torch.zeros_like(t.transpose(1, 2), dtype=exact) for t in (key, value))
        for block in ctx.layout.blocks(ctx.window):
            if block.num_keys <= KEPT_KEYS:
                weights = next(kept)
            else:
                weights = _weights(query, key, ctx.layout, block, ctx.scale)
            rows = slice(block.start, block.end)
            given = _grouped(grad.transpose(1, 2), block, groups)
            _add(d_value, torch.bmm(weights.transpose(1, 2), given), block)
            d_weights = torch.bmm(given, _seen(value, block).transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_scores.mul_(ctx.scale)
            d_query[0, rows] = _ungrouped(torch.bmm(d_scores, _seen(key, block)), block)
            asked = _grouped(query, block, groups)
            _add(d_key, torch.bmm(d_scores.transpose(1, 2), asked), block)
        gradients = (t.to(query.dtype).transpose(1, 2) for t in (d_query, d_key, d_value))
        return (*gradients, None, None, None)


def _weights(
    query: torch.Tensor, key: torch.Tensor, layout: Layout, block: Block, scale: float
) -> torch.Tensor:
    """(J, G * Q, S) attention weights."""
    asked, seen = _grouped(query, block, key.shape[1]), _seen(key, block)
    bias = layout.bias(block, query.shape[1] // key.shape[1], query)
    return torch.softmax(torch.baddbmm(bias, asked, seen.transpose(1, 2), alpha=scale), dim=-1)


def _grouped(heads: torch.Tensor, block: Block, groups: int) -> torch.Tensor:
    """(1, H, T, D) to (J, G * Q, D): query heads that share a key head side by side."""
    rows = heads[0].unflatten(0, (groups, -1))[:, :, block.start : block.end]
    return rows.reshape(groups, -1, heads.shape[-1])


def _ungrouped(grouped: torch.Tensor, block: Block) -> torch.Tensor:
    """(J, G * Q, D) to (Q, H, D)."""
    num_queries = block.end - block.start
    heads = grouped.unflatten(1, (-1, num_queries)).permute(2, 0, 1, 3)
    return heads.reshape(num_queries, -1, grouped.shape[-1])


def _seen(keys: torch.Tensor, block: Block) -> torch.Tensor:
    """(1, J, T, D) to (J, S, D): the prefix and the segment's own."""
    own = keys[0, :, block.own_start : block.end]
    segment = block.segment
    if not segment.prefix:
        return own
    return torch.cat([keys[0, :, slice(*_prefix(segment))], own], dim=1)


def _add(total: torch.Tensor, grad: torch.Tensor, block: Block) -> None:
    """Gradients of a block's keys (J, S, D) onto those of all (1, T, J, D)."""
    prefix = block.segment.prefix
    rows = grad.transpose(0, 1)
    total[0, block.own_start : block.end] += rows[prefix:]
    if prefix:
        total[0, slice(*_prefix(block.segment))] += rows[:prefix]
