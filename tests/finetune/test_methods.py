from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertModel

from hub_trainer.errors import ExitCode, RecipeError, TrainingError
from hub_trainer.finetune.language.folders import save_adapter
from hub_trainer.finetune.methods import (
    apply_method,
    base_of,
    merge_adapter,
    quantization_config,
    resting_modules,
    trainable_state,
    with_adapter,
)
from tests.finetune.language.tiny import llama
from tests.finetune.tiny import IMAGE_MODELS, MODELS, bert, collate_text, language_model, text_rows


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", MODELS)
def test_head_trains_only_what_is_beside_the_body(name: str) -> None:
    model, report = apply_method(MODELS[name](), "head")
    assert trained_names(model)
    assert all(name.startswith("pooler.") for name in trained_names(base_of(model)))
    assert report.trainable_parameters < report.total_parameters / 2


@pytest.mark.parametrize("name", MODELS)
def test_last_n_trains_one_block_more_each(name: str) -> None:
    sizes = [
        apply_method(MODELS[name](), "last_n", last_n=n)[1].trainable_parameters for n in (1, 2)
    ]
    head = apply_method(MODELS[name](), "head")[1].trainable_parameters
    assert head < sizes[0] < sizes[1]


def test_head_takes_the_pooler_of_a_text_encoder_along() -> None:
    model, _ = apply_method(bert(), "head")
    assert "bert.pooler.dense.weight" in trained_names(model)


def test_lora_trains_the_pooler_as_part_of_the_head() -> None:
    names = trained_names(apply_method(bert(), "lora")[0])
    pooler = {name for name in names if ".pooler." in name}
    assert pooler
    assert all("modules_to_save" in name for name in pooler)


def test_last_n_takes_the_last_block_and_what_follows_it() -> None:
    model, _ = apply_method(bert(), "last_n", last_n=1)
    names = trained_names(model)
    assert {name.split(".")[0] for name in names} == {"bert", "classifier"}
    assert "bert.pooler.dense.weight" in names
    assert not any("layer.0." in name or "embeddings" in name for name in names)


def test_last_n_opens_the_stages_of_a_pyramid() -> None:
    model, _ = apply_method(IMAGE_MODELS["convnext"](), "last_n", last_n=1)
    assert any("stages.1.layers.1" in name for name in trained_names(model))
    assert not any("stages.1.layers.0" in name for name in trained_names(model))


@pytest.mark.parametrize("last_n", [None, 0, 3])
def test_last_n_when_out_of_range_says_the_range(last_n: int | None) -> None:
    with pytest.raises(RecipeError, match="from 1 to 2 for BertForSequenceClassification"):
        apply_method(bert(), "last_n", last_n=last_n)


def test_last_n_when_no_blocks_repeat_says_which_methods_work() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.base_model = model[0]
    model.head = nn.Linear(2, 2)
    with pytest.raises(TrainingError, match="No repeated blocks") as caught:
        apply_method(model, "last_n", last_n=1)
    assert caught.value.do == "use method head, full or lora"
    assert caught.value.got == "Linear"


def test_head_when_there_is_no_head_says_so() -> None:
    with pytest.raises(TrainingError, match="no head of its own") as caught:
        apply_method(BertModel(bert().config), "head")
    assert caught.value.got == "BertModel"
    assert caught.value.exit_code == ExitCode.TRAINING


@pytest.mark.parametrize("method", ["full", "scratch"])
def test_full_and_scratch_train_everything(method: str) -> None:
    model = bert().requires_grad_(False)
    model, report = apply_method(model, method)
    assert report.trainable_parameters == report.total_parameters


@pytest.mark.parametrize("name", MODELS)
def test_lora_trains_adapters_and_the_whole_head(name: str) -> None:
    model, _ = apply_method(MODELS[name](), "lora")
    names = trained_names(model)
    assert any("lora_A" in name for name in names)
    assert any("modules_to_save" in name for name in names)
    assert all("lora_" in name or "modules_to_save" in name for name in names)


def test_lora_leaves_the_output_layer_of_a_language_model_alone() -> None:
    model, _ = apply_method(language_model(), "lora")
    assert all("lora_" in name for name in trained_names(model))
    assert not any("lm_head" in name for name in trained_names(model))


def test_lora_on_a_model_without_linear_layers_adapts_its_convolutions() -> None:
    model, _ = apply_method(IMAGE_MODELS["resnet"](), "lora")
    assert any("convolution.lora_A" in name for name in trained_names(model))


def test_lora_when_a_target_matches_nothing_names_it() -> None:
    lora = {"target_modules": ["query", "q_proj"]}
    with pytest.raises(RecipeError) as caught:
        apply_method(bert(), "lora", lora=lora)
    assert "'q_proj' matches no module" in str(caught.value)
    assert "query" not in str(caught.value)


def test_lora_when_a_setting_is_misspelt_suggests_the_right_one() -> None:
    with pytest.raises(RecipeError, match="train.lora") as caught:
        apply_method(bert(), "lora", lora={"lora_alhpa": 4})
    assert "train.lora.lora_alhpa is not a setting. Did you mean lora_alpha?" in str(caught.value)


def test_lora_when_no_layer_can_carry_it_says_so() -> None:
    model = nn.ModuleDict({"body": nn.Embedding(2, 2), "head": nn.Linear(2, 2)})
    model.base_model = model["body"]
    with pytest.raises(TrainingError, match="No layer of this model can carry"):
        apply_method(model, "lora")


