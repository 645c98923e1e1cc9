"""Tokenizer of a folder, set to the length at which texts are cut, and its model beside it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.label_scores import device
from hub_trainer.finetune.model_folder import TOKENIZER_FILES, file_stamp, has_any
from hub_trainer.finetune.positions import UNLIMITED, longest_input


def load_tokenizer(folder: Path, max_length: int | None) -> Any:
    """The folder's tokenizer, which cuts at `max_length` or at what the model takes."""
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    limit = longest_input(tokenizer, AutoConfig.from_pretrained(folder, trust_remote_code=False))
    if max_length is not None or limit is not None:
        tokenizer.model_max_length = max_length or limit
    if tokenizer.pad_token is None:
        # Padding is masked by attention, so which token fills it does not matter.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def limit_of(tokenizer: Any) -> int | None:
    """Tokens at which such a tokenizer cuts; None where it does not."""
    limit = int(tokenizer.model_max_length)
    return limit if limit < UNLIMITED else None


def load_reader(auto_class: Any, model_dir: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder; kept until its files change."""
    return _loaded(auto_class, model_dir, file_stamp(model_dir))


def encode(tokenizer: Any, contents: Sequence[str | Mapping[str, str]], **options: Any) -> Any:
    """Contents as a pipeline of transformers encodes them: texts, or texts with a second one each.

    Where a pair is too long, the longer text of the two is cut.
    """
    pairs = [one for one in contents if not isinstance(one, str)]
    if not pairs:
        return tokenizer(list(contents), **options)
    columns = {name: [one[name] for one in pairs] for name in pairs[0]}
    return tokenizer(**columns, **options)


def unread_of_text(model_dir: Path, content: str | Mapping[str, str]) -> list[str]:
    """A sentence where a model reads only the beginning of a text, or of one of a pair."""
    if not has_any(model_dir, TOKENIZER_FILES):
        return []
    tokenizer = _tokenizer(model_dir, file_stamp(model_dir))
    longest = tokenizer.model_max_length
    [tokens] = encode(tokenizer, [content], truncation=False, verbose=False)["input_ids"]
    if len(tokens) <= longest:
        return []
    if isinstance(content, str):
        read = f"Only the first {longest:,} of {len(tokens):,} tokens were read"
    else:
        read = (
            f"Only {longest:,} of {len(tokens):,} tokens were read, the longer text not to its end"
        )
    return [f"{read}: the model takes no more."]


@lru_cache(maxsize=2)
def _tokenizer(model_dir: Path, stamp: str) -> Any:
    del stamp
    return AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)


@lru_cache(maxsize=2)
def _loaded(auto_class: Any, model_dir: Path, stamp: str) -> tuple[Any, Any]:
    del stamp
    with quiet_transformers():
        model = auto_class.from_pretrained(
            model_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    return model.to(device()).eval(), load_tokenizer(model_dir, None)
