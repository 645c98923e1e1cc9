"""Byte-level tokenizers with chat templates, and causal models of a few thousand parameters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SHARED = Path(__file__).resolve().parents[4] / "shared"
STORIES = SHARED / "data" / "models" / "tinystories-260k-llama"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="needs the TinyStories model of ../shared"
)

WITH_TAGS = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n'}}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{m['content'] + '<|im_end|>'}}"
    "{% endgeneration %}{{'\\n'}}{% else %}{{m['content'] + '<|im_end|>\\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)
WITHOUT_TAGS = (
    "{% if tools %}{{'<|im_start|>tools\\n' + tools | tojson + '<|im_end|>\\n'}}{% endif %}"
    "{% for m in messages %}"
    "{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n'}}"
    "{% if loop.last and m['role'] == 'assistant' %}{{'<think></think>'}}{% endif %}"
    "{{m['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)
"""Renders the last turn in another way than the turns before it."""

CHAT = (
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "No."},
)


def tokenizer(template: str | None = WITH_TAGS, **special: Any) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "<|im_start|>", "<|im_end|>", "<pad>"])
    known = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>", **special}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **known)
    made.chat_template = template
    return made


def llama(*, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Large initial weights, so that a leak between sequences cannot pass unseen."""
    shape = {
        "vocab_size": 262,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        "pad_token_id": None,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).to(dtype)


def token_rows(
    sizes: list[tuple[int, ...]], *, seed: int = 0, vocabulary: int = 262
) -> list[dict[str, Any]]:
    """Rows of random ids: (prompt, answer, ...) lengths; all tokens of the answers are learned."""
    random = torch.Generator().manual_seed(seed)

    def ids(count: int) -> list[int]:
        found: list[int] = torch.randint(vocabulary, (count,), generator=random).tolist()
        return found

    rows = []
    for prompt, *answers in sizes:
        found = [ids(count) for count in answers]
        learned = [[True] * count for count in answers]
        rows.append({"prompt": ids(prompt), "answers": found, "trained": learned, "weight": 1.0})
    return rows
