"""Models that keep a state in place of keys and values: they answer and learn as they do alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from hub_trainer.finetune.language.generate import Sampling, Way, generate, stream, way_of
from hub_trainer.finetune.language.packing import Packing
from hub_trainer.finetune.language.references import score_rows
from hub_trainer.finetune.language.scoring import can_be_dense
from hub_trainer.finetune.methods import apply_method
from hub_trainer.tasks import ModelFolders, Splits
from hub_trainer.tasks.text_generation import TASK
from tests.finetune.language.tiny import token_rows, tokenizer
from tests.tasks.factory import recipe
from tests.tasks.language import demonstrations

SIZE = {"vocab_size": 262, "hidden_size": 32, "num_hidden_layers": 2}
STATE = {**SIZE, "state_size": 8}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
MAMBA_IN_IT = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 2}

FAMILIES: dict[str, tuple[dict[str, Any], Way]] = {
    "Llama": ({**SIZE, **HEADS}, Way()),
    "Mamba": (STATE, Way(together=False)),
    "FalconMamba": (STATE, Way(together=False)),
    "Mamba2": ({**STATE, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16}, Way()),
    "Rwkv": ({**SIZE, "context_length": 96}, Way(together=False, remembers=False)),
    "xLSTM": (
        {**SIZE, "hidden_size": 64, "num_heads": 2, "num_blocks": 2},
        Way(together=False, remembers=False),
    ),
    "RecurrentGemma": (
        {**SIZE, "num_hidden_layers": 3, "num_attention_heads": 2, "lru_width": 32,
         "intermediate_size": 96, "attention_window_size": 32},
        Way(together=False),
    ),
    "FalconH1": ({**SIZE, **HEADS, **MAMBA_IN_IT, "mamba_d_ssm": 64}, Way()),
    "Lfm2": ({**SIZE, **HEADS, "layer_types": ["conv", "full_attention"]}, Way()),
}  # fmt: skip


def made(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**FAMILIES[name][0])
    model: PreTrainedModel = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():  # large weights, so that a wrong state cannot pass unseen
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2)
    return model.eval()


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_way_when_tried_then_the_quickest_that_is_right(family: str) -> None:
    assert way_of(made(family)) == FAMILIES[family][1]


def test_answers_when_asked_together_then_those_of_the_whole_text_read_anew(family: str) -> None:
    model, prompts = made(family), [[5, 6, 7], [40, 41, 42, 43, 44, 45, 46, 47], [99]]
    sampling = Sampling(max_new_tokens=9)
    way = way_of(model)
    found = generate(model, prompts, sampling, way=way)
    for prompt, answer in zip(prompts, found, strict=True):
        text = list(prompt)
        for token in answer:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
            assert int(logits.argmax()) == token
            text.append(token)
    assert [*stream(model, prompts[1], sampling, way=way)] == found[1]


def test_likelihoods_when_padded_then_those_of_a_row_alone(family: str) -> None:
    model, rows = made(family), token_rows([(3, 5), (9, 2), (1, 7)])
    packing = Packing(64, dense=can_be_dense(model))
    found = score_rows(model, rows, packing)[:, 0]
    for row, score in zip(rows, found, strict=True):
        text = torch.tensor([[*row["prompt"], *row["answers"][0]]])
        with torch.no_grad():
            known = model(input_ids=text, use_cache=False).logits.log_softmax(-1)
        start = len(row["prompt"])
        alone = known[0, start - 1 : -1].gather(1, text[0, start:, None]).sum()
        assert float(score) == pytest.approx(float(alone), rel=1e-4)


def test_adapter_when_everywhere_then_on_no_layer_whose_weights_are_read_past_it() -> None:
    model, report = apply_method(made("Mamba"), "lora", lora={"r": 2})
    names = {name for name, one in model.named_modules() if hasattr(one, "lora_A")}
    assert any(name.endswith("in_proj") for name in names)
    assert not any(name.endswith("out_proj") for name in names)
    assert report.trainable_parameters > 0


@pytest.mark.parametrize(("family", "method"), [("FalconMamba", "full"), ("Mamba", "lora")])
def test_fit_when_the_base_is_recurrent_then_it_learns(
    family: str, method: str, tmp_path: Path
) -> None:
    model, words = made(family), tokenizer(None, model_max_length=96)
    model.generation_config.eos_token_id = words.eos_token_id
    model.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    arguments = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 0.01,
                 "logging_steps": 1}  # fmt: skip
    wanted = recipe(
        "text-generation",
        evaluate__metrics=["perplexity"],
        evaluate__primary="perplexity",
        train__method=method,
        train__arguments=arguments,
    )
    splits = Splits(demonstrations(24), demonstrations(6, seed=1), [])
    silent: Callable[[float, str], None] = lambda share, doing: None  # noqa: E731
    report = TASK.fit(
        splits, wanted, tmp_path / "out", base=ModelFolders(tmp_path / "base"), progress=silent
    )
    losses = [entry["loss"] for entry in report.history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_probe_when_the_model_is_plain_then_none_of_it_is_left(family: str) -> None:
    model = made(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    way_of(model)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
