"""Models that FSDP2 splits over processes learn as on one, over gloo as over NCCL."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.methods import quantization_config
from hub_trainer.finetune.plan import FitPlan
from hub_trainer.finetune.sharding import (
    assert_split,
    evened,
    is_split,
    put_together,
    skeleton,
    split,
    units_of,
    whole,
)
from hub_trainer.ranks import Sharding
from tests.finetune.processes import together
from tests.finetune.split import ask, assert_equal, classifier, language_model
from tests.finetune.tiny import MODELS, bert, largest_difference, llama, text_data, weights_of

TWO, HYBRID = Sharding(2), Sharding(2, replicas=2)
KEPT = Sharding(2, reshard_after_forward=False, activation_checkpointing=True)
CLASSIFIERS = [
    ("bert", "full", HYBRID, {"gradient_accumulation_steps": 2}),
    pytest.param("llama", "lora", KEPT, {}, marks=pytest.mark.slow),
    pytest.param("resnet", "full", TWO, {}, marks=pytest.mark.slow),
    pytest.param("vit", "last_n", TWO, {}, marks=pytest.mark.slow),
    pytest.param("bert", "head", TWO, {}, marks=pytest.mark.slow),
    pytest.param("bert", "full", Sharding(4), {}, marks=pytest.mark.slow),
]
LANGUAGE = [
    ("dpo", "lora", TWO),
    *(
        pytest.param(loss, method, sharding, marks=pytest.mark.slow)
        for loss, method, sharding in [
            ("sft", "full", TWO),
            ("sft", "lora", KEPT),
            ("dpo ipo", "full", HYBRID),
            ("kto", "full", Sharding(4)),
            ("kto apo", "lora", TWO),
        ]
    ),
]


@pytest.mark.parametrize(("name", "method", "sharding", "more"), CLASSIFIERS)
def test_classifier_when_it_is_split_then_it_learns_as_on_one_process(
    name: str, method: str, sharding: Sharding, more: dict[str, Any], tmp_path: Path
) -> None:
    last = {"last_n": 1} if method == "last_n" else {}
    count = sharding.shards * sharding.replicas
    accumulation = more.get("gradient_accumulation_steps", 1)
    micro = 16 // count // accumulation
    alone = classifier(tmp_path / "one", name, method, 16, **last)
    found = together(
        count, classifier, tmp_path, tmp_path / "all", name, method, micro, sharding, **more, **last
    )
    assert_equal(alone, found, tolerance=2e-5 if name == "resnet" else 1e-5)


@pytest.mark.parametrize(("loss", "method", "sharding"), LANGUAGE)
def test_language_model_when_it_is_split_then_it_learns_as_on_one_process(
    loss: str, method: str, sharding: Sharding, tmp_path: Path
) -> None:
    count = sharding.shards * sharding.replicas
    alone = language_model(tmp_path / "one", loss, method, 8)
    found = together(
        count, language_model, tmp_path, tmp_path / "all", loss, method, 8 // count, sharding
    )
    assert_equal(alone, found)


@pytest.mark.parametrize("name", MODELS)
def test_units_when_found_then_each_block_is_one_and_none_is_in_another(name: str) -> None:
    model = MODELS[name]()
    units = units_of(model)
    assert len(units) >= 2
    parts = [id(part) for unit in units for part in unit.modules()]
    assert len(parts) == len(set(parts))
    inside = sum(p.numel() for unit in units for p in unit.parameters())
    assert inside > sum(p.numel() for p in model.parameters()) / 4


def test_units_when_there_are_no_blocks_then_the_model_is_refused() -> None:
    with pytest.raises(TrainingError, match="no repeated blocks to be split by") as caught:
        units_of(nn.Sequential(nn.Linear(2, 2)))
    assert "ddp.yaml" in str(caught.value.do)


def test_split_when_it_did_not_happen_then_the_run_stops() -> None:
    with pytest.raises(TrainingError, match="not split as it was asked for") as caught:
        assert_split(llama(), Sharding(4, replicas=2))
    assert "weights that learn are not in 2 x 4 parts" in str(caught.value.got)


def test_split_when_activations_cannot_be_made_again_then_says_so() -> None:
    with pytest.raises(TrainingError, match="cannot be computed again") as caught:
        split(nn.Linear(2, 2), KEPT, torch.device("cpu"), compute=None)
    assert caught.value.where == "fsdp_activation_checkpointing"


def parts_of(sharding: Sharding) -> dict[str, Any]:
    ask(sharding)
    torch.distributed.init_process_group("gloo")
    model = bert()
    before, empty = weights_of(model), skeleton(model)
    assert not any(p.device.type != "meta" for p in empty.parameters())
    split(model, sharding, torch.device("cpu"), compute=None)
    assert is_split(model)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    rank = torch.distributed.get_rank()
    found = {
        "held": sum(p.to_local().numel() for p in model.parameters()),
        "total": sum(p.numel() for p in model.parameters()),
        "evened": list(evened(list(range(rank + 1)), model)),
        "whole": torch.equal(whole(next(model.parameters())), next(iter(before.values()))),
    }
    again = put_together(model, empty)
    found["difference"] = largest_difference(before, weights_of(again))
    found["learns"] = all(p.requires_grad for p in again.parameters())
    return found


def test_model_when_split_and_put_together_then_nothing_is_lost(tmp_path: Path) -> None:
    first, second = together(2, parts_of, tmp_path, TWO)
    # Each holds half, and of a row that cannot be halved one of them holds it.
    assert first["held"] + second["held"] == first["total"]
    assert abs(first["held"] - second["held"]) < first["total"] / 50
    assert first["evened"] == [(0, True), (0, False)]
    assert second["evened"] == [(0, True), (1, True)]
    for found in (first, second):
        assert found["whole"]
        assert found["difference"] == 0
        assert found["learns"]


def in_four_bits(folder: Path, micro: int, sharding: Sharding | None = None) -> Any:
    ask(sharding)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "base", quantization_config=quantization_config(), device_map="cpu"
    )
    arguments = {"per_device_train_batch_size": micro, "max_steps": 3, "logging_steps": 1}
    plan = FitPlan("qlora", {**arguments, "learning_rate": 0.01, "eval_strategy": "no"})
    out = folder / ("split" if sharding else "alone")
    trained, report = fine_tune(model, text_data(41), plan, out_dir=out)
    whole_in_bits = [p for p in trained.parameters() if p.dtype == torch.uint8]
    assert len(whole_in_bits) == 14
    learned = {n: p.detach() for n, p in trained.named_parameters() if p.requires_grad}
    return learned, report.history


@pytest.mark.slow
def test_quantized_base_when_it_is_split_then_its_bits_stay_whole_and_all_else_learns_the_same(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        pad_token_id=0,
        num_labels=3,
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "base")
    alone = in_four_bits(tmp_path, 8)
    found = together(2, in_four_bits, tmp_path, tmp_path, 4, TWO)
    assert largest_difference(alone[0], found[0][0]) < 1e-3
    losses = [[e["loss"] for e in history if "loss" in e] for history in (alone[1], found[0][1])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
