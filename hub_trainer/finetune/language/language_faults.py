"""Faults of a recipe or a row for a language model, found before any training."""

import math
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM

from hub_trainer.errors import Problem
from hub_trainer.finetune.classifier_checks import argument_problems, base_problems
from hub_trainer.finetune.language.serving import load_tokenizer
from hub_trainer.finetune.language.tune import LOSSES
from hub_trainer.finetune.positions import longest_input
from hub_trainer.inputs.language_examples import (
    KIND_OF,
    Content,
    Example,
    Row,
    example_of,
    is_learned,
)
from hub_trainer.recipe import Recipe, TrainSection
from hub_trainer.recipe.schema import LanguageSection

Folders = tuple[Path, Path | None]
JSON_SCHEMA = "json_schema"


def language_problems(recipe: Recipe, folders: Folders | None) -> list[Problem]:
    """What is wrong with the settings, and with the base model if its small files are there."""
    train = recipe.train
    found = argument_problems(train)
    found += _as_problems(_idle_keys(train)) + _as_problems(_wrong_loss(train))
    found += _as_problems(_schema_and_metric(recipe))
    if folders is None:
        return found
    found += _as_problems(_adapter_faults(train, folders))
    max_length = recipe.prepare.max_length
    built = base_problems(AutoModelForCausalLM, train, *folders, max_length=max_length)
    if any(problem.key == "base_model" for problem in built):
        return found + built
    return found + built + _as_problems(_length_faults(recipe, folders))


def row_faults(row: Row) -> list[str]:
    """What is wrong with a canonical row of language data; nothing is a good row."""
    if row.get("label") not in KIND_OF:
        return [f"label is none of {', '.join(KIND_OF)}"]
    try:
        example = example_of(row)
    except (KeyError, TypeError, ValueError):
        return ["example is not one of language data"]
    return list(_example_faults(example))


def _example_faults(example: Example) -> Iterator[str]:
    spoken = [answer for answer in example.answers if not isinstance(answer, str)]
    if not all(any(turn["role"] == "assistant" for turn in answer) for answer in spoken):
        yield "no turn is the assistant's"
    elif not all(any(map(is_learned, answer)) for answer in spoken):
        yield "each of the assistant's turns has the weight 0"
    elif not all(_says_something(answer) for answer in example.answers):
        yield "an answer is empty"
    if not math.isfinite(example.weight) or example.weight < 0:
        yield "the weight is not a number from 0 on"


def _says_something(answer: Content) -> bool:
    """Each turn that is learned must say something, by words or by calling a tool.

    One that is empty would teach to say nothing, wherever in the dialogue it stands.
    """
    if isinstance(answer, str):
        return bool(answer.strip())
    said = filter(is_learned, answer)
    return all(str(turn.get("content") or "").strip() or turn.get("tool_calls") for turn in said)


def _as_problems(faults: Iterator[tuple[str, str]]) -> list[Problem]:
    return [Problem(key, f"{key}: {what}") for key, what in faults]


# Settings


def _idle_keys(train: TrainSection) -> Iterator[tuple[str, str]]:
    """Keys that are set and change nothing, by method and loss."""
    language = train.language or LanguageSection()
    named, loss = language.model_fields_set, language.loss_type
    if language.merge and not train.method_facts.adapter:
        yield "train.language.merge", f"changes nothing under method {train.method}; remove it"
    if "quantization" in named and not train.method_facts.quantized:
        what = f"changes nothing under method {train.method}; qlora uses it"
        yield "train.language.quantization", what
    of_ratings = ("desirable_weight", "undesirable_weight")
    idle = {name: LOSSES["kto"] for name in of_ratings if getattr(language, name) is not None}
    if "beta" in named:
        idle["beta"] = LOSSES["dpo"] + LOSSES["kto"]
    if language.train_on in ("assistant", "all"):
        idle["train_on"] = LOSSES["sft"]
    for name, used in idle.items():
        if loss is not None and loss not in used:
            what = f"changes nothing in the loss {loss}; {', '.join(used)} use it"
            yield f"train.language.{name}", what


def _wrong_loss(train: TrainSection) -> Iterator[tuple[str, str]]:
    language = train.language or LanguageSection()
    smoothed = language.label_smoothing > 0
    if language.loss_type == "robust" and not smoothed:
        what = "robust needs the share of preferences that are flipped, above 0 and below 0.5"
        yield "train.language.label_smoothing", what
    elif smoothed and language.loss_type != "robust":
        yield "train.language.label_smoothing", "changes nothing but in the loss robust; remove it"
    if language.loss_type == "kto" and _rows_per_batch(train) < 2:
        what = (
            "kto needs batches of two or more ratings; raise it or gradient_accumulation_steps, or"
            " use the loss apo_zero_unpaired"
        )
        yield "train.arguments.per_device_train_batch_size", what


def _rows_per_batch(train: TrainSection) -> int:
    """In one process; several make it larger."""
    per_device = int(train.arguments.get("per_device_train_batch_size", 8))
    return per_device * int(train.arguments.get("gradient_accumulation_steps", 1))


def _schema_and_metric(recipe: Recipe) -> Iterator[tuple[str, str]]:
    named, schema = JSON_SCHEMA in recipe.evaluate.metrics, recipe.evaluate.json_schema
    if named and schema is None:
        what = "the metric json_schema needs a JSON Schema to hold answers to"
        yield "evaluate.json_schema", what
    if schema is not None and not named:
        what = "changes nothing without the metric json_schema; name it in metrics or remove this"
        yield "evaluate.json_schema", what


# The base model


def _adapter_faults(train: TrainSection, folders: Folders) -> Iterator[tuple[str, str]]:
    if folders[1] is None:
        return
    if not train.method_facts.adapter:
        what = f"the base model is an adapter, and {train.method} does not train one; use lora or"
        yield "train.method", f"{what} qlora, or merge it into its base first"
    if train.lora is not None:
        yield "train.lora", "changes nothing: the base model is an adapter, with its own settings"


def _length_faults(recipe: Recipe, folders: Folders) -> Iterator[tuple[str, str]]:
    """Faults of the settings beside a base model that has none."""
    model_dir, base_dir = folders
    config = AutoConfig.from_pretrained(base_dir or model_dir, trust_remote_code=False)
    longest = longest_input(load_tokenizer(model_dir, base_dir), config)
    generation = recipe.evaluate.generation
    if longest is None or generation is None:
        return
    if generation.max_new_tokens >= longest:
        what = f"{generation.max_new_tokens} tokens leave no room for a prompt in the {longest}"
        yield "evaluate.generation.max_new_tokens", f"{what} that the base model takes"
