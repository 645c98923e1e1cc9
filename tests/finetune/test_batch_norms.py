"""Batch norms that several processes share: statistics, gradients and training as of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from torch import nn

from hub_trainer.finetune.batch_norms import shared_norms
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from tests.finetune.processes import together
from tests.finetune.tiny import accuracy, image_data, largest_difference, resnet, weights_of

SHAPES = {1: (7, 3), 2: (7, 3, 4, 2), 3: (7, 3, 2, 3, 2)}


def norm_of(dims: int, **options: Any) -> Any:
    torch.manual_seed(0)
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims](3, **options)
    if norm.affine:
        nn.init.uniform_(norm.weight)
    return norm


def rows_of(dims: int) -> torch.Tensor:
    return 5 + torch.randn(SHAPES[dims], generator=torch.Generator().manual_seed(1))


def passed(
    norm: Any, x: torch.Tensor, share: slice, *, weight: float = 1.0
) -> dict[str, torch.Tensor]:
    """Outputs, gradients and running statistics of a forward and a backward pass."""
    slopes = torch.linspace(-1, 2, x.numel()).view_as(x)[share]
    x = x[share].clone().requires_grad_()
    out = norm(x)
    (out * slopes * weight).sum().backward()
    found = {"out": out.detach(), "x": x.grad, **dict(norm.named_buffers())}
    found |= {name: p.grad for name, p in norm.named_parameters()}
    return {name: tensor.float() for name, tensor in found.items() if tensor is not None}


def shared_pass(dims: int, options: dict[str, Any], counted: tuple[bool, ...]) -> Any:
    rank = PartialState(cpu=True).process_index
    norm, shares = norm_of(dims, **options), (slice(0, 2), slice(2, 7), slice(0, 1))
    with shared_norms(norm) as shared:
        shared.counted = counted[rank]
        return passed(norm, rows_of(dims), shares[rank], weight=float(counted[rank]))


@pytest.mark.parametrize(
    ("dims", "options"),
    [(1, {}), (2, {"momentum": None}), (3, {"affine": False, "track_running_stats": False})],
)
def test_norms_when_processes_share_them_then_they_are_those_of_one(
    dims: int, options: dict[str, Any], tmp_path: Path
) -> None:
    expected = passed(norm_of(dims, **options), rows_of(dims), slice(0, 7))
    # The third process has a filler, which weighs nothing.
    first, second, _ = together(3, shared_pass, tmp_path, dims, options, (True, True, False))
    for name in ("out", "x"):
        found = torch.cat([first[name], second[name]])
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=1e-5)
    for name in set(expected) - {"out", "x"}:
        found = first[name] if "running" in name or "num" in name else first[name] + second[name]
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=1e-5)


def test_norms_when_they_rest_then_they_do_as_they_did() -> None:
    norm = norm_of(2).eval()
    expected = norm(rows_of(2))
    with shared_norms(norm):
        assert torch.equal(norm(rows_of(2)), expected)
    assert "forward" not in vars(norm)


def trained(folder: Path, micro: int) -> Any:
    arguments = {"learning_rate": 0.01, "num_train_epochs": 3, "logging_steps": 1}
    arguments |= {"per_device_train_batch_size": micro, "max_grad_norm": 1.0}
    fit = FitPlan("full", arguments, compute_metrics=accuracy, metric_for_best="accuracy")
    model, report = fine_tune(resnet(), image_data(train=61, validation=31), fit, out_dir=folder)
    return weights_of(model), report.history


def test_model_with_batch_norm_when_two_processes_learn_then_it_is_that_of_one(
    tmp_path: Path,
) -> None:
    alone, together_ = (
        trained(tmp_path / "one", 16),
        together(2, trained, tmp_path / "two", tmp_path / "two", 8),
    )
    assert largest_difference(alone[0], together_[0][0]) < 1e-4
    for key in ("loss", "grad_norm", "eval_loss"):
        figures = [[e[key] for e in history if key in e] for history in (alone[1], together_[0][1])]
        assert len(figures[0]) > 2
        np.testing.assert_allclose(*figures, rtol=1e-5)
