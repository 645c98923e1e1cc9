"""Depth: new blocks over old ones, rates that fall towards the input, blocks that wait."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hub_trainer.errors import Interrupted, RecipeError
from hub_trainer.finetune.depth import depths_of, sleepers, with_falling_rates
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.methods import apply_method, blocks_of
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.progress import StepProgress
from tests.finetune.tiny import (
    IMAGE_MODELS,
    MODELS,
    accuracy,
    bert,
    image_data,
    same_weights,
    text_data,
    weights_of,
)

ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 3, "per_device_train_batch_size": 16}
PLAN = FitPlan("hybrid", ARGUMENTS, compute_metrics=accuracy, metric_for_best="accuracy")


def _depths(model: nn.Module, new_blocks: int = 0) -> dict[str, int]:
    found = depths_of(model, new_blocks)
    return {name: found[parameter] for name, parameter in model.named_parameters()}


def test_depths_when_of_an_encoder_then_count_from_the_output() -> None:
    found = _depths(bert())
    assert found["classifier.weight"] == found["bert.pooler.dense.weight"] == 0
    assert found["bert.encoder.layer.1.output.dense.weight"] == 1
    assert found["bert.encoder.layer.0.output.dense.weight"] == 2
    assert found["bert.embeddings.word_embeddings.weight"] == 3


def test_depths_when_blocks_are_new_then_they_count_as_the_head() -> None:
    found = _depths(bert(), 1)
    assert found["bert.encoder.layer.1.output.dense.weight"] == 0
    assert found["bert.encoder.layer.0.output.dense.weight"] == 1
    assert found["bert.embeddings.word_embeddings.weight"] == 2


@pytest.mark.parametrize("name", MODELS)
def test_depths_when_of_any_model_then_every_block_has_one_and_none_is_skipped(name: str) -> None:
    model = MODELS[name]()
    found = depths_of(model)
    count = len(list(blocks_of(model)))
    assert set(found) == set(model.parameters())
    assert set(found.values()) == set(range(count + 2))
    for number, block in enumerate(blocks_of(model)):
        assert {found[parameter] for parameter in block.parameters()} == {count - number}


def test_depths_when_nothing_repeats_then_says_so() -> None:
    with pytest.raises(RecipeError, match="layer_decay: this model has no repeated blocks"):
        depths_of(nn.Linear(2, 2))


@pytest.mark.parametrize("name", MODELS)
def test_hybrid_when_applied_then_only_the_last_block_is_new_and_everything_learns(
    name: str,
) -> None:
    before = weights_of(MODELS[name]())
    model, report = apply_method(MODELS[name](), "hybrid", new_blocks=1)
    last = list(blocks_of(model))[-1]
    inside = {id(parameter) for parameter in last.parameters()}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    matrices = {n for n, p in model.named_parameters() if id(p) in inside and p.ndim > 1}
    assert matrices <= changed <= {n for n, p in model.named_parameters() if id(p) in inside}
    assert report.trainable_parameters == report.total_parameters


def test_hybrid_when_no_block_is_new_then_the_base_is_whole() -> None:
    model, _ = apply_method(bert(), "hybrid", new_blocks=0)
    assert same_weights(weights_of(model), weights_of(bert()))


def test_hybrid_when_no_block_would_stay_then_says_how_many_there_are() -> None:
    with pytest.raises(RecipeError, match="must leave some of the base's 2 blocks, found 2"):
        apply_method(bert(), "hybrid", new_blocks=2)


@pytest.mark.parametrize("name", MODELS)
def test_hybrid_when_trained_then_lowers_the_loss_of_every_kind_of_model(
    name: str, tmp_path: Path
) -> None:
    data = image_data() if name in IMAGE_MODELS else text_data()
    fit = replace(PLAN, new_blocks=1, unfreeze_epochs=0.5, layer_decay=0.8)
    _, report = fine_tune(MODELS[name](), data, fit, out_dir=tmp_path)
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert min(losses[1:]) < losses[0]


def test_rates_when_they_fall_then_each_depth_has_its_share_and_no_parameter_is_lost() -> None:
    model = bert()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    depths = depths_of(model)
    with_falling_rates(optimizer, depths, 0.5)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {parameter: 0.5**depth for parameter, depth in depths.items()}


def test_rates_when_training_then_the_scheduler_keeps_their_ratio(tmp_path: Path) -> None:
    """With SGD a step is the rate times the gradient: of one step the shares can be read."""
    arguments = {**ARGUMENTS, "optim": "sgd", "max_steps": 1, "lr_scheduler_type": "constant"}
    moved = []
    for decay in (None, 0.5):
        fit = replace(PLAN, method="full", layer_decay=decay, arguments=arguments)
        tuned, _ = fine_tune(bert(), text_data(), fit, out_dir=tmp_path / str(decay))
        before = weights_of(bert())
        moved.append({n: w - before[n] for n, w in weights_of(tuned).items()})
    for name, depth in _depths(bert()).items():
        assert torch.allclose(moved[1][name], moved[0][name] * 0.5**depth, atol=1e-7), name


def test_sleepers_when_epochs_pass_then_wake_from_the_output_down() -> None:
    depths = depths_of(bert())
    asleep = [len(sleepers(depths, epoch, 1.0)) for epoch in (0.0, 0.99, 1.0, 2.0, 3.0)]
    assert asleep[0] == asleep[1] > asleep[2] > asleep[3] > asleep[4] == 0
    assert {depths[one] for one in sleepers(depths, 1.0, 1.0)} == {2, 3}


def test_blocks_when_they_wait_then_do_not_change_before_their_epoch(tmp_path: Path) -> None:
    arguments = {**ARGUMENTS, "num_train_epochs": 1, "weight_decay": 0.1}
    fit = replace(PLAN, new_blocks=1, unfreeze_epochs=1.0, arguments=arguments)
    tuned, _ = fine_tune(bert(), text_data(), fit, out_dir=tmp_path)
    before, after = weights_of(bert()), weights_of(tuned)
    for name, depth in _depths(bert(), 1).items():
        assert torch.equal(before[name], after[name]) == (depth > 0), name


def test_hybrid_when_stopped_and_run_again_then_is_the_run_that_was_not_stopped(
    tmp_path: Path,
) -> None:
    fit = replace(PLAN, new_blocks=1, unfreeze_epochs=1.0, layer_decay=0.7, l1=0.01)

    def stop(now: StepProgress) -> None:
        if now.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, _ = fine_tune(bert(), text_data(), fit, out_dir=tmp_path / "whole", run_digest="run")
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        fine_tune(bert(), text_data(), fit, out_dir=parts, run_digest="run", on_progress=stop)
    again, report = fine_tune(bert(), text_data(), fit, out_dir=parts, run_digest="run")
    assert report.resumed_from == 9
    assert same_weights(weights_of(whole), weights_of(again))
