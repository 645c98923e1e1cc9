"""Tokenizer of a folder, set to the length at which texts are cut."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from hub_trainer.finetune.classifier import quiet_transformers
from hub_trainer.finetune.positions import longest_input


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
