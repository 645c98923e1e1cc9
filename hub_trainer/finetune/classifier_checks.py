"""Faults of a base model for a recipe, found in its small files before any training."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_trainer.errors import Problem, ProblemsError, TrainingError
from hub_trainer.finetune.base_look import look_at_base
from hub_trainer.finetune.depth import depths_of
from hub_trainer.finetune.dropout import dropout_problems
from hub_trainer.finetune.methods import apply_method
from hub_trainer.finetune.mixup import mixup_problems
from hub_trainer.finetune.positions import longest_input
from hub_trainer.finetune.training_arguments import training_arguments
from hub_trainer.recipe import TrainSection

SUITS: Mapping[str, tuple[str, ...]] = {
    "focal": ("single_label_classification", "multi_label_classification"),
    "huber": ("regression",),
    "cosent": ("similarity",),
    "in_batch": ("similarity",),
}
"""Name in `train.loss` -> how transformers reads the outputs that it is for."""
OUTPUTS: Mapping[str, str] = {
    "single_label_classification": "labels",
    "multi_label_classification": "sets of labels",
    "regression": "numbers",
    "similarity": "cosines",
}


def base_problems(
    auto_class: Any,
    train: TrainSection,
    model_dir: Path,
    base_dir: Path | None = None,
    *,
    max_length: int | None = None,
) -> list[Problem]:
    """What is wrong with the base model for this class, or with the method on it.

    The model is built without memory (on the meta device), so that blocks and layer names are
    counted in what would really be trained. An adapter has a base model beside it.
    """
    look = look_at_base(auto_class, model_dir, base_dir)
    problems = [Problem("base_model", f"base_model: {fault}") for fault in look.faults]
    if look.model is None:
        return problems
    if look.tokenizer is not None and max_length is not None:
        longest = longest_input(look.tokenizer, look.model.config, look.model)
        if longest is not None and max_length > longest:
            text = f"prepare.max_length: {max_length} tokens, but the base model takes {longest}"
            problems.append(Problem("prepare.max_length", text))
    problems += dropout_problems(train, look.model.config) + mixup_problems(train, look.model)
    return problems + _method_problems(look.model, train, is_adapter=base_dir is not None)


def loss_problems(train: TrainSection, problem_type: str) -> list[Problem]:
    """A loss that is none for what the model's outputs are."""
    if train.loss is None or problem_type in SUITS[train.loss.name]:
        return []
    name, outputs = train.loss.name, OUTPUTS[problem_type]
    usable = [loss for loss, types in SUITS.items() if problem_type in types]
    text = f"train.loss: {name} is no loss of {outputs}; use {' or '.join(usable)}, or remove it"
    return [Problem("train.loss", text)]


def argument_problems(train: TrainSection) -> list[Problem]:
    """What TrainingArguments itself would refuse, or the engine, once training began."""
    try:
        arguments = training_arguments(
            train.arguments,
            output_dir=Path(tempfile.gettempdir()),
            seed=train.seed,
            evaluates=True,
        )
    except ProblemsError as error:
        return [Problem(p.key, _with_key(p)) for p in error.problems]
    if train.early_stopping is not None and arguments.eval_strategy == "no":
        text = "train.early_stopping: nothing is evaluated with eval_strategy: no; remove one"
        return [Problem("train.early_stopping", text)]
    return []


def _method_problems(model: Any, train: TrainSection, *, is_adapter: bool) -> list[Problem]:
    settings = train.method_settings
    if is_adapter:
        settings["lora"] = None
    try:
        apply_method(model, train.method, **settings)
        if train.layer_decay is not None:
            depths_of(model, train.method_settings["new_blocks"])
    except ProblemsError as error:
        return [Problem(p.key, _with_key(p)) for p in error.problems]
    except TrainingError as error:
        do = f"; {error.do}" if error.do else ""
        return [Problem("train.method", f"train.method: {error.what}{do}")]
    return []


def _with_key(problem: Problem) -> str:
    return f"{problem.key}: {problem.message.removeprefix(problem.key).lstrip(': ')}"
