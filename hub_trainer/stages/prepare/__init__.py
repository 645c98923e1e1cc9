"""The prepare stage: collected rows become clean, distinct, split examples, with a report."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer
from hub_trainer.artifacts import Artifact, Draft, find_artifact, make_artifact
from hub_trainer.base_models import assert_sound, base_folders
from hub_trainer.errors import DataError, Problem, RecipeError, RowRefused
from hub_trainer.hub import Hub
from hub_trainer.inputs import load_input
from hub_trainer.lineage import PinnedRepo, load_pins
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.chat_templates import digest
from hub_trainer.reports import CollectReport, PrepareReport
from hub_trainer.rows import read_rows, row_id, write_rows
from hub_trainer.rows.holdout import hold_back_test
from hub_trainer.rows.left_out import all_told, left_out_text, total_of, unwritten_note
from hub_trainer.rows.row_files import ROW_NUMBER, SOURCE
from hub_trainer.stages.prepare.clean import without_problems
from hub_trainer.stages.prepare.data_report import Ledger, describe, to_json, to_markdown
from hub_trainer.stages.prepare.lengths import without_too_long
from hub_trainer.stages.prepare.near_pairs import write_pairs
from hub_trainer.stages.prepare.repeats import (
    Copy,
    without_contradictions,
    without_leakage,
    without_repeats,
)
from hub_trainer.stages.prepare.split import take_validation
from hub_trainer.tasks import ModelFolders, Task, TokenCounts, outline_for, task_of

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Row = dict[str, Any]
Splits = dict[str, list[Row]]
SPLITS = ("train", "validation", "test")
Refusals = Callable[[Sequence[Row]], Sequence[RowRefused | None]]
Unwritten = Callable[[Sequence[Row]], Mapping[str, int]]
Sizes = Callable[[Sequence[Row]], TokenCounts]


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Clean, deduplicate and split; the artifact holds three parquet files and the report."""
    collected = find_artifact(round_dir / "collect")
    if collected is None:
        raise DataError(
            "There are no collected rows to prepare.",
            where=str(round_dir / "collect"),
            do="Run hub-trainer collect first, or hub-trainer run for the whole round.",
        )
    task, pins = task_of(recipe), load_pins(round_dir)
    reads = task.converses or task.counts_tokens and _acts_on_length(recipe)
    reader = pins.base_model if pins and reads else None

    def make(draft: Draft) -> None:
        _assert_augmentations(recipe, task)
        logger.debug("prepare: cleaning and splitting")
        folders = _small_files(recipe, reader, hub)
        refusals, sizes = _refusals(recipe, task, folders), _sizes(recipe, task, folders)
        unwritten = _unwritten(recipe, task, folders)
        made = _Preparation(recipe, task, collected, refusals, sizes, unwritten)
        _prepare(made, draft, progress)
        pairs = write_pairs(made.near, draft.folder, task)
        place = round_dir / "prepare" / pairs if pairs else None
        _tell(PrepareReport.from_json(draft.outputs), made.ledger, place)

    return make_artifact(round_dir / "prepare", _inputs(recipe, collected, reader), make)


@dataclass
class _Preparation:
    """What rows are prepared by, and what has become of them."""

    recipe: Recipe
    task: Task
    collected: Artifact
    refusals: Refusals
    sizes: Sizes | None
    """What tells how long rows are; None where those that are too long are cut, in training."""
    unwritten: Unwritten
    ledger: Ledger = field(default_factory=Ledger)
    near: list[Copy] = field(default_factory=list)
    """Rows that went as they nearly repeat a sealed one."""


def _tell(report: PrepareReport, ledger: Ledger, pairs: Path | None) -> None:
    """Say how many rows there are now, and where the others went."""
    counts = [f"{number:,} {split}" for split, number in report.rows.items()]
    logger.debug("prepare: %s rows", ", ".join(counts))
    if not all_told(ledger.sources.values()):
        logger.info("prepare: %s", left_out_text(report.left_out))
    if pairs is not None:
        logger.info("prepare: rows that nearly repeat a sealed one, beside that: %s", pairs)
    for warning in (*report.notes, *report.losses):
        logger.warning("prepare: %s", warning)


def _acts_on_length(recipe: Recipe) -> bool:
    """Whether rows that are too long go before training."""
    return recipe.prepare.too_long in ("drop", "refuse")


def _small_files(recipe: Recipe, base: PinnedRepo | None, hub: Hub) -> ModelFolders | None:
    """Those of the base model by which rows are read, where one is."""
    if base is None:
        return None
    folders = base_folders(recipe, base, hub, with_weights=False)
    # Before any of its templates is run here: they are a stranger's program.
    assert_sound(recipe, base, folders)
    return folders


def _refusals(recipe: Recipe, task: Task, base: ModelFolders | None) -> Refusals:
    """What tells the rows that the base model cannot be given; nothing without one."""
    if base is None or task.converses is None:
        return lambda rows: [None] * len(rows)
    return partial(task.converses.refusals, recipe=recipe, base=base)


