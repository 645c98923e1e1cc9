"""Adapters joined by TIES and DARE: held against arithmetic on what each adds to a layer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hub_trainer.finetune import fuse as fusing
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.fuse_adapters import FACTOR, fused_adapters
from hub_trainer.finetune.methods import apply_method, trainable_state
from hub_trainer.finetune.plan import FitPlan, Fuse
from hub_trainer.recipe import FuseSection, TrainSection
from tests.finetune.tiny import accuracy, bert, same_weights, text_data, weights_of

LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["query", "value"]}
LAYER = "base_model.model.bert.encoder.layer.0.attention.self.query"


def adapted(**lora: Any) -> Any:
    return apply_method(bert(dropout=0.0), "lora", lora={**LORA, **lora})[0]


def parts_of(model: Any, count: int = 3) -> list[dict[str, torch.Tensor]]:
    """Adapters that differ, and the head beside them."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        state = trainable_state(model)
        found.append({name: torch.randn_like(tensor) for name, tensor in state.items()})
    return found


def added(weights: Any, *, scaling: float) -> torch.Tensor:
    """What an adapter adds to the first layer."""
    first, second = (weights[f"{LAYER}.lora_{side}.default.weight"] for side in "AB")
    product: torch.Tensor = second @ first * scaling
    return product


def nearest_of_rank(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]


def ties_by_hand(deltas: list[torch.Tensor], density: float) -> torch.Tensor:
    trimmed = []
    for delta in deltas:
        kept = delta.abs().flatten().topk(int(density * delta.numel())).indices
        mask = torch.zeros(delta.numel()).index_fill(0, kept, 1.0).reshape(delta.shape)
        trimmed.append(delta * mask)
    stacked = torch.stack(trimmed)
    sign = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    agrees = (torch.where(stacked >= 0, 1.0, -1.0) == sign) & (stacked != 0)
    return (stacked * agrees).sum(0) / agrees.sum(0).clamp_min(1)


@pytest.mark.parametrize("rslora", [False, True])
def test_ties_when_joined_then_is_what_the_paper_says(rslora: bool) -> None:
    model = adapted(use_rslora=rslora)
    scaling = float(model.get_submodule(LAYER).scaling["default"])
    before, parts = weights_of(model), parts_of(model)
    found = fused_adapters(model, parts, "ties", density=0.3, seed=0)
    wanted = ties_by_hand([added(part, scaling=scaling) for part in parts], 0.3)
    given = added(found, scaling=scaling)
    assert torch.allclose(given, nearest_of_rank(wanted, 8), atol=1e-3)
    assert set(found) == {name for name in parts[0] if FACTOR.search(name)}
    # and the model is what it was
    assert same_weights(before, weights_of(model))
    assert set(model.peft_config) == {"default"}
    assert trainable_state(model).keys() == parts[0].keys()


def test_dare_when_joined_then_its_mean_is_the_mean_and_the_seed_decides() -> None:
    model = adapted()
    parts = parts_of(model)
    wanted = torch.stack([added(part, scaling=2.0) for part in parts]).mean(0)
    draws = [
        added(fused_adapters(model, parts, "dare", density=0.9, seed=seed), scaling=2.0)
        for seed in range(30)
    ]
    again = added(fused_adapters(model, parts, "dare", density=0.9, seed=0), scaling=2.0)
    assert torch.equal(draws[0], again)
    assert not torch.equal(draws[0], draws[1])
    mean = torch.stack(draws).mean(0)
    error = (mean - wanted).norm() / wanted.norm()
    assert error < (draws[0] - wanted).norm() / wanted.norm()
    assert error < 0.6  # three adapters of rank 8 are brought to rank 8


def test_ties_when_all_parts_are_one_then_keeps_its_largest_changes() -> None:
    model = adapted()
    part = parts_of(model, 1)[0]
    found = fused_adapters(model, [part, part], "ties", density=0.999, seed=0)
    assert torch.allclose(added(found, scaling=2.0), added(part, scaling=2.0), atol=0.1)


@pytest.mark.parametrize("method", ["ties", "dare"])
@pytest.mark.parametrize("better", [True, False])
def test_fuse_when_adapters_are_joined_then_only_what_is_better_is_kept(
    method: str, better: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.8, 0.6, 0.9 if better else 0.7])
    put: list[Any] = []

    def score(trainer: Any, weights: Any) -> float:
        put.append(weights)
        return next(scores)

    monkeypatch.setattr(fusing, "_score", score)
    arguments = {"learning_rate": 3e-3, "num_train_epochs": 3, "per_device_train_batch_size": 16}
    fit = FitPlan(
        "lora",
        arguments,
        lora=LORA,
        compute_metrics=accuracy,
        metric_for_best="accuracy",
        fuse=Fuse(method, 3, 0.5),
    )
    model, report = fine_tune(bert(), text_data(), fit, out_dir=tmp_path)
    assert report.fused is not None
    told = {key: report.fused[key] for key in ("method", "density", "kept")}
    assert told == {"method": method, "density": 0.5, "kept": better}
    assert all(part["taken"] for part in report.fused["parts"])
    expected, state = put[3] if better else put[1], trainable_state(model)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    heads = [name for name in state if "classifier" in name]
    assert heads  # the head is the mean of the heads
    for name in heads:
        assert torch.allclose(put[3][name], torch.stack([put[i][name] for i in range(3)]).mean(0))


def test_recipe_when_there_are_no_adapters_then_says_so() -> None:
    with pytest.raises(ValidationError, match="fuse ties joins adapters, and method: full makes"):
        TrainSection(method="full", fuse=FuseSection(method="ties"))
    with pytest.raises(ValidationError, match="density changes nothing in greedy_soup; remove it"):
        FuseSection(method="greedy_soup", density=0.3)
    assert TrainSection(method="lora", fuse=FuseSection(method="dare")).fuse is not None
