"""Dropout by the recipe: one probability for every dropout that a model's config names."""

import re
from typing import Any

from hub_trainer.errors import Problem, RecipeError
from hub_trainer.recipe import TrainSection

NAMES = re.compile(r"(^|_)(dropout|pdrop)(_|$)")
"""Of keys of a config, as hidden_dropout_prob, attn_pdrop; none drops whole layers."""


def dropout_keys(config: Any) -> list[str]:
    """The keys of a config that hold the probability of a dropout, in its own order.

    One that is null takes the value of another there, so it is none of them.
    """
    return [
        key
        for key, value in vars(config).items()
        if NAMES.search(key)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < 1
    ]


def set_dropout(config: Any, share: float | None) -> None:
    """Write the probability into each of the config's dropouts, before a model is made of it.

    Raises RecipeError where the config has none.
    """
    if share is None:
        return
    keys = dropout_keys(config)
    if not keys:
        raise RecipeError([_no_dropout(config)], source="train")
    for key in keys:
        setattr(config, key, share)


def dropout_problems(train: TrainSection, config: Any) -> list[Problem]:
    """A dropout that is asked of a model that has none."""
    if train.dropout is None or dropout_keys(config):
        return []
    return [_no_dropout(config)]


def dropout_notes(config: Any, share: float | None) -> list[str]:
    """What of the config the recipe has set."""
    if share is None:
        return []
    return [f"dropout {share:g} by train.dropout: {', '.join(dropout_keys(config))}"]


def _no_dropout(config: Any) -> Problem:
    kind = type(config).__name__.removesuffix("Config")
    text = f"train.dropout: a model of {kind} has no dropout; remove it, or use weight_decay"
    return Problem("train.dropout", text)
