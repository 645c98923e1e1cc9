"""The keys of transformers.TrainingArguments, read from its source without importing it."""

import ast
import difflib
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hub_trainer.recipe.value_words import KINDS, READ_AS_BOOLEAN, either, written, written_number

SHARDED = (
    "remove it: an accelerate config file says how a model is sharded, as "
    "accelerate_configs/fsdp2.yaml"
)

MAX_NAMES = 12
"""Names of a class that are listed."""

RENAMED = {
    "warmup_ratio": "write warmup_steps with a value below 1: it is the share of all steps",
    "overwrite_output_dir": "remove it: each round has a folder of its own, runs are resumed",
    "group_by_length": "remove it: batches are pooled by length already",
    "logging_dir": "remove it: logs go to the round's folder; name the tracker in report_to",
    "save_safetensors": "remove it: weights are always saved as safetensors",
    "no_cuda": "write use_cpu",
    "use_mps_device": "remove it: the device is found by itself",
    "evaluation_strategy": "write eval_strategy",
    "include_inputs_for_metrics": "write include_for_metrics",
    "push_to_hub_model_id": "write publish.repo_id",
    "push_to_hub_organization": "write publish.repo_id",
    "push_to_hub_token": "set HF_TOKEN in the environment",
    "tokenizer": "remove it: the base model's own is used",
    "per_gpu_train_batch_size": "write per_device_train_batch_size",
    "per_gpu_eval_batch_size": "write per_device_eval_batch_size",
    "adafactor": "write optim: adafactor",
    "sharded_ddp": SHARDED,
    "fp16_backend": "remove it",
    "half_precision_backend": "remove it",
    "torchdynamo": "write torch_compile_backend",
    "ray_scope": "remove it",
    "jit_mode_eval": "remove it",
    "use_ipex": "remove it",
    "tpu_num_cores": "name the number of processes in an accelerate config file",
    "past_index": "remove it",
    "fsdp_min_num_params": SHARDED,
    "fsdp_transformer_layer_cls_to_wrap": SHARDED,
}
"""Keys that transformers once had, and what to write now."""

SHORT = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
}
"""What people write for a key in short."""

OWNED = {
    "output_dir": "remove it: --round-dir says where a round is kept",
    "hub_token": "remove it: the token is read from HF_TOKEN and never written",
    "push_to_hub": "remove it: the publish section does it, behind the gate",
    "hub_model_id": "write publish.repo_id",
    "hub_private_repo": "write publish.private",
    "hub_strategy": "remove it: a round publishes once, at its end",
    "hub_always_push": "remove it: a round publishes once, at its end",
    "hub_revision": "remove it: publish decides between main and a pull request",
    "resume_from_checkpoint": "remove it: the newest valid checkpoint is resumed by itself",
    "do_train": "remove it: the stage decides",
    "do_eval": "remove it: the stage decides",
    "do_predict": "remove it: the stage decides",
    "seed": "write train.seed",
    "data_seed": "write train.seed",
    "full_determinism": "remove it: a run on the CPU is bit-identical already",
    "load_best_model_at_end": "remove it: the best checkpoint is always taken",
    "metric_for_best_model": "write evaluate.primary",
    "greater_is_better": "remove it: the metric knows its direction",
    "train_sampling_strategy": "remove it: batches are pooled by length already",
    "length_column_name": "remove it: lengths are measured",
    "remove_unused_columns": "remove it: the task knows its columns",
    "label_names": "remove it: the task knows its labels",
    "deepspeed": SHARDED,
    "fsdp": SHARDED,
    "fsdp_config": SHARDED,
    "local_rank": "remove it: the launcher sets it",
    "enable_jit_checkpoint": "remove it: SIGTERM already leaves a checkpoint at the step's end",
    "auto_find_batch_size": "remove it: batches are halved by themselves when memory is short",
    "use_liger_kernel": "remove it: kernels are never fetched",
    "liger_kernel_config": "remove it: kernels are never fetched",
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


@cache
def training_argument_types() -> dict[str, str]:
    """Field name -> annotation, as written in the installed transformers."""
    body = next(node.body for node in _classes("training_args") if node.name == "TrainingArguments")
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


@cache
def _named_values() -> dict[str, list[str]]:
    """Class of transformers whose names are taken as text -> those names."""
    return {
        node.name: [
            one.value.value
            for one in node.body
            if isinstance(one, ast.Assign)
            and isinstance(one.value, ast.Constant)
            and isinstance(one.value.value, str)
        ]
        for module in ("trainer_utils", "training_args")
        for node in _classes(module)
        if any(getattr(base, "id", "") == "ExplicitEnum" for base in node.bases)
    }


def _classes(module: str) -> list[ast.ClassDef]:
    package = find_spec("transformers")
    assert package is not None
    assert package.submodule_search_locations
    source = Path(package.submodule_search_locations[0]) / f"{module}.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def argument_faults(arguments: dict[str, Any]) -> list[str]:
    """One line `key: message` for each key that TrainingArguments does not take from a recipe."""
    faults = []
    known = training_argument_types()
    for key, value in arguments.items():
        if key in OWNED:
            faults.append(f"{key}: is not a setting of a recipe; {OWNED[key]}")
        elif key in known:
            faults += [f"{key}: {fault}" for fault in _value_faults(value, known[key])]
        elif key in RENAMED:
            faults.append(f"{key}: is gone from transformers; {RENAMED[key]}")
        elif key in SHORT:
            faults.append(f"{key}: is not a TrainingArguments key; write {SHORT[key]}")
        else:
            faults.append(f"{key}: is not a TrainingArguments key.{nearest(key, known)}")
    return faults


def parse_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Numbers that YAML reads as text, as `2e-4`, become numbers where the key takes one."""
    types = training_argument_types()
    return {key: _number(value, types[key]) for key, value in arguments.items()}


def nearest(key: str, known: Any) -> str:
    """` Did you mean x?` for the known key nearest to a misspelt one, or nothing."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _value_faults(value: Any, annotation: str) -> list[str]:
    """What is wrong with a value, as far as the annotation of its key says."""
    value = _number(value, annotation)
    named = [one.partition("[")[0] for one in annotation.split(" | ")]
    if "Literal" in named and value is False:
        return []
    names = next((_named_values()[one] for one in named if one in _named_values()), None)
    if names is not None and isinstance(value, str):
        shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
        told = f"takes one of {shown}, got {written(value)}.{nearest(value, names)}"
        return [] if value in names else [told]
    taken = [kind for kind in KINDS if (kind.__name__ if kind else "None") in named]
    kind = None if value is None else type(value)
    suits = kind in taken or (kind is int and float in taken)
    if not taken or (suits and (kind is not float or math.isfinite(value))):
        return []
    told = f"takes {either([KINDS[one] for one in taken])}, got {written(value)}"
    in_quotes = f'; put it in quotes, as "{"yes" if value else "no"}": {READ_AS_BOOLEAN}'
    return [told + in_quotes * (kind is bool and str in taken)]


def _number(value: Any, annotation: str) -> Any:
    return written_number(value) if isinstance(value, str) and "float" in annotation else value
