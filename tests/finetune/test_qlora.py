from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig
from transformers.models.llama import LlamaForSequenceClassification

from hub_trainer.errors import Interrupted, TrainingError
from hub_trainer.finetune.engine import fine_tune
from hub_trainer.finetune.methods import merge_adapter, quantization_config
from hub_trainer.finetune.plan import FitPlan
from tests.finetune.test_engine import stop_at
from tests.finetune.tiny import accuracy, collate_text, same_weights, text_data, weights_of

FIT = FitPlan(
    "qlora",
    {"learning_rate": 0.01, "num_train_epochs": 3, "per_device_train_batch_size": 16},
    compute_metrics=accuracy,
)


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        pad_token_id=0,
        num_labels=3,
    )
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def in_four_bits(base_dir: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        base_dir, quantization_config=quantization_config(), device_map="cpu"
    )


def test_qlora_learns_on_a_base_in_four_bits_and_cannot_be_merged_there(
    base_dir: Path, tmp_path: Path
) -> None:
    model, report = fine_tune(in_four_bits(base_dir), text_data(), FIT, out_dir=tmp_path)
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    assert all(
        "lora_" in n or "modules_to_save" in n
        for n, p in model.named_parameters()
        if p.requires_grad
    )
    with pytest.raises(TrainingError, match="quantized base"):
        merge_adapter(model, {"input_ids": torch.tensor([[1, 2]])})


def test_evaluating_in_the_middle_changes_nothing(base_dir: Path, tmp_path: Path) -> None:
    """bitsandbytes repacks its layers in evaluation mode, which breaks later gradients."""
    losses = []
    for evaluations in ("epoch", "no"):
        arguments = {**FIT.arguments, "eval_strategy": evaluations, "save_strategy": evaluations}
        fit = FitPlan("qlora", arguments, compute_metrics=accuracy)
        _, report = fine_tune(
            in_four_bits(base_dir), text_data(), fit, out_dir=tmp_path / evaluations
        )
        losses.append([entry["loss"] for entry in report.history if "loss" in entry])
    assert losses[0] == losses[1]


def test_qlora_is_resumed_to_the_same_bits(base_dir: Path, tmp_path: Path) -> None:
    expected, _ = fine_tune(in_four_bits(base_dir), text_data(), FIT, out_dir=tmp_path / "whole")
    cut = tmp_path / "cut"
    with pytest.raises(Interrupted):
        fine_tune(in_four_bits(base_dir), text_data(), FIT, out_dir=cut, on_progress=stop_at(8))
    found, report = fine_tune(in_four_bits(base_dir), text_data(), FIT, out_dir=cut)
    assert report.resumed_from == 8
    batch = collate_text(text_data().validation[:8])  # type: ignore[index]
    with torch.no_grad():
        logits = [model(**batch).logits for model in (expected, found)]
    assert torch.equal(*logits)
    adapters = [
        {n: t for n, t in weights_of(model).items() if "lora_" in n} for model in (expected, found)
    ]
    assert same_weights(*adapters)
