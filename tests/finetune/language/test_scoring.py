from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

from hub_trainer.errors import TrainingError
from hub_trainer.finetune.language.packing import Packing, pack
from hub_trainer.finetune.language.scoring import answer_log_probs, can_be_dense, scoring
from tests.finetune.language.tiny import llama, token_rows

# peft 0.21 reads a name that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

SHAPE: dict[str, Any] = {
    "vocab_size": 262,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "head_dim": 8,
    "pad_token_id": None,
}


def made(config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


def gpt2() -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=262, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2, attn_pdrop=0.0
    )
    return made(config)


DENSE: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: llama().eval(),
    "qwen3": lambda: made(Qwen3Config(**SHAPE)),
    "mistral, window": lambda: made(MistralConfig(**SHAPE, sliding_window=6)),
    "granite": lambda: made(GraniteConfig(**SHAPE, logits_scaling=3.0)),
    "cohere": lambda: made(CohereConfig(**SHAPE, logit_scale=0.3)),
    "gpt2": gpt2,
    "gpt-neox": lambda: made(
        GPTNeoXConfig(
            vocab_size=262,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            initializer_range=0.2,
        )
    ),
    "gemma2 without soft cap of attention": lambda: made(
        Gemma2Config(**SHAPE, attn_logit_softcapping=None, sliding_window=5)
    ),
}
PADDED: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma2": lambda: made(Gemma2Config(**SHAPE)),
    "mamba": lambda: made(
        MambaConfig(vocab_size=262, hidden_size=32, num_hidden_layers=2, initializer_range=0.2)
    ),
}
ROWS = token_rows([(6, 4, 9), (0, 5, 3), (40, 2, 100), (1, 7, 1)])


def alone(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> float:
    """By the model's own logits, in a batch of one."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        found = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    picked = found.gather(1, ids[0, 1:, None])[:, 0]
    return float(picked[max(len(prompt) - 1, 0) :].sum())


def scores(model: PreTrainedModel, packing: Packing) -> torch.Tensor:
    found = torch.zeros(len(ROWS), 2)
    with torch.no_grad(), scoring(model, dense=packing.dense):
        for part in pack(ROWS, packing):
            found[part.members] = answer_log_probs(model, part)
    return found


@pytest.mark.parametrize("name", [*DENSE, *PADDED])
@pytest.mark.parametrize("budget", [60, 1000])
def test_answers_score_as_they_do_alone(name: str, budget: int) -> None:
    model = {**DENSE, **PADDED}[name]()
    dense = can_be_dense(model)
    assert dense == (name in DENSE)
    before = model.config._attn_implementation
    found = scores(model, Packing(budget, dense=dense))
    assert model.config._attn_implementation == before
    expected = [[alone(model, row["prompt"], a) for a in row["answers"]] for row in ROWS]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-4)


def test_packed_logits_are_within_1e_5_of_those_alone() -> None:
    model = llama(tie_word_embeddings=True).eval()
    rows = token_rows([(0, 30), (0, 120), (0, 7)])
    (part,) = pack(rows, Packing(1000))
    with torch.no_grad():
        with scoring(model, dense=True):
            packed = model(**part.model_inputs(), use_cache=False).logits[0]
        singles = []
        assert part.layout is not None
        for segment in part.layout.segments:
            ids = part.input_ids[:, segment.start : segment.end]
            singles.append(model(input_ids=ids).logits[0])
    assert float((packed - torch.cat(singles)).abs().max()) < 1e-5


def test_attention_dropout_is_left_to_the_model() -> None:
    assert not can_be_dense(llama(attention_dropout=0.1).eval())
    assert can_be_dense(llama().eval())


def test_bfloat16_models_are_told_apart_too() -> None:
    assert can_be_dense(llama(dtype=torch.bfloat16).eval())
    assert not can_be_dense(PADDED["mamba"]().to(torch.bfloat16))


def test_model_is_left_in_its_mode() -> None:
    model = llama().train()
    can_be_dense(model)
    assert model.training


def test_logits_that_are_not_the_output_layers_are_refused() -> None:
    model = llama().eval()
    original = model.forward

    def bent(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        outputs.logits = outputs.logits * 1.5
        return outputs

    model.forward = bent  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="are not its output layer's"):
        can_be_dense(model)


def test_output_layer_under_an_adapter_is_refused() -> None:
    model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["lm_head"]))
    (part,) = pack(ROWS[:1], Packing(100))
    with pytest.raises(TrainingError, match="not a plain linear one") as caught:
        answer_log_probs(model, part)
    assert "modules_to_save" in str(caught.value.do)


def test_output_layer_that_is_trained_beside_an_adapter_is_used() -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = get_peft_model(llama(), config)
    rows = token_rows([(6, 4)])
    (part,) = pack(rows, Packing(100))
    with scoring(model, dense=True):
        answer_log_probs(model, part).sum().backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any("lm_head.modules_to_save" in name for name in learned)
