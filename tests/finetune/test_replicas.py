"""Copies of weights on several processes: a difference of one bit stops the run."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.replicas import assert_same, fingerprint
from tests.finetune.processes import together

CPU = torch.device("cpu")


def test_fingerprint_when_a_bit_or_a_place_differs_then_so_does_it() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        tensor = torch.arange(1, 8).to(dtype)
        swapped = tensor[[1, 0, 2, 3, 4, 5, 6]]
        assert fingerprint(tensor) == fingerprint(tensor.clone())
        assert fingerprint(tensor) != fingerprint(swapped)
        assert fingerprint(tensor) != fingerprint(tensor[:-1])
    assert fingerprint(torch.tensor([0.0])) != fingerprint(torch.tensor([-0.0]))
    assert fingerprint(torch.zeros(3)) != fingerprint(torch.zeros(4))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).requires_grad_(False))


def told(model: nn.Module, *, frozen: bool = False) -> str:
    try:
        assert_same(model, CPU, when="step 7", frozen=frozen)
    except TrainingError as error:
        return str(error)
    return ""


def nudge(parameter: Any, rank: int, odd: int) -> None:
    with torch.no_grad():
        if rank == odd:
            parameter.view(-1)[-1] += 1e-7


def compared() -> dict[str, str]:
    torch.distributed.init_process_group("gloo")
    rank, found = torch.distributed.get_rank(), {}
    found["same"] = told(net(), frozen=True)
    for name in ("0.bias", "1.running_mean", "2.weight"):
        model = net()
        nudge(model.state_dict(keep_vars=True)[name], rank, 3)
        found[name] = told(model, frozen=True)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    hybrid = fully_shard(net(), mesh=mesh)
    found["hybrid"] = told(hybrid)
    # What was put on after splitting is in no exchange of gradients.
    hybrid.adapter = nn.Parameter(torch.ones(3) + rank)
    found["adapter"] = told(hybrid)
    del hybrid.adapter
    nudge(hybrid[0].weight.to_local(), rank, 2)
    found["copy"] = told(hybrid)
    return found


def test_copies_when_one_process_holds_another_then_all_of_them_stop(tmp_path: Path) -> None:
    found = together(4, compared, tmp_path)
    for one in found:
        assert not one["same"]
        assert not one["hybrid"]
    for name in ("0.bias", "1.running_mean", "2.weight", "adapter"):
        for one in found:
            assert "do not hold the same weights" in one[name]
            assert "step 7" in one[name]
            assert f"the first is {name}" in one[name]
    # Both copies of the first shard are wrong or none is; the others hear of it.
    assert ["the first is 0.weight" in one["copy"] for one in found] == [True, False, True, False]
    assert all("1 differ" in one["copy"] for one in found)
