"""The prepare stage: collected rows become clean, distinct, split examples, with a report."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, Draft, find_artifact, write_artifact
from hub_trainer.errors import DataError, Problem, RecipeError
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.rows import read_rows, row_id, write_rows
from hub_trainer.stages.prepare.clean import clean_rows, without_problems
from hub_trainer.stages.prepare.repeats import without_leakage, without_repeats
from hub_trainer.stages.prepare.report import Ledger, describe, to_json, to_markdown
from hub_trainer.stages.prepare.split import hold_back_test, take_validation
from hub_trainer.tasks import Task, is_generation, load_task

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Row = dict[str, Any]
Splits = dict[str, list[Row]]
SPLITS = ("train", "validation", "test")


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Clean, deduplicate and split; the artifact holds three parquet files and the report."""
    del hub
    collected = find_artifact(round_dir / "collect")
    if collected is None:
        raise DataError(
            "There are no collected rows to prepare.",
            where=str(round_dir / "collect"),
            do="Run hub-trainer collect first, or hub-trainer run for the whole round.",
        )
    folder, inputs = round_dir / "prepare", _inputs(recipe, collected)
    done = find_artifact(folder, inputs)
    if done:
        return done
    task = load_task(recipe.task)
    _assert_augmentations(recipe, task)
    logger.info("prepare: cleaning and splitting")
    with write_artifact(folder, inputs) as draft:
        _prepare(recipe, task, collected, draft, progress)
    assert draft.artifact is not None
    counts = draft.outputs["rows"]
    logger.info("prepare: %s rows", ", ".join(f"{n:,} {split}" for split, n in counts.items()))
    return draft.artifact


def _inputs(recipe: Recipe, collected: Artifact) -> dict[str, Any]:
    section = recipe.prepare.model_dump(exclude={"max_length", "test_split", "validation_split"})
    near = _near(recipe)
    return {
        "stage": "prepare",
        "task": recipe.task,
        "collect": collected.digest,
        "prepare": section,
        "near": near,
        "seed": recipe.train.seed,
    }


def _near(recipe: Recipe) -> float | None:
    """The threshold in use. Rows of a table are compared exactly unless the recipe names one."""
    section = recipe.prepare.deduplicate
    if section is None:
        return None
    named = "near" in section.model_fields_set
    return section.near if named or load_task(recipe.task).modality != "table" else None


def _prepare(
    recipe: Recipe, task: Task, collected: Artifact, draft: Draft, progress: Progress
) -> None:
    ledger = Ledger()
    splits: Splits = {}
    for number, path in enumerate(sorted(collected.folder.glob("*.parquet"))):
        progress(0.2 * number, f"cleaning {path.stem}")
        splits[path.stem] = _cleaned(read_rows(path), path.stem, recipe, task, ledger)
    progress(0.5, "looking for duplicates")
    found = _separate(splits, recipe, task, ledger)
    progress(0.9, "writing the report")
    _assert_filled(splits)
    if not is_generation(task):
        _assert_usable(splits, collected.outputs["label_names"])
    _write(splits, collected, task, draft)
    report = {
        "label_names": collected.outputs["label_names"],
        "features": collected.outputs["features"],
        **describe({name: splits[name] for name in SPLITS}, task.modality),
        "steps": ledger.steps,
        "dropped": _all_dropped(ledger, collected),
        **found,
        "warnings": collected.outputs["warnings"] + _warnings(found),
    }
    (draft.folder / "report.json").write_bytes(to_json(report))
    (draft.folder / "report.md").write_bytes(to_markdown(report))
    kept = (
        "label_names",
        "features",
        "counts",
        "rows",
        "dropped",
        "leakage",
        "duplicates",
        "warnings",
    )
    draft.outputs.update({key: report[key] for key in kept})
    draft.outputs["personal_data"] = report["personal_data"]


def _cleaned(rows: list[Row], split: str, recipe: Recipe, task: Task, ledger: Ledger) -> list[Row]:
    """The rows made alike and without those that the task cannot use; ids follow the content."""
    clean = recipe.prepare.clean
    made = clean_rows(rows, task.modality) if clean else rows
    kept, reasons = without_problems(made, task.problems, drop=clean, split=split)
    ledger.note(split, "clean" if clean else "check", len(rows), len(kept), reasons)
    return [{**row, "_row_id": row_id(row, task.modality)} for row in kept]


