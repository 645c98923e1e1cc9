"""LoRA layers computed in the dtype of their base and in one step, while they are trained.

The adapter stays PEFT's in float32; only how its layers multiply is replaced for a time. PEFT
casts the inputs to float32, multiplies there, and passes four more times over the outputs.

Legend: N tokens, I inputs, O outputs, R rank.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from hub_trainer.finetune.forwards import replaced_forwards


def fast_adapters(model: nn.Module) -> AbstractContextManager[int]:
    """Replace the forward of each plain LoRA layer, yield how many, and put all back after."""
    return replaced_forwards(model, _is_plain, _forward)


def _is_plain(module: nn.Module) -> bool:
    """One adapter without dropout, bias or variant over a linear layer, quantized or not."""
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or len(module.lora_A) != 1:
        return False
    (name,) = module.lora_A
    factors = (module.lora_A[name], module.lora_B[name])
    return bool(
        all(isinstance(factor, nn.Linear) and factor.bias is None for factor in factors)
        and isinstance(module.lora_dropout[name], nn.Identity)
        and name not in module.lora_variant
        and isinstance(module.get_base_layer(), nn.Linear)
        and not getattr(module, "fan_in_fan_out", False)
    )


def _forward(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    base = layer.base_layer
    (name,) = layer.lora_A
    if layer.disable_adapters or layer.merged or name not in layer.active_adapters:
        result: torch.Tensor = base(x, *args, **kwargs)
        return result
    down, up, scaling = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    # Linear4bit and Linear8bitLt are nn.Linear with another weight: only their own code reads it.
    if type(base) is nn.Linear and not base.weight.requires_grad and _is_in(x, base.weight.dtype):
        added: torch.Tensor = _Adapted.apply(x, base.weight, base.bias, down, up, scaling)
        return added
    result = base(x, *args, **kwargs)
    low = result.dtype
    middle = nn.functional.linear(x.to(low), down.to(low))
    return result + nn.functional.linear(middle, up.to(low)) * scaling


def _is_in(x: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether the layer is computed in this dtype, be there autocast or not."""
    device = x.device.type
    cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return bool(x.dtype == cast == dtype)


class _Adapted(torch.autograd.Function):
    """x W' + bias + scaling (x A') B', with W frozen."""

    @staticmethod
    def forward(  # noqa: PLR0913
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (N, I)
        low_down, low_up = down.to(weight.dtype), up.to(weight.dtype)
        middle = rows @ low_down.T  # (N, R)
        out = nn.functional.linear(rows, weight, bias)  # (N, O)
        out.addmm_(middle, low_up.T, alpha=scaling)
        ctx.save_for_backward(rows, middle, weight, down, up)
        ctx.scaling = scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        rows, middle, weight, down, up = ctx.saved_tensors
        given = grad.reshape(-1, grad.shape[-1])  # (N, O)
        d_middle = (given @ up.to(weight.dtype)).mul_(ctx.scaling)  # (N, R)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = given @ weight
            d_x.addmm_(d_middle, down.to(weight.dtype))
            d_x = d_x.view(*grad.shape[:-1], -1)
        d_down = (d_middle.T @ rows).to(down.dtype)
        d_up = (given.T @ middle).mul_(ctx.scaling).to(up.dtype)
        return d_x, None, None, d_down, d_up, None
