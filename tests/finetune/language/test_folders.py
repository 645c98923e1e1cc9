import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.language import folders
from hub_trainer.finetune.language.encode import Encoded
from hub_trainer.finetune.language.folders import (
    load_language_model,
    merge_language_adapter,
    save_adapter,
    training_dtype,
)
from hub_trainer.finetune.language.tune import (
    LanguageData,
    LanguagePlan,
    fine_tune_language_model,
)
from tests.finetune.language.kinds import LOSSES, encoded, fit
from tests.finetune.language.tiny import llama

# peft 0.21 reads a name that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
EXAMPLES = {"input_ids": torch.arange(24).reshape(2, 12)}


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    shape = {"hidden_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1}
    llama(**shape, intermediate_size=128).save_pretrained(folder)
    return folder


def adapted(base: Any, strength: float) -> Any:
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=strength)
    return model


def adapter_dir(base_dir: Path, folder: Path, strength: float) -> Path:
    base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    save_adapter(adapted(base, strength), folder, base_model="org/base", commit_sha="abc")
    return folder


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantized_base_is_learned_by_every_loss(
    quantization: Any, kind: str, base_dir: Path, tmp_path: Path
) -> None:
    model = load_language_model(base_dir, "qlora", quantization=quantization)
    plan = fit("qlora", optim="adamw_torch", learning_rate=0.02, num_train_epochs=5)
    data = LanguageData(encoded(kind), encoded(kind, copies=1, seed=1))
    trained, report = fine_tune_language_model(
        model, data, LanguagePlan(plan, **LOSSES[kind]), out_dir=tmp_path
    )
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.05
    assert all("lora_" in n for n, p in trained.named_parameters() if p.requires_grad)


def test_adapter_over_four_bits_is_saved_alone_and_merged_into_the_whole_base(
    base_dir: Path, tmp_path: Path
) -> None:
    model = load_language_model(base_dir, "qlora", quantization="4bit")
    plan = fit("qlora", optim="adamw_torch", learning_rate=0.02, num_train_epochs=2)
    data = LanguageData(Encoded("sft", "", encoded("sft").rows))
    trained, _ = fine_tune_language_model(model, data, LanguagePlan(plan), out_dir=tmp_path / "run")
    save_adapter(trained, tmp_path / "adapter", base_model="org/base", commit_sha="abc")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert not any(name.endswith((".bin", ".pt")) for name in names)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    known = {key: config[key] for key in ("base_model_name_or_path", "revision", "task_type")}
    assert known == {
        "base_model_name_or_path": "org/base",
        "revision": "abc",
        "task_type": "CAUSAL_LM",
    }
    report = merge_language_adapter(
        base_dir, tmp_path / "adapter", tmp_path / "merged", examples=EXAMPLES
    )
    assert report.moved > 0.01
    assert report.max_difference < 1e-4
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    whole = PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.no_grad():
        difference = (merged(**EXAMPLES).logits - whole(**EXAMPLES).logits).abs().max()
    assert float(difference) < 1e-4


def test_merged_model_has_the_dtype_of_its_base(base_dir: Path, tmp_path: Path) -> None:
    low = tmp_path / "low"
    AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16).save_pretrained(low)
    adapter = adapter_dir(low, tmp_path / "adapter", 0.3)
    report = merge_language_adapter(low, adapter, tmp_path / "merged", examples=EXAMPLES)
    assert report.dtype == "bfloat16"
    assert 0 < report.max_difference < 0.1 * report.moved
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


def test_merge_that_rounding_would_undo_is_refused(base_dir: Path, tmp_path: Path) -> None:
    low = tmp_path / "low"
    AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16).save_pretrained(low)
    adapter = adapter_dir(low, tmp_path / "adapter", 1e-5)
    with pytest.raises(TrainingError, match="has lost what the adapter learned") as caught:
        merge_language_adapter(low, adapter, tmp_path / "merged", examples=EXAMPLES)
    assert "publish the adapter itself" in str(caught.value.do)
    assert not (tmp_path / "merged").exists()


def test_adapter_that_learned_nothing_is_refused(base_dir: Path, tmp_path: Path) -> None:
    adapter = adapter_dir(base_dir, tmp_path / "adapter", 0.0)
    with pytest.raises(TrainingError, match="the adapter changes nothing"):
        merge_language_adapter(base_dir, adapter, tmp_path / "merged", examples=EXAMPLES)


@pytest.mark.parametrize(("method", "quantization"), [("lora", "4bit"), ("qlora", None)])
def test_quantization_belongs_to_qlora(method: Any, quantization: Any, base_dir: Path) -> None:
    with pytest.raises(TrainingError, match="needs a quantized base") as caught:
        load_language_model(base_dir, method, quantization=quantization)
    assert method in str(caught.value.got)


def test_frozen_weights_are_low_precision_where_that_is_fast(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "fast_bfloat16", lambda width: True)
    assert load_language_model(base_dir, "lora").dtype == torch.bfloat16
    assert load_language_model(base_dir, "full").dtype == torch.float32
    monkeypatch.setattr(folders, "fast_bfloat16", lambda width: False)
    assert training_dtype("lora") == torch.float32
    assert training_dtype("lora", bfloat16=True) == torch.bfloat16
    assert load_language_model(base_dir, "lora", bfloat16=True).dtype == torch.bfloat16


def test_eight_bits_do_not_fill_the_log(base_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_language_model(base_dir, "qlora", quantization="8bit")
        model(**EXAMPLES)
    assert not [record for record in caplog.records if "MatMul8bitLt" in record.message]
