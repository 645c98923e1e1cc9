"""The dry run: what a round would train, need and write, without training or writing it."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hub_trainer.artifacts import Artifact, find_artifact
from hub_trainer.base_models import assert_sound, base_folders
from hub_trainer.cards import EXAMPLES_FIGURE, FIGURES
from hub_trainer.hub import Hub
from hub_trainer.launch import assert_no_search, read_asked
from hub_trainer.lineage import Pins, pin_round, read_rounds
from hub_trainer.loop import run_stage
from hub_trainer.plan.forecast import Subject, amount_of, forecast, search_of
from hub_trainer.plan.planned import Plan, PlannedRows, PlannedWrite
from hub_trainer.ranks import Sharding
from hub_trainer.recipe import Recipe, RecipeFile
from hub_trainer.reports import PrepareReport
from hub_trainer.rows.left_out import total_of
from hub_trainer.rows.row_files import read_rows
from hub_trainer.tasks import ModelFolders, Preview, task_of

WEIGHT_BYTES = 4
"""Models are published in float32."""
CARD_FILES = ("README.md", "round.json", ".eval_results/*.yaml")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")


def plan_round(recipe_file: RecipeFile, hub: Hub, *, accelerate_config: Path | None = None) -> Plan:
    """Collect and prepare in a folder that is thrown away, and count from there."""
    recipe = recipe_file.recipe
    wanted = read_asked(accelerate_config) if accelerate_config else None
    processes, sharding = (wanted.processes, wanted.sharding) if wanted else (1, None)
    assert_no_search(recipe, processes, str(accelerate_config))
    last = next(reversed(read_rounds(hub, recipe.publish.repo_id)), None)
    with tempfile.TemporaryDirectory(prefix="hub-trainer-plan-") as scratch:
        round_dir = Path(scratch)
        pins = pin_round(recipe, round_dir, hub)
        for stage in ("collect", "prepare"):
            run_stage(stage, recipe, round_dir, hub)
        prepared = find_artifact(round_dir / "prepare")
        assert prepared is not None
        report = PrepareReport.from_json(prepared.outputs)
        rows, labels = report.rows, report.label_names
        task, base = task_of(recipe), _base_model(recipe, pins, hub)
        sizes = count_sizes(recipe, base, labels, sharding) if base else None
        parameters, memory_mb = sizes or (None, None)
        preview = _preview(recipe, base, prepared) if base else None
        amount = amount_of(recipe.train.arguments, rows, processes)
        subject = Subject(recipe, base, prepared, preview, last, is_split=sharding is not None)
        seen = forecast(subject, amount, memory_mb)
        return Plan(
            recipe=recipe,
            pins=pins,
            rows=PlannedRows(rows, report.dropped, _left_out(round_dir)),
            num_labels=len(labels) if labels and task.answer.predicts_names else None,
            preview=preview,
            amount=amount,
            has_steps=task.card().auto_class is not None,
            sharding=sharding,
            parameters=parameters,
            forecast=seen,
            search=search_of(recipe.tune, seen.seconds),
            writes=planned_writes(recipe, pins, file_sizes(recipe, base, parameters)),
        )


def _left_out(round_dir: Path) -> dict[str, int]:
    """Rows that collect and prepare leave out, by reason."""
    made = (find_artifact(round_dir / stage) for stage in ("collect", "prepare"))
    return total_of(one.outputs["left_out"] for one in made if one)


def _base_model(recipe: Recipe, pins: Pins, hub: Hub) -> ModelFolders | None:
    """The base model's small files, without weights; None where there is no base model."""
    if pins.base_model is None:
        return None
    folders = base_folders(recipe, pins.base_model, hub, with_weights=False)
    assert_sound(recipe, pins.base_model, folders)
    return folders


def count_sizes(
    recipe: Recipe, base: ModelFolders, names: Sequence[str], sharding: Sharding | None = None
) -> tuple[dict[str, int], dict[str, float]] | None:
    """Parameters, and MiB of a device in training; None for what is no model of transformers."""
    task = task_of(recipe)
    auto_name = task.card().auto_class
    if auto_name is None:
        return None
    from hub_trainer.finetune import sizes
    from hub_trainer.finetune.heads import num_outputs

    outputs = num_outputs(task.answer.name, names)
    model = (auto_name, base.model, base.base, recipe.train)
    found = sizes.count_parameters(*model, num_labels=outputs)
    memory = sizes.estimate_memory(
        found, recipe.train, in_own_dtype=task.card().learns_in_own_dtype
    )
    if sharding is not None:
        gathered = sizes.gathered_fraction(*model, num_labels=outputs)
        memory = sizes.split_memory(memory, gathered, sharding)
    return found, memory


def _preview(recipe: Recipe, base: ModelFolders, prepared: Artifact) -> Preview | None:
    """The training rows in tokens, of a language model."""
    converses = task_of(recipe).converses
    if converses is None:
        return None
    return converses.preview(read_rows(prepared.folder / "train.parquet"), recipe, base)


def _model_files(recipe: Recipe) -> tuple[str, ...]:
    """The whole model or, where the task publishes one, the adapter alone; and pictures."""
    card, figure, train = task_of(recipe).card(), task_of(recipe).answer.figure, recipe.train
    merged = train.language is not None and train.language.merge
    is_adapter = card.adapter_usage is not None and train.method_facts.adapter and not merged
    drawn = [f"{FIGURES}/{figure}"] if figure else []
    drawn += [EXAMPLES_FIGURE] if card.draw_rows else []
    return (*(ADAPTER_FILES if is_adapter else card.files), *drawn)


def file_sizes(
    recipe: Recipe, base: ModelFolders | None, parameters: Mapping[str, int] | None
) -> dict[str, int]:
    """Bytes of the larger files that the round would commit, where they are known beforehand."""
    if base is None or parameters is None:
        return {}
    sizes = {
        name: (base.model / name).stat().st_size
        for name in _model_files(recipe)
        if (base.model / name).is_file() and not name.endswith(".safetensors")
    }
    weights = next(name for name in _model_files(recipe) if name.endswith(".safetensors"))
    counted = "trainable" if weights == ADAPTER_FILES[1] else "total"
    return {weights: parameters[counted] * WEIGHT_BYTES, **sizes}


def planned_writes(
    recipe: Recipe, pins: Pins, sizes: Mapping[str, int] | None = None
) -> tuple[PlannedWrite, ...]:
    """What the round would commit, and where."""
    where = "main if the gate promotes it, else a pull request"
    model = PlannedWrite(
        "model",
        recipe.publish.repo_id,
        f"one commit on {where}, tag round-{pins.round}",
        files=(*_model_files(recipe), *CARD_FILES),
        sizes=dict(sizes or {}),
    )
    if recipe.serve is None:
        return (model,)
    return (
        model,
        PlannedWrite("space", recipe.serve.repo_id, "the Space, by hub-trainer serve"),
        PlannedWrite("dataset", recipe.serve.ratings_repo_id, "ratings, by the Space"),
    )
