"""Positions that a model can use, by its position tables, its config and its tokenizer."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

UNLIMITED = 1_000_000
"""Tokenizers say a larger number than this when they know of no limit."""
POSITION_TABLES = ("position", "wpe")
"""One of these stands in the name of every table of learned positions."""


def longest_input(tokenizer: Any, config: Any, model: nn.Module | None = None) -> int | None:
    """Tokens that the model takes, or None when nothing says.

    Without the model, one of the same shape is built without memory to look at its tables.
    """
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < UNLIMITED else []
    said = getattr(config.get_text_config(), "max_position_embeddings", None)
    # Some models with relative positions say -1 or 0.
    limits += [said] if isinstance(said, int) and said > 0 else []
    limits += usable_positions(model or _without_memory(config))
    return min(limits, default=None)


def usable_positions(model: nn.Module) -> list[int]:
    """For each table of learned positions, how many tokens it has a row for.

    A table that knows the padding token's row counts positions from behind it.
    """
    return [len(table.weight) - _first_position(table) for table in _tables(model)]


def counts_behind_padding(model: nn.Module) -> bool:
    """Whether positions begin behind the padding token's row of a table."""
    return any(_first_position(table) for table in _tables(model))


def _first_position(table: Any) -> int:
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _tables(model: nn.Module) -> Iterator[Any]:
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if hasattr(module, "padding_idx") and any(part in last for part in POSITION_TABLES):
            yield module


def _without_memory(config: Any) -> nn.Module:
    # What has no body of its own has no table that could be looked at.
    with suppress(ValueError), torch.device("meta"):
        model: nn.Module = AutoModel.from_config(config, trust_remote_code=False)
        return model
    return nn.Module()
