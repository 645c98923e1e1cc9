"""A recipe's TrainingArguments: the user's keys by their own names, with defaults that fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from hub_trainer.errors import Problem, RecipeError, TrainingError
from hub_trainer.recipe.arguments import argument_faults

OWNED = {
    "ignore_data_skip": "remove it: a resumed run sees the same rows in the same order",
    "restore_callback_states_from_checkpoint": "remove it: early stopping is always resumed",
    "save_only_model": "remove it: a checkpoint holds what an exact resume needs",
    "save_on_each_node": "remove it: the first process writes the checkpoints",
    "dataloader_drop_last": "remove it: batches differ by one row at most, none is dropped",
    "average_tokens_across_devices": "remove it: the loss is normalised over all processes",
    "disable_tqdm": "remove it: a progress bar is shown when there is a terminal",
    "logging_nan_inf_filter": "remove it: a loss that is not finite is never hidden",
    "include_num_input_tokens_seen": "remove it: tokens are counted without padding",
    "include_for_metrics": "remove it: metrics take predictions and references",
    "batch_eval_metrics": "remove it: evaluation keeps only what the metrics need",
    "eval_do_concat_batches": "remove it: evaluation keeps only what the metrics need",
    "eval_use_gather_object": "remove it: evaluation gathers by itself",
    "eval_accumulation_steps": "remove it: evaluation keeps nothing on the device",
    "prediction_loss_only": "remove it: evaluation keeps only what the metrics need",
}
"""Keys that the engine sets itself, beside those that no recipe may set."""


def training_arguments(
    arguments: Mapping[str, Any],
    *,
    output_dir: Path,
    seed: int,
    evaluates: bool,
    metric_for_best: str | None = None,
) -> TrainingArguments:
    """The user's arguments over defaults for this machine; every refused key in one error."""
    _check_keys(arguments)
    settings = _defaults(seed) | _rhythm(arguments, evaluates, metric_for_best) | dict(arguments)
    _check_rhythm(settings, evaluates=evaluates)
    try:
        args = TrainingArguments(output_dir=str(output_dir), **_engine_settings(), **settings)
    except (TypeError, ValueError) as error:
        problem = Problem("train.arguments", f"train.arguments: {error}")
        raise RecipeError([problem], source="train.arguments") from error
    # More than one GPU under one process would be nn.DataParallel: `accelerate launch` uses them.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def assert_world_size(expected: int) -> None:
    """Stop unless as many processes run as were asked for: launchers fall back silently."""
    from accelerate import PartialState

    # Without the hint the first state made on a machine without accelerators is of one process.
    running = PartialState(cpu=not torch.accelerator.is_available()).num_processes
    if running != expected:
        raise TrainingError(
            f"{expected} processes were asked for.",
            got=f"{running} running",
            do=f"start it with torchrun --nproc_per_node {expected}: accelerate launch --cpu"
            " --num_processes starts one process and says nothing",
        )


def _check_keys(arguments: Mapping[str, Any]) -> None:
    faults = argument_faults({k: v for k, v in arguments.items() if k not in OWNED})
    faults += [f"{k}: is set by the engine; {OWNED[k]}" for k in arguments if k in OWNED]
    if faults:
        problems = [Problem(_path(fault), f"train.arguments.{fault}") for fault in faults]
        raise RecipeError(problems, source="train.arguments")


def _path(fault: str) -> str:
    return f"train.arguments.{fault.partition(':')[0]}"


def _check_rhythm(settings: Mapping[str, Any], *, evaluates: bool) -> None:
    """Evaluations and checkpoints must fall on the same steps: the best model is a checkpoint."""
    problems = []
    evaluation = settings.get("eval_strategy", "no")
    if not evaluates and evaluation != "no":
        key = "train.arguments.eval_strategy"
        problems.append(Problem(key, f"{key} needs a validation split, and there is none"))
    elif evaluation != "no" and evaluation != settings["save_strategy"]:
        key = "train.arguments.save_strategy"
        message = f"{key} must be the same as eval_strategy: the best model is a checkpoint"
        problems.append(Problem(key, message))
    limit = settings.get("save_total_limit")
    if limit is not None and limit < 2:
        key = "train.arguments.save_total_limit"
        message = f"{key} must be 2 or more: a checkpoint is trusted once the next one is verified"
        problems.append(Problem(key, message))
    if problems:
        raise RecipeError(problems, source="train.arguments")


def _defaults(seed: int) -> dict[str, Any]:
    on_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    return {
        "seed": seed,
        "report_to": "none",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": 0.02,
        "save_total_limit": 2,
    }


def _rhythm(
    arguments: Mapping[str, Any], evaluates: bool, metric_for_best: str | None
) -> dict[str, Any]:
    """Evaluate and save each epoch, or as the user says of either; bfloat16 where it is fast."""
    on_gpu = torch.cuda.is_available() and not arguments.get("use_cpu")
    settings: dict[str, Any] = {
        "save_strategy": arguments.get("eval_strategy", "epoch"),
        "bf16": on_gpu and torch.cuda.is_bf16_supported() and not arguments.get("fp16"),
    }
    if "eval_steps" in arguments:
        settings["save_steps"] = arguments["eval_steps"]
    if evaluates and arguments.get("eval_strategy") != "no":
        settings |= {
            "eval_strategy": arguments.get("save_strategy", "epoch"),
            "load_best_model_at_end": True,
            "metric_for_best_model": metric_for_best or "loss",
            "per_device_eval_batch_size": 64,
        }
        if "save_steps" in arguments:
            settings["eval_steps"] = arguments["save_steps"]
    return settings


def _engine_settings() -> dict[str, Any]:
    return {
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "restore_callback_states_from_checkpoint": True,
    }