def _unwritten(recipe: Recipe, task: Task, base: ModelFolders | None) -> Unwritten:
    """What tells the keys of turns that the base model is never shown; nothing without one."""
    if base is None or task.converses is None:
        return lambda rows: {}
    return partial(task.converses.unwritten, recipe=recipe, base=base)


def _sizes(recipe: Recipe, task: Task, base: ModelFolders | None) -> Sizes | None:
    if base is None or task.counts_tokens is None or not _acts_on_length(recipe):
        return None
    return partial(task.counts_tokens.token_counts, recipe=recipe, base=base)


def _inputs(recipe: Recipe, collected: Artifact, reader: PinnedRepo | None) -> dict[str, Any]:
    apart = {"max_length", "too_long", "test_split", "validation_split"}
    section = recipe.prepare.model_dump(exclude=apart)
    near = _near(recipe)
    inputs = {
        "stage": "prepare",
        "task": recipe.task,
        "collect": collected.digest,
        "prepare": section,
        "near": near,
        "sealed_near": _sealed_near(recipe),
        "seed": recipe.train.seed,
    }
    if reader:
        language = recipe.train.language
        inputs["base_model"] = reader.commit_sha
        inputs["train_on"] = language.train_on if language else None
        if language and language.chat_template is not None:
            inputs["chat_template"] = digest(language.chat_template)
    if _acts_on_length(recipe):
        inputs |= recipe.prepare.model_dump(include={"max_length", "too_long"})
    return inputs


def _near(recipe: Recipe) -> float | None:
    """The threshold among the rows of a split; tables have none unless the recipe names it."""
    section = recipe.prepare.deduplicate
    if section is None:
        return None
    named = "near" in section.model_fields_set
    shown = load_input(outline_for(recipe).modality)
    return section.near if named or not shown.repeats_by_chance else None


def _sealed_near(recipe: Recipe) -> float | None:
    """The threshold in use against sealed rows, for tables as well."""
    section = recipe.prepare.deduplicate
    return section.near if section else None


