import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hub_trainer.finetune.language.adapters import fast_adapters
from tests.finetune.language.tiny import llama

# peft 0.21 reads a name that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def adapted(dtype: torch.dtype = torch.float64, **lora: Any) -> Any:
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    model = get_peft_model(llama(dtype=dtype), LoraConfig(**options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def mean_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().mean() / expected.abs().mean())


IDS = torch.arange(20).reshape(2, 10)


def logits_and_gradients(model: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    logits = model(input_ids=IDS, use_cache=False).logits
    learned = [p for p in model.parameters() if p.requires_grad]
    return logits, list(torch.autograd.grad(logits.square().sum(), learned))


def test_numbers_and_gradients_are_those_of_peft() -> None:
    model = adapted()
    model = model.double()
    expected, wanted = logits_and_gradients(model)
    with fast_adapters(model) as replaced:
        found, gradients = logits_and_gradients(model)
    assert replaced == 2 * 7
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert all("forward" not in vars(module) for module in model.modules())


def test_float32_adapters_are_computed_in_bfloat16_and_learn_in_float32() -> None:
    model = adapted(torch.bfloat16)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    expected, wanted = logits_and_gradients(model)
    with fast_adapters(model):
        found, gradients = logits_and_gradients(model)
    assert found.dtype == torch.bfloat16
    assert mean_difference(found, expected) < 0.02
    for one, other in zip(gradients, wanted, strict=True):
        assert one.dtype == torch.float32
        assert float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)) > 0.99


def test_disabled_adapter_is_the_base() -> None:
    model = adapted()
    base = copy.deepcopy(model).unload()
    expected = base(input_ids=IDS, use_cache=False).logits
    with fast_adapters(model), model.disable_adapter():
        assert torch.equal(model(input_ids=IDS, use_cache=False).logits, expected)


def test_under_autocast_the_base_is_multiplied_as_autocast_says() -> None:
    model = adapted(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(input_ids=IDS, use_cache=False).logits
        with fast_adapters(model):
            found = model(input_ids=IDS, use_cache=False).logits
    assert mean_difference(found, expected) < 0.03


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_other_layers_are_left_to_peft(lora: dict[str, Any]) -> None:
    with fast_adapters(adapted(**lora)) as replaced:
        assert replaced == 0


def test_two_adapters_are_left_to_peft() -> None:
    model = adapted()
    model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    with fast_adapters(model) as replaced:
        assert replaced == 0