def test_qlora_when_the_base_is_not_quantized_says_how_to_load_it() -> None:
    with pytest.raises(TrainingError, match="loaded in 4 bits") as caught:
        apply_method(bert(), "qlora")
    assert caught.value.got == "BertForSequenceClassification in torch.float32"
    assert "quantization_config()" in str(caught.value.do)


def test_quantization_config_keeps_heads_in_full_precision() -> None:
    config = quantization_config(("classifier",))
    assert config.load_in_4bit
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.llm_int8_skip_modules == ["lm_head", "classifier"]


def test_resting_modules_of_a_head_are_the_whole_body() -> None:
    model, _ = apply_method(bert(), "head")
    model.train()
    for module in resting_modules(model):
        module.training = False
    pooler = set(base_of(model).pooler.modules()) | {base_of(model)}
    assert not any(m.training for m in base_of(model).modules() if m not in pooler)
    assert model.dropout.training


def test_resting_modules_under_an_adapter_are_the_batch_statistics() -> None:
    model, _ = apply_method(IMAGE_MODELS["resnet"](), "lora")
    resting = resting_modules(model)
    assert resting
    assert all(isinstance(module, nn.BatchNorm2d) for module in resting)


def test_resting_modules_of_full_training_are_none() -> None:
    model, _ = apply_method(IMAGE_MODELS["resnet"](), "full")
    assert resting_modules(model) == []


def test_trainable_state_is_what_training_changes() -> None:
    model, _ = apply_method(IMAGE_MODELS["resnet"](), "head")
    state = trainable_state(model)
    assert "classifier.1.weight" in state
    assert any("running_mean" in name for name in state)
    assert not any("convolution.weight" in name for name in state)


def merged_and_adapted() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model, _ = apply_method(bert(), "lora")
    inputs = collate_text(text_rows(4))
    del inputs["labels"]
    return model, inputs


def stir(model: nn.Module) -> None:
    """As if trained: the second factor of LoRA starts at zero."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)


def test_merge_adapter_answers_like_the_adapter() -> None:
    model, inputs = merged_and_adapted()
    stir(model)
    model.eval()
    with torch.no_grad():
        expected = model(**inputs).logits
        merged = merge_adapter(model, inputs)
        found = merged(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert type(merged).__name__ == "BertForSequenceClassification"
    assert not any("lora" in name for name in merged.state_dict())


def test_merge_adapter_when_the_adapter_is_untrained_refuses() -> None:
    model, inputs = merged_and_adapted()
    with pytest.raises(TrainingError, match="The merged model is the base model") as caught:
        merge_adapter(model, inputs)
    assert "learning_rate" in str(caught.value.do)


def test_merge_adapter_when_the_outputs_differ_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = merged_and_adapted()
    stir(model)
    other = bert(seed=5).eval()
    monkeypatch.setattr(model, "merge_and_unload", lambda: other)
    with pytest.raises(TrainingError, match="does not answer like the model with its adapter"):
        merge_adapter(model, inputs)


def test_merge_adapter_when_there_is_none_says_so() -> None:
    with pytest.raises(TrainingError, match="no adapter to merge"):
        merge_adapter(bert(), {})


def test_merge_adapter_when_the_base_is_quantized_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = merged_and_adapted()
    monkeypatch.setattr(base_of(model), "is_quantized", True, raising=False)
    with pytest.raises(TrainingError, match="quantized base") as caught:
        merge_adapter(model, inputs)
    assert "float32 or bfloat16" in str(caught.value.do)


def test_last_n_of_a_language_model_leaves_an_output_layer_alone_that_is_its_embedding() -> None:
    model, _ = apply_method(llama(tie_word_embeddings=True), "last_n", last_n=1)
    names = trained_names(model)
    assert {name.split(".")[1] for name in names} == {"layers", "norm"}
    assert all(".1." in name for name in names if "layers" in name)
    with pytest.raises(TrainingError, match="no head of its own"):
        apply_method(llama(tie_word_embeddings=True), "head")


def test_adapter_that_is_there_goes_on_learning_and_gets_no_second_one(tmp_path: Path) -> None:
    model, report = apply_method(llama(), "lora", lora={"r": 3})
    save_adapter(model, tmp_path, base_model="org/base", commit_sha="a" * 40)
    loaded = with_adapter(llama(), tmp_path, learns=True)
    again, found = apply_method(loaded, "lora", lora={"r": 8})
    assert again is loaded
    assert found.trainable_parameters == report.trainable_parameters
    assert all("lora_" in name for name in trained_names(again))
    resting = with_adapter(llama(), tmp_path, learns=False)
    assert not trained_names(resting)


def test_merge_adapter_when_outputs_are_large_then_they_may_differ_in_proportion() -> None:
    """float32 has seven digits: of logits in the thousands 1e-4 is less than rounding."""
    model, inputs = merged_and_adapted()
    stir(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name and name.endswith("bias"):
                parameter.add_(3e4)
    model.eval()
    with torch.no_grad():
        expected = model(**inputs).logits
        found = merge_adapter(model, inputs)(**inputs).logits
    assert float(expected.abs().max()) > 1e4
    assert torch.allclose(found, expected, rtol=1e-4)
