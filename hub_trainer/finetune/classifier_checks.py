"""What is wrong with a base model for a recipe, judged by its small files before any training."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hub_trainer.errors import Problem, ProblemsError, TrainingError
from hub_trainer.finetune.arguments import training_arguments
from hub_trainer.finetune.classifier import quiet_transformers, set_labels
from hub_trainer.finetune.methods import apply_method
from hub_trainer.finetune.model_folder import CONFIG, code_faults
from hub_trainer.recipe import TrainSection


def base_problems(auto_class: Any, train: TrainSection, base_dir: Path) -> list[Problem]:
    """What is wrong with the base model for this class, or with the method on it.

    The model is built without memory (on the meta device), so that blocks and layer names are
    counted in what would really be trained.
    """
    faults = code_faults(base_dir)
    if not (base_dir / CONFIG).exists():
        faults.append(f"has no {CONFIG}; name a model repo of the transformers library")
    if faults:
        return [Problem("base_model", f"base_model: {fault}") for fault in faults]
    try:
        config = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
        if auto_class is not AutoModelForCausalLM:
            set_labels(config, "ab")
        with torch.device("meta"), quiet_transformers():
            model = auto_class.from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        return [Problem("base_model", f"base_model: cannot be used for this task: {first}")]
    return _method_problems(model, train)


def argument_problems(train: TrainSection) -> list[Problem]:
    """What TrainingArguments itself would refuse, or the engine, once training began."""
    try:
        training_arguments(
            train.arguments,
            output_dir=Path(tempfile.gettempdir()),
            seed=train.seed,
            evaluates=True,
        )
    except ProblemsError as error:
        return [Problem(p.key, _with_key(p)) for p in error.problems]
    return []


def _method_problems(model: Any, train: TrainSection) -> list[Problem]:
    lora = train.lora.model_dump() if train.lora else None
    # Without weights nothing is quantized; the layers that learn are the same.
    method = "lora" if train.method == "qlora" else train.method
    try:
        apply_method(model, method, lora=lora, last_n=train.last_n)  # type: ignore[arg-type]
    except ProblemsError as error:
        return [Problem(p.key, _with_key(p)) for p in error.problems]
    except TrainingError as error:
        return [Problem("train.method", f"train.method: {error.what}")]
    return []


def _with_key(problem: Problem) -> str:
    return f"{problem.key}: {problem.message.removeprefix(problem.key).lstrip(': ')}"