def _separate(splits: Splits, recipe: Recipe, task: Task, ledger: Ledger) -> dict[str, Any]:
    """Make train, validation and test distinct, in place; returns what was found.

    Training rows that repeat a sealed one go even where repeats are kept, but for tables: few
    features repeat by chance, and `deduplicate: null` says that they do.
    """
    section, near = recipe.prepare, _near(recipe)
    duplicates, leakage = {}, {}
    if "test" not in splits:
        before = len(splits["train"])
        held = hold_back_test(splits["train"], task.modality, section.test_fraction)
        splits["train"], splits["test"] = held
        ledger.note("train", "hold back test rows", before, len(splits["train"]))
        if section.deduplicate is not None:
            duplicates["test"] = _deduplicate(splits, "test", task, None, ledger)
    if section.deduplicate is not None:
        duplicates["train"] = _deduplicate(splits, "train", task, near, ledger)
    if section.deduplicate is not None or task.modality != "table":
        for split, sealed in (("validation", "test"), ("train", "test"), ("train", "validation")):
            if split in splits and sealed in splits:
                leakage[f"{split} in {sealed}"] = _unleak(splits, split, sealed, task, near, ledger)
    if "validation" not in splits:
        before = len(splits["train"])
        taken = take_validation(splits["train"], section.validation_fraction, recipe.train.seed)
        splits["train"], splits["validation"] = taken
        ledger.note("train", "take validation rows", before, len(splits["train"]))
    return {"duplicates": duplicates, "leakage": leakage, "near": near}


def _deduplicate(
    splits: Splits, split: str, task: Task, near: float | None, ledger: Ledger
) -> dict[str, int]:
    before = len(splits[split])
    splits[split], found, reasons = without_repeats(splits[split], task.modality, near)
    ledger.note(split, "drop duplicates", before, len(splits[split]), reasons)
    return asdict(found)


def _unleak(
    splits: Splits, split: str, sealed: str, task: Task, near: float | None, ledger: Ledger
) -> dict[str, int]:
    before = len(splits[split])
    splits[split], found = without_leakage(splits[split], splits[sealed], task.modality, near)
    dropped = before - len(splits[split])
    reason = {f"repeats a {sealed} row": dropped} if dropped else {}
    ledger.note(split, f"drop what {sealed} holds", before, len(splits[split]), reason)
    return found


def _assert_filled(splits: Splits) -> None:
    for name in SPLITS:
        if not splits[name]:
            raise DataError(
                f"No {name} row is left.",
                where="prepare",
                got=", ".join(f"{len(splits[split]):,} {split} rows" for split in SPLITS),
                do="Collect more rows, or set prepare.deduplicate to null to keep repeated ones.",
            )


def _assert_usable(splits: Splits, label_names: Sequence[str]) -> None:
    seen = {row["label"] for row in splits["train"]}
    if len(seen) < 2:
        got = f"only {', '.join(seen)}, of {len(label_names)} labels"
        do = "Collect rows of at least two labels."
        raise DataError("The training rows all have one label.", where="prepare", got=got, do=do)
    for name in ("test", "validation"):
        unseen = sorted({row["label"] for row in splits[name]} - seen)
        if unseen:
            raise DataError(
                f"The {name} rows have labels that no training row has.",
                where="prepare",
                got=", ".join(unseen[:10]),
                do="Collect more rows of these labels; each needs some for every split.",
            )


def _write(splits: Splits, collected: Artifact, task: Task, draft: Draft) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    del task
    schema = pq.read_schema(collected.folder / "train.parquet")
    for name in SPLITS:
        path = collected.folder / f"{name}.parquet"
        own = pq.read_schema(path) if path.is_file() else schema
        write_rows(draft.folder / f"{name}.parquet", pa.Table.from_pylist(splits[name], own))


def _all_dropped(ledger: Ledger, collected: Artifact) -> dict[str, int]:
    """Why rows were dropped, in this stage and while they were collected."""
    dropped = ledger.dropped.copy()
    for reasons in collected.outputs["dropped"].values():
        dropped.update(reasons)
    return dict(dropped.most_common())


def _warnings(found: dict[str, Any]) -> list[str]:
    conflicting = sum(counts["conflicting"] for counts in found["duplicates"].values())
    return (
        [f"{conflicting:,} rows have a content that carries several labels"] if conflicting else []
    )


def _assert_augmentations(recipe: Recipe, task: Task) -> None:
    unknown = [name for name in recipe.prepare.augment if name not in task.augmentations]
    if unknown:
        offered = ", ".join(sorted(task.augmentations)) or "none"
        message = f"prepare.augment: {task.name} has no {unknown[0]!r}. It offers {offered}."
        raise RecipeError([Problem("prepare.augment", message)], source="recipe")
