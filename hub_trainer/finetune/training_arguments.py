"""A recipe's TrainingArguments: the user's keys by their own names, with defaults that fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from hub_trainer.errors import Problem, RecipeError, TrainingError
from hub_trainer.ranks import asked
from hub_trainer.recipe.arguments import argument_faults


def training_arguments(
    arguments: Mapping[str, Any],
    *,
    output_dir: Path,
    seed: int,
    evaluates: bool,
    metric_for_best: str | None = None,
) -> TrainingArguments:
    """The user's arguments over defaults for this machine; every refused key in one error."""
    faults = argument_faults(dict(arguments))
    if faults:
        problems = [
            Problem(f"train.arguments.{fault.partition(':')[0]}", f"train.arguments.{fault}")
            for fault in faults
        ]
        raise RecipeError(problems, source="train.arguments")
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


def assert_as_asked(args: TrainingArguments) -> None:
    """Stop unless what runs is what was asked for: launchers fall back silently.

    Every difference is in the one error. How the model is split is held against it by
    `sharding.assert_split`, once it is.
    """
    from accelerate import PartialState

    # Without the hint the first state made on a machine without accelerators is of one process.
    state = PartialState(cpu=not torch.accelerator.is_available())
    processes, where = int(os.environ.get("WORLD_SIZE", "1")), "the launcher's WORLD_SIZE"
    device = None
    wanted = asked()
    if wanted is not None:
        processes, where = wanted.processes, wanted.where
        on_gpu = not wanted.on_cpu and torch.accelerator.is_available()
        device = str(torch.accelerator.current_accelerator()) if on_gpu else "cpu"
    faults = []
    if state.num_processes != processes:
        faults.append(f"{processes} processes were asked for, {state.num_processes} are running")
    if device is not None and args.device.type != device:
        faults.append(f"device {device} was asked for, {args.device.type} is used")
    alone = str(state.distributed_type).endswith("NO")
    if processes > 1 and alone:
        faults.append(f"processes that train together were asked for, {processes} train alone")
    if faults:
        raise TrainingError(
            "What runs is not what was asked for.",
            where=where,
            got="; ".join(faults),
            do="start it by `hub-trainer run RECIPE --accelerate-config FILE` or by torchrun:"
            " accelerate launch --cpu --num_processes starts one process and says nothing",
        )


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
    on_cpu = (
        not torch.accelerator.is_available()
        or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    )
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
