"""The dry run: what a round would train, need and write, without training or writing it."""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hub_trainer.artifacts import Artifact, find_artifact
from hub_trainer.base_models import assert_sound, base_folders
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, pin_round
from hub_trainer.loop import run_stage
from hub_trainer.recipe import Recipe, RecipeFile
from hub_trainer.rows.store import read_rows
from hub_trainer.tasks import ModelFolders, is_generation, load_task

CARD_FILES = ("README.md", "round.json", ".eval_results/*.yaml")
CONFUSION = "figures/confusion.png"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")


def plan_round(recipe_file: RecipeFile, hub: Hub) -> dict[str, Any]:
    """Collect and prepare in a folder that is thrown away, and count from there."""
    recipe = recipe_file.recipe
    with tempfile.TemporaryDirectory(prefix="hub-trainer-plan-") as scratch:
        round_dir = Path(scratch)
        pins = pin_round(recipe, round_dir, hub)
        for stage in ("collect", "prepare"):
            run_stage(stage, recipe, round_dir, hub)
        prepared = find_artifact(round_dir / "prepare")
        assert prepared is not None
        rows = prepared.outputs["rows"]
        labels = prepared.outputs["label_names"]
        task, base = load_task(recipe.task), _base_model(recipe, pins, hub)
        sizes = base and count_sizes(recipe, base, num_labels=len(labels))
        tokens = count_tokens(recipe, base, prepared) if is_generation(task) and base else None
        return {
            "recipe": recipe.model_dump(mode="json"),
            "round": pins.round,
            "pins": json.loads((round_dir / "pins.json").read_text()),
            "rows": rows,
            "labels": None if is_generation(task) else len(labels),
            "tokens": tokens,
            "dropped": prepared.outputs.get("dropped", {}),
            "steps": count_steps(recipe.train.arguments, rows["train"]),
            "parameters": sizes and sizes[0],
            "memory_mb": sizes and sizes[1],
            "writes": planned_writes(recipe, pins),
        }


def count_steps(arguments: Mapping[str, Any], num_rows: int, num_processes: int = 1) -> int:
    """Optimiser steps, as transformers' Trainer counts them."""
    if arguments.get("max_steps", -1) > 0:
        return int(arguments["max_steps"])
    per_device = int(arguments.get("per_device_train_batch_size", 8))
    accumulation = int(arguments.get("gradient_accumulation_steps", 1))
    batches = math.ceil(num_rows / (per_device * num_processes))
    steps_per_epoch = max(1, math.ceil(batches / accumulation))
    return math.ceil(float(arguments.get("num_train_epochs", 3)) * steps_per_epoch)


def _base_model(recipe: Recipe, pins: Pins, hub: Hub) -> ModelFolders | None:
    """The base model's small files, without weights; None where there is no base model."""
    if pins.base_model is None:
        return None
    folders = base_folders(recipe, pins.base_model, hub, with_weights=False)
    assert_sound(recipe, pins.base_model, folders)
    return folders


def count_sizes(
    recipe: Recipe, base: ModelFolders, *, num_labels: int
) -> tuple[dict[str, int], dict[str, float]] | None:
    """Parameters, and MiB in training; None for what is no model of transformers."""
    task = load_task(recipe.task)
    auto_name, is_language = task.card().auto_class, is_generation(task)
    if auto_name is None:
        return None
    from hub_trainer.finetune.sizes import count_parameters, estimate_memory

    labels = 0 if is_language else num_labels
    found = count_parameters(auto_name, base.model, base.base, recipe.train, num_labels=labels)
    return found, estimate_memory(found, recipe.train, is_language=is_language)


def count_tokens(recipe: Recipe, base: ModelFolders, prepared: Artifact) -> dict[str, int]:
    """Tokens of one epoch, and rows that are cut or have nothing left to learn."""
    task = load_task(recipe.task)
    assert is_generation(task)
    read = task.preview(read_rows(prepared.folder / "train.parquet"), recipe, base)
    cut, dropped = read.num_truncated, read.num_dropped
    return {"train": read.num_tokens, "truncated_rows": cut, "dropped_rows": dropped}


def render_plan(planned: Mapping[str, Any]) -> RenderableType:
    """The plan as people read it."""
    recipe = planned["recipe"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("round", str(planned["round"]))
    labels, tokens = planned["labels"], planned["tokens"]
    table.add_row("task", recipe["task"] + (f", {labels} labels" if labels is not None else ""))
    for pinned in planned["pins"]["datasets"]:
        table.add_row("data", f"{pinned['repo_id']}@{pinned['commit_sha'][:7]}")
    base = planned["pins"]["base_model"]
    table.add_row("base model", f"{base['repo_id']}@{base['commit_sha'][:7]}" if base else "none")
    table.add_row("rows", ", ".join(f"{name} {n:,}" for name, n in planned["rows"].items()))
    if tokens:
        cut = f"{tokens['truncated_rows']:,} rows cut at their end"
        left_out = f"{tokens['dropped_rows']:,} with nothing left to learn"
        table.add_row("tokens", f"{tokens['train']:,} per epoch; {cut}, {left_out}")
    if planned["parameters"]:
        counts = planned["parameters"]
        table.add_row("method", f"{recipe['train']['method']}, {planned['steps']:,} steps")
        table.add_row("parameters", f"{counts['trainable']:,} of {counts['total']:,} learn")
        parts = planned["memory_mb"]
        table.add_row("memory", f"{parts['sum']:,} MiB for weights, gradients and optimizer")
    for write in planned["writes"]:
        table.add_row("writes", f"{write['repo_type']} {write['repo_id']}: {write['what']}")
    return Group(Text("Nothing was trained, nothing was written."), table)


def _model_files(recipe: Recipe) -> tuple[str, ...]:
    """The whole model; for one that writes, perhaps the adapter alone."""
    task = load_task(recipe.task)
    files = tuple(task.card().files)
    if not is_generation(task):
        return (*files, CONFUSION)
    train = recipe.train
    merged = train.language is not None and train.language.merge
    return ADAPTER_FILES if train.method in ("lora", "qlora") and not merged else files


def planned_writes(recipe: Recipe, pins: Pins) -> list[dict[str, Any]]:
    """What the round would commit, and where."""
    files = [*_model_files(recipe), *CARD_FILES]
    where = "main if the gate promotes it, else a pull request"
    writes = [
        {
            "repo_type": "model",
            "repo_id": recipe.publish.repo_id,
            "what": f"one commit on {where}, tag round-{pins.round}",
            "files": files,
        }
    ]
    if recipe.serve:
        for repo_type, repo_id, what in (
            ("space", recipe.serve.repo_id, "the Space, by hub-trainer serve"),
            ("dataset", recipe.serve.ratings_repo_id, "ratings, by the Space"),
        ):
            writes.append({"repo_type": repo_type, "repo_id": repo_id, "what": what, "files": []})
    return writes
