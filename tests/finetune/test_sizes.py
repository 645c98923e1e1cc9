from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from hub_trainer.finetune import sizes
from hub_trainer.finetune.language.folders import load_language_model, save_adapter
from hub_trainer.finetune.methods import apply_method
from hub_trainer.finetune.sizes import count_parameters, estimate_memory, split_memory
from hub_trainer.ranks import Sharding
from hub_trainer.recipe import TrainSection
from tests.tasks.language import language_base

CAUSAL = "AutoModelForCausalLM"


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_base(tmp_path_factory.mktemp("base"))


def counted(base_dir: Path, train: TrainSection) -> dict[str, int]:
    return count_parameters(CAUSAL, base_dir, None, train, num_labels=0)


@pytest.mark.parametrize("method", ["full", "lora", "last_n"])
def test_parameters_when_counted_without_memory_then_they_are_those_of_the_model(
    method: Any, base_dir: Path
) -> None:
    last_n = 1 if method == "last_n" else None
    model, report = apply_method(
        AutoModelForCausalLM.from_pretrained(base_dir), method, last_n=last_n
    )
    found = counted(base_dir, TrainSection(method=method, last_n=last_n))
    assert found == {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": report.trainable_parameters,
        "quantized": 0,
    }


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantized_parameters_when_counted_then_they_are_those_held_in_few_bits(
    bits: Any, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TrainSection.model_validate({"method": "qlora", "language": {"quantization": bits}})
    found = counted(base_dir, train)
    model = load_language_model(base_dir, "qlora", quantization=bits)
    held = [p for p in model.parameters() if p.dtype in (torch.uint8, torch.int8)]
    assert found["quantized"] == sum(p.numel() for p in held) * (2 if bits == "4bit" else 1)
    large = {"total": 3 * 2**20, "trainable": 0, "quantized": 2**20}
    monkeypatch.setattr(sizes, "training_dtype", lambda method, **named: torch.bfloat16)
    weights = estimate_memory(large, train, in_own_dtype=True)["weights"]
    assert weights == pytest.approx(2 * 4 + (0.5 if bits == "4bit" else 1.0), abs=0.02)


def test_adapter_when_it_is_the_base_then_its_own_parameters_learn(
    base_dir: Path, tmp_path: Path
) -> None:
    model, report = apply_method(
        AutoModelForCausalLM.from_pretrained(base_dir), "lora", lora={"r": 3}
    )
    save_adapter(model, tmp_path, base_model="org/base", commit_sha="a" * 40)
    train = TrainSection(method="lora")
    found = count_parameters(CAUSAL, tmp_path, base_dir, train, num_labels=0)
    assert found["trainable"] == report.trainable_parameters


def test_memory_when_planned_then_frozen_weights_have_the_precision_of_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"total": 3 * 2**20, "trainable": 2**20, "quantized": 0}
    train = TrainSection(method="lora")
    monkeypatch.setattr(sizes, "training_dtype", lambda method, **named: torch.bfloat16)
    assert estimate_memory(counts, train, in_own_dtype=True) == {
        "weights": 4.0 + 4.0,
        "gradients": 4.0,
        "optimizer": 8.0,
        "sum": 20.0,
    }
    assert estimate_memory(counts, train, in_own_dtype=False)["weights"] == 12.0


def test_memory_when_the_model_is_split_then_each_device_holds_its_part_and_what_is_gathered(
    base_dir: Path,
) -> None:
    train = TrainSection(method="full")
    model = AutoModelForCausalLM.from_pretrained(base_dir)
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.model.layers]
    total = sum(p.numel() for p in model.parameters())
    fraction = sizes.gathered_fraction(CAUSAL, base_dir, None, train, num_labels=0)
    assert fraction == pytest.approx((total - sum(blocks) + sum(sorted(blocks)[-2:])) / total)
    whole = {"weights": 80.0, "gradients": 80.0, "optimizer": 160.0, "sum": 320.0}
    parts = {"weights": 10.0, "gradients": 10.0, "optimizer": 20.0}
    assert split_memory(whole, 0.25, Sharding(8)) == {**parts, "gathered": 20.0, "sum": 60.0}
    kept = split_memory(whole, 0.25, Sharding(8, reshard_after_forward=False))
    assert kept == {**parts, "gathered": 80.0, "sum": 120.0}
    assert split_memory(whole, 0.25, Sharding(8, offload=True))["sum"] == 20.0
