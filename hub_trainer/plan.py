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

from hub_trainer.artifacts import find_artifact
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins, pin_round
from hub_trainer.loop import run_stage
from hub_trainer.recipe import Recipe, RecipeFile
from hub_trainer.tasks import load_task

CARD_FILES = ("README.md", "round.json", "figures/confusion.png", ".eval_results/*.yaml")
BYTES_PER_VALUE = 4
ADAM_STATES = 2


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
        parameters = count_parameters(recipe, pins, hub, num_labels=len(labels))
        return {
            "recipe": recipe.model_dump(mode="json"),
            "round": pins.round,
            "pins": json.loads((round_dir / "pins.json").read_text()),
            "rows": rows,
            "labels": len(labels),
            "dropped": prepared.outputs.get("dropped", {}),
            "steps": count_steps(recipe.train.arguments, rows["train"]),
            "parameters": parameters,
            "memory_mb": estimate_memory(parameters),
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


def count_parameters(
    recipe: Recipe, pins: Pins, hub: Hub, *, num_labels: int
) -> dict[str, int] | None:
    """Parameters in all and those that learn, from the base model's config; None for tables."""
    auto_name = load_task(recipe.task).card().auto_class
    if auto_name is None or pins.base_model is None:
        return None
    import torch
    import transformers

    from hub_trainer.finetune.methods import apply_method
    from hub_trainer.finetune.model_folder import download_model

    base = pins.base_model
    folder = download_model(hub, base.repo_id, base.commit_sha, with_weights=False)
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config.num_labels = num_labels
    train = recipe.train
    with torch.device("meta"):
        auto_class = getattr(transformers, auto_name)
        model = auto_class.from_config(config, trust_remote_code=False)
        lora = train.lora.model_dump() if train.lora else None
        method: Any = train.method
        model, _ = apply_method(model, method, last_n=train.last_n, lora=lora)
    return {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def estimate_memory(parameters: Mapping[str, int] | None) -> dict[str, float] | None:
    """MiB of weights, gradients and Adam's two moments in float32; activations come on top."""
    if parameters is None:
        return None
    weights = parameters["total"] * BYTES_PER_VALUE / 2**20
    gradients = parameters["trainable"] * BYTES_PER_VALUE / 2**20
    parts = {"weights": weights, "gradients": gradients, "optimizer": ADAM_STATES * gradients}
    return {name: round(value, 1) for name, value in {**parts, "sum": sum(parts.values())}.items()}


def render_plan(planned: Mapping[str, Any]) -> RenderableType:
    """The plan as people read it."""
    recipe = planned["recipe"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("round", str(planned["round"]))
    table.add_row("task", f"{recipe['task']}, {planned['labels']} labels")
    for pinned in planned["pins"]["datasets"]:
        table.add_row("data", f"{pinned['repo_id']}@{pinned['commit_sha'][:7]}")
    base = planned["pins"]["base_model"]
    table.add_row("base model", f"{base['repo_id']}@{base['commit_sha'][:7]}" if base else "none")
    table.add_row("rows", ", ".join(f"{name} {n:,}" for name, n in planned["rows"].items()))
    if planned["parameters"]:
        counts = planned["parameters"]
        table.add_row("method", f"{recipe['train']['method']}, {planned['steps']:,} steps")
        table.add_row("parameters", f"{counts['trainable']:,} of {counts['total']:,} learn")
        parts = planned["memory_mb"]
        table.add_row("memory", f"{parts['sum']:,} MiB for weights, gradients and optimizer")
    for write in planned["writes"]:
        table.add_row("writes", f"{write['repo_type']} {write['repo_id']}: {write['what']}")
    return Group(Text("Nothing was trained, nothing was written."), table)


def planned_writes(recipe: Recipe, pins: Pins) -> list[dict[str, Any]]:
    """What the round would commit, and where."""
    files = [*load_task(recipe.task).card().files, *CARD_FILES]
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