def _prepare(made: _Preparation, draft: Draft, progress: Progress) -> None:
    task, collected, ledger = made.task, made.collected, made.ledger
    known = CollectReport.from_json(collected.outputs)
    ledger.names = tuple(known.dropped)
    splits: Splits = {}
    for number, path in enumerate(sorted(collected.folder.glob("*.parquet"))):
        progress(0.2 * number, f"cleaning {path.stem}")
        splits[path.stem] = _cleaned(read_rows(path), path.stem, made)
    every = [row for rows in splits.values() for row in rows]
    notes = [unwritten_note(key, count) for key, count in made.unwritten(every).items()]
    progress(0.5, "looking for duplicates")
    found = _separate(splits, made)
    progress(0.9, "writing the report")
    left_out = {
        "collect": total_of(known.dropped.values()),
        "prepare": dict(ledger.dropped.most_common()),
    }
    _assert_filled(splits, left_out)
    task.answer.assert_usable(_values(splits, task.answer))
    _write(splits, collected, task, draft)
    report = {
        "label_names": known.label_names,
        "features": known.features,
        **describe({name: splits[name] for name in SPLITS}, task.modality, task.answer),
        "steps": ledger.steps,
        "dropped": total_of(left_out.values()),
        "left_out": left_out,
        "first_left_out": _joined(known.first_left_out, ledger.first_dropped()),
        **found,
        "warnings": [*known.warnings, *notes, *ledger.warnings(), *_warnings(found)],
    }
    (draft.folder / "report.json").write_bytes(to_json(report))
    (draft.folder / "report.md").write_bytes(to_markdown(report))
    handed_on = {
        **report,
        "left_out": left_out["prepare"],
        "losses": ledger.warnings(),
        "notes": notes,
    }
    draft.outputs |= PrepareReport.from_json(handed_on).to_json()


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The lists of both, by name."""
    return {name: [*one.get(name, ()), *other.get(name, ())] for name in {**one, **other}}


def _cleaned(rows: list[Row], split: str, made: _Preparation) -> list[Row]:
    """The rows made alike and without those that cannot be used; ids follow the content."""
    clean, task = made.recipe.prepare.clean, made.task
    made.ledger.begin(rows)
    alike = [load_input(task.modality).clean(row) for row in rows] if clean else rows
    kept, dropped = without_problems(alike, task.problems, drop=clean, split=split)
    made.ledger.drop(split, "clean" if clean else "check", alike, dropped)
    kept = _without_refused(kept, split, made)
    return [{**row, "_row_id": row_id(row, task.modality)} for row in kept]


def _without_refused(rows: list[Row], split: str, made: _Preparation) -> list[Row]:
    """The rows that the base model can be given.

    Raises the first refusal when it takes none of them, or when no row may be left out.
    """
    found = list(zip(rows, made.refusals(rows), strict=True))
    refused = [(row, refusal) for row, refusal in found if refusal]
    if not refused:
        return rows
    named = made.ledger.named
    places = [f"row {row.get(ROW_NUMBER, 'unknown')} of {named(row[SOURCE])}" for row, _ in refused]
    reasons = [refusal.reason for _, refusal in refused]
    for reason, count in Counter(reasons).items():
        first = reasons.index(reason)
        logger.warning("prepare: %s", _refused_note(refused[first][1], count, split, places[first]))
    refusal = refused[0][1]
    if len(refused) == len(rows) or not made.recipe.prepare.clean:
        refusal.where = f"{split} {places[0]}"
        refusal.got = "; ".join(filter(None, [_such_rows(len(refused)), refusal.got]))
        raise refusal
    made.ledger.drop(split, "render", rows, [(row, refusal.reason) for row, refusal in refused])
    return [row for row, refusal in found if refusal is None]


def _refused_note(refusal: RowRefused, count: int, split: str, place: str) -> str:
    """How many rows of a split are refused for this reason, and the first of them."""
    rows = f"1 {split} row, " if count == 1 else f"{count:,} {split} rows, the first is "
    return f"{refusal.reason}: {rows}{place}" + (f": {refusal.got}" if refusal.got else "")


def _such_rows(count: int) -> str:
    return "1 such row" if count == 1 else f"{count:,} such rows"


def _without_too_long(rows: list[Row], split: str, made: _Preparation) -> list[Row]:
    """The rows that the model reads whole; sealed rows stay, so that rounds can be compared."""
    if made.sizes is None or not rows:
        return rows
    refuse = made.recipe.prepare.too_long == "refuse"
    kept, dropped = without_too_long(rows, made.sizes(rows), refuse=refuse, split=split)
    made.ledger.drop(split, "drop what is too long", rows, dropped)
    return kept


def _separate(splits: Splits, made: _Preparation) -> dict[str, Any]:
    """Make train, validation and test distinct, in place; returns what was found.

    Training rows that repeat a sealed one go even where repeats are kept, but for tables: few
    features repeat by chance, and `deduplicate: null` says that they do.
    """
    recipe, task, ledger = made.recipe, made.task, made.ledger
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
    if section.deduplicate is not None or not load_input(task.modality).repeats_by_chance:
        for split, sealed in (("validation", "test"), ("train", "test"), ("train", "validation")):
            if split in splits and sealed in splits:
                leakage[f"{split} in {sealed}"] = _unleak(splits, split, sealed, made)
    for split in ("train", "validation"):
        if split in splits:
            splits[split] = _without_too_long(splits[split], split, made)
    if "validation" not in splits:
        before = len(splits["train"])
        taken = take_validation(
            splits["train"],
            section.validation_fraction,
            recipe.train.seed,
            task.answer,
        )
        splits["train"], splits["validation"] = taken
        ledger.note("train", "take validation rows", before, len(splits["train"]))
    return {"duplicates": duplicates, "leakage": leakage, "near": near}


def _deduplicate(
    splits: Splits, split: str, task: Task, near: float | None, ledger: Ledger
) -> dict[str, int]:
    before = splits[split]
    agreeing, contrary = without_contradictions(before, task.modality)
    if contrary:
        ledger.drop(split, "drop contradictions", before, contrary)
        before = agreeing
    splits[split], found, reasons = without_repeats(before, task.modality, near, task.answer)
    gone = [(before[number], reason) for number, reason in sorted(reasons.items())]
    ledger.drop(split, "drop duplicates", before, gone)
    return asdict(found)


def _unleak(splits: Splits, split: str, sealed: str, made: _Preparation) -> dict[str, int]:
    before, near = splits[split], _sealed_near(made.recipe)
    kept, copies, found = without_leakage(before, splits[sealed], made.task.modality, near)
    splits[split] = kept
    reasons = {"exact": f"repeats a {sealed} row", "near": f"nearly repeats a {sealed} row"}
    gone = [(copy.row, reasons[copy.kind]) for copy in copies]
    made.ledger.drop(split, f"drop what {sealed} holds", before, gone)
    made.near += [copy for copy in copies if copy.kind == "near"]
    return found


def _gone(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    """The rows that are no longer there."""
    kept = {id(row) for row in after}
    return [row for row in before if id(row) not in kept]


def _assert_filled(splits: Splits, left_out: Mapping[str, Mapping[str, int]]) -> None:
    for name in SPLITS:
        if not splits[name]:
            counts = ", ".join(f"{len(splits[split]):,} {split} rows" for split in SPLITS)
            gone = [f"{stage}: {left_out_text(why)}" for stage, why in left_out.items() if why]
            raise DataError(
                f"No {name} row is left.",
                where="prepare",
                got="; ".join([counts, *gone]),
                do="Collect more rows, or set prepare.deduplicate to null to keep repeated ones.",
            )


def _values(splits: Splits, answer: Answer) -> dict[str, list[Any]]:
    """The answers of each split."""
    return {name: [row[answer.column] for row in splits[name]] for name in SPLITS}


def _write(splits: Splits, collected: Artifact, task: Task, draft: Draft) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    del task
    schema = pq.read_schema(collected.folder / "train.parquet")
    for name in SPLITS:
        path = collected.folder / f"{name}.parquet"
        own = pq.read_schema(path) if path.is_file() else schema
        write_rows(draft.folder / f"{name}.parquet", pa.Table.from_pylist(splits[name], own))


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
