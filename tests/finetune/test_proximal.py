"""Proximal steps: weights that are exactly zero, and everything else as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.proximal import ProximalSteps, zero_share
from tests.finetune.tiny import accuracy, bert, text_data

PLAN = FitPlan(
    "full",
    {"learning_rate": 3e-3, "num_train_epochs": 2, "per_device_train_batch_size": 16},
    compute_metrics=accuracy,
    metric_for_best="accuracy",
)


def test_step_when_taken_then_is_soft_thresholding_by_the_rate_times_the_strength() -> None:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.05, -0.3]]))
        layer.bias.fill_(0.01)
    layer.weight.grad, layer.bias.grad = torch.zeros(1, 3), torch.zeros(1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    ProximalSteps(1.0).on_optimizer_step(None, None, None, optimizer=optimizer)
    assert torch.allclose(layer.weight, torch.tensor([[0.4, 0.0, -0.2]]))
    assert layer.weight[0, 1] == 0
    assert layer.bias.item() == pytest.approx(0.01)


def test_step_when_a_weight_rests_then_it_is_left_alone() -> None:
    layer = nn.Linear(3, 1, bias=False)
    before = layer.weight.clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    ProximalSteps(1.0).on_optimizer_step(None, None, None, optimizer=optimizer)
    assert torch.equal(layer.weight, before)


def test_steps_when_only_a_penalty_acts_then_reach_the_lasso_of_an_orthogonal_design() -> None:
    """Of orthonormal columns the lasso is the least squares solution, soft thresholded."""
    torch.manual_seed(0)
    features, _ = torch.linalg.qr(torch.randn(8, 4))
    wanted = torch.tensor([1.0, -0.6, 0.05, 0.0])
    layer, strength = nn.Linear(4, 1, bias=False), 0.1
    optimizer, shrink = torch.optim.SGD(layer.parameters(), lr=0.2), ProximalSteps(strength)
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * (layer(features)[:, 0] - features @ wanted) ** 2).sum().backward()
        optimizer.step()
        shrink.on_optimizer_step(None, None, None, optimizer=optimizer)
    expected = wanted.sign() * (wanted.abs() - strength).clamp_min(0)
    assert torch.allclose(layer.weight[0], expected, atol=1e-5)
    assert (layer.weight[0] == 0).tolist() == [False, False, True, True]


def test_report_when_weights_were_shrunk_then_says_which_share_is_zero(tmp_path: Path) -> None:
    shares = {}
    for strength in (0.0, 0.5):
        fit = replace(PLAN, l1=strength)
        tuned, report = fine_tune(bert(), text_data(), fit, out_dir=tmp_path / str(strength))
        shares[strength] = zero_share(tuned)
        told = [note for note in report.notes if "exactly zero, by train.l1" in note]
        assert bool(told) == bool(strength)
    assert shares[0.0] < 0.05 < shares[0.5]
    assert told[0].startswith(f"{shares[0.5]:.1%} of the weights")
