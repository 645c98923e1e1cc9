"""Models split over processes by FSDP2: by their own blocks, and put together again at the end.

What is split is the model as it is trained, its adapters on. A weight that is read outside a
forward pass is one process's part of it.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.methods import block_lists, open_stage
from hub_trainer.ranks import Sharding

Item = TypeVar("Item")


def is_split(model: nn.Module) -> bool:
    """Whether FSDP holds the model in parts."""
    return isinstance(model, FSDPModule)


def split(
    model: nn.Module, sharding: Sharding, device: torch.device, *, compute: torch.dtype | None
) -> None:
    """Split a model in place, each of its blocks by itself and what is beside them together.

    What is beside them, as embeddings and the output layer that may share their weights, stays
    whole from the forward to the backward pass. `compute` is the dtype that weights are gathered
    in; None is their own. Weights in few bits stay whole on every device.
    """
    if sharding.activation_checkpointing:
        _recompute_activations(model)
    mesh = _mesh(sharding, device)
    cast = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    options: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": cast if compute else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy() if sharding.offload else OffloadPolicy(),
        "ignored_params": {p for p in model.parameters() if not p.is_floating_point()},
    }
    for block in units_of(model):
        fully_shard(block, reshard_after_forward=sharding.reshard_after_forward, **options)
    fully_shard(model, reshard_after_forward=False, **options)
    assert_split(model, sharding)


def units_of(model: nn.Module) -> list[nn.Module]:
    """All repeated blocks, of encoder and decoder alike. Raises TrainingError if there are none."""
    listed = [block for blocks in block_lists(model) for one in blocks for block in open_stage(one)]
    found = {id(block): block for block in listed}
    inside = {id(part) for block in listed for part in block.modules() if part is not block}
    units = [block for key, block in found.items() if key not in inside]
    if not units:
        raise TrainingError(
            "This model has no repeated blocks to be split by.",
            got=type(model).__name__,
            do="use accelerate_configs/ddp.yaml: split as one piece it would be whole on each"
            " device all the time",
        )
    return units


def assert_split(model: nn.Module, sharding: Sharding) -> None:
    """Stop unless every weight that learns is in as many parts as were asked for."""
    wanted = (sharding.replicas, sharding.shards) if sharding.replicas > 1 else (sharding.shards,)
    odd = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and not (isinstance(parameter, DTensor) and tuple(parameter.device_mesh.shape) == wanted)
    ]
    if odd:
        raise TrainingError(
            "The model is not split as it was asked for.",
            where=odd[0],
            got=f"{len(odd)} weights that learn are not in {' x '.join(map(str, wanted))} parts",
            do="say in an issue which model this is, and use accelerate_configs/ddp.yaml",
        )


def skeleton(model: nn.Module) -> nn.Module:
    """The model without memory for its parameters, for `put_together`; those that stay whole are
    shared.
    """
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        if p.is_floating_point()
        else p
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


@torch.no_grad()
def put_together(model: nn.Module, empty: nn.Module) -> nn.Module:
    """The skeleton filled with the whole weights of a split model, in the CPU's memory.

    Where some weights were never split, with them.
    """
    rest(model)
    parameters = dict(model.named_parameters())
    places = {id(p): name for name, p in empty.named_parameters() if p.is_meta}
    kept = next((p.device for p in empty.parameters() if not p.is_meta), torch.device("cpu"))
    whole: dict[int, nn.Parameter] = {}
    for key, name in places.items():
        parameter = parameters[name]
        full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        whole[key] = nn.Parameter(full.to(kept), requires_grad=parameter.requires_grad)
    for module in empty.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in whole:
                module._parameters[name] = whole[id(parameter)]
    for (_, empty_buffer), (_, buffer) in zip(
        empty.named_buffers(), model.named_buffers(), strict=True
    ):
        empty_buffer.copy_(buffer)
    return empty


def rest(model: nn.Module) -> None:
    """Put the parameters of a split model back in parts: a forward pass alone leaves some whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def evened(items: Sequence[Item], model: nn.Module) -> Iterator[tuple[Item, bool]]:
    """Each item, and the last one again as often as another process has more of them.

    A split model gathers its weights in every forward pass, so that all processes must make as
    many. The flag says whether an item counts.
    """
    missing = 0
    if is_split(model):
        device = next(model.parameters()).device
        most = torch.tensor(len(items), device=device)
        distributed.all_reduce(most, op=distributed.ReduceOp.MAX)
        missing = int(most) - len(items)
    for item in items:
        yield item, True
    for _ in range(missing):
        yield items[-1], False


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as one process alone would have it."""
    found: torch.Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found


def _mesh(sharding: Sharding, device: torch.device) -> DeviceMesh:
    if sharding.replicas == 1:
        return init_device_mesh(device.type, (sharding.shards,), mesh_dim_names=("shard",))
    return init_device_mesh(
        device.type,
        (sharding.replicas, sharding.shards),
        mesh_dim_names=("replicate", "shard"),
    )


def _recompute_activations(model: Any) -> None:
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise TrainingError(
            "The activations of this model cannot be computed again in the backward pass.",
            where="fsdp_activation_checkpointing",
            got=type(model).__name__,
            do="set it to false",
        )
    model.activation_checkpointing_enable({"use_reentrant": False})
