"""The files of a pull request against those of its dataset: every check that has to open them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_trainer.checks.comparison import Comparison, Signs
from hub_trainer.checks.contents import (
    check_duplicates,
    check_label_groups,
    check_label_quality,
    check_left_out,
    check_personal_data,
    check_rows,
    check_shifts,
    check_text,
    check_triggers,
)
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.leakage_check import check_leakage
from hub_trainer.checks.published_model import PublishedModel
from hub_trainer.checks.reading import Reading
from hub_trainer.checks.schema_changes import Schema, check_schema
from hub_trainer.checks.shifts import unread_dates
from hub_trainer.checks.spread import check_known_labels, check_label_spread
from hub_trainer.checks.verdict import Check
from hub_trainer.errors import DataError
from hub_trainer.inputs import load_input
from hub_trainer.recipe import ReviewSection
from hub_trainer.rows import RowSpec
from hub_trainer.rows.formats import detect_format
from hub_trainer.sandbox import SandboxLimits, run_sandboxed

log = logging.getLogger(__name__)

WORKER, POISON = "hub_trainer.checks.review_child", "hub_trainer.checks.poison"
CHECKERS = f"{WORKER}:import_checkers"
"""What warms up a process whose children carry out checks; see `hub_trainer.sandbox.kept_warm`."""
SCHEMA_CHECKS = frozenset({"columns", "label names", "usable rows"})
READ_LIMITS = SandboxLimits(cpu_seconds=300, wall_seconds=600)
WEIGH_LIMITS = SandboxLimits(cpu_seconds=2_400, wall_seconds=1_800)
"""Of a child that asks a model which writes; its rows are as many as it should take half of."""
PROMPTED = "answers to their prompts"
MAX_CELL_BYTES = 20_000_000


@dataclass(frozen=True)
class ReviewContext:
    """What new rows are compared with; `folder` holds the canonical rows of everything read."""

    folder: Path
    base: Reading
    test: Reading | None
    near: float | None
    review: ReviewSection
    model: PublishedModel | None = None
    """None asks a probe."""

    @property
    def answer(self) -> str:
        """Name of the answer by which rows are grouped; for language data it is their kind."""
        return self.base.spec.answer.name

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Columns that may be empty: no task looks at them, or rows of the dataset lack them."""
        spec, schema = self.base.spec, self.base.schema
        names = list(schema.types)
        ours = {theirs: our for our, theirs in spec.columns.items()}
        used = {spec.columns.get(our, our) for our in (*spec.kinds, *spec.slices)}
        if spec.input.has_formats:
            wanted = detect_format([ours.get(name, name) for name in names]).columns
            used |= {name for name in names if ours.get(name, name) in wanted}
        elif spec.input.has_features:
            used |= {name for name in names if not schema.null_fractions[name]}
            used -= set(spec.drop_columns)
        return tuple(name for name in names if name not in used)


@dataclass(frozen=True)
class Inspection:
    """The result of opening a pull request's files."""

    checks: tuple[Check, ...]
    rows: int = 0
    """Rows that it holds; 0 when they could not be read."""
    left_out_rows: tuple[int, ...] = ()
    """Rows that a merge must leave out, as chance repeats of sealed rows are: ascending places,
    from 0, in the order in which the split's files are read."""

    @property
    def fits(self) -> bool:
        """Whether the files are in the dataset's own schema, as far as they were read."""
        return all(one.passed for one in self.checks if one.name in SCHEMA_CHECKS)


def read_trusted(
    folder: Path, out: Path, *, config: str | None, split: str, spec: RowSpec | None
) -> Reading:
    """Read the dataset's own rows. Raises DataError when they cannot be used."""
    answer = _read(folder, out, config=config, split=split, spec=spec, max_rows=5_000_000)
    if answer["error"]:
        raise DataError(**answer["error"])
    return Reading.from_json(out, answer)


def inspect_files(folder: Path, context: ReviewContext, *, split: str) -> Inspection:
    """All checks of the new files in `folder`, cheap ones first.

    Stops where a later check would have nothing to stand on.
    """
    out = context.folder / "new.parquet"
    out.unlink(missing_ok=True)
    try:
        answer = _read(
            folder, out, config=None, split=split, spec=context.base.spec,
            max_rows=context.review.max_rows,
        )  # fmt: skip
    except DataError as error:
        return Inspection((Check("readable", False, told(error)),))
    checks = [Check("readable", True, "parsed within limits")]
    checks += check_schema(
        context.base.schema, Schema.from_json(answer["schema"]),
        names_from_folders=context.base.names_from_folders, unused=context.unused_columns,
    )  # fmt: skip
    if answer["error"]:
        broken = Check("usable rows", False, told(DataError(**answer["error"])))
        return Inspection((*checks, broken))
    new = Reading.from_json(out, answer)
    checks += check_rows(
        new.rows,
        new.dropped,
        max_rows=context.review.max_rows,
        first_dropped=new.first_dropped,
    )
    if not all(check.passed for check in checks if check.blocks == "refuse"):
        return Inspection(tuple(checks), new.rows)
    found, left_out = _check_contents(new, context)
    return Inspection((*checks, *found), new.rows, left_out)


def _check_contents(new: Reading, context: ReviewContext) -> tuple[list[Check], tuple[int, ...]]:
    """The checks that look at every row, the costly one last, and the rows to leave out."""
    review, modality = context.review, context.base.spec.modality
    paths = {
        "new": str(new.path),
        "base": str(context.base.path),
        "test": str(context.test.path) if context.test else None,
    }
    compared = {**paths, "modality": modality, "near": context.near, "answer": context.answer}
    found = Comparison.from_json(_call("compare_rows", compared, context.folder))
    looked_at = {"new": paths["new"], "base": paths["base"], "modality": modality}
    looked_at["answer"] = context.answer
    signs = Signs.from_json(_call("find_poison", looked_at, context.folder, module=POISON))
    left_out = tuple(sorted({*found.copies, *signs.repeats}))
    checks = [
        *check_duplicates(found.repeats, max_fraction=review.max_duplicate_fraction),
        check_leakage(found.leakage),
        *check_personal_data(found.personal, found.base_personal),
        check_text(found.flags),
        check_known_labels(context.base.labels, new.labels, found.unknown_labels),
        check_label_spread(context.base.labels, new.labels, max_shift=review.max_label_shift),
        check_triggers(signs.triggers),
        check_shifts([*unread_dates(new.no_dates), *signs.shifts], context.base.spec.columns),
        # Only repeats of the dataset are numbered: which rows are sealed stays untold.
        check_left_out(signs.repeats),
    ]
    arguments = {**paths, "modality": modality, "answer": context.answer}
    if not load_input(modality).has_formats:
        checks += _check_labels(arguments, context)
    elif context.model and context.test:
        checks.append(_check_prompted(arguments, context.model, context))
    return checks, left_out


def _check_prompted(
    arguments: Mapping[str, Any], model: PublishedModel, context: ReviewContext
) -> Check:
    """What is written, before the published model: whether it answers its own prompt."""
    asked = {**arguments, "model": model.to_json()}
    try:
        found = _call("score_answers", asked, context.folder, limits=WEIGH_LIMITS)
    except DataError as error:
        log.warning("The published model cannot be asked about answers: %s", error)
        found = None
    if found is None:
        return Check(PROMPTED, True, "no model can tell whether they answer their prompts")
    allowed = context.review.max_disagreement
    return replace(check_label_quality(Judgement.from_json(found), allowed), name=PROMPTED)


def _check_labels(arguments: Mapping[str, Any], context: ReviewContext) -> list[Check]:
    """The labels before the published model; before a probe when that cannot be asked."""
    allowed = context.review.max_disagreement
    if context.model:
        asked = {**arguments, "model": context.model.to_json()}
        try:
            return _judged(_judgement(asked, context), allowed)
        except DataError as error:
            log.warning("The published model cannot be asked about labels: %s", error)
    return _judged(_judgement({**arguments, "model": None}, context), allowed)


def _judgement(arguments: Mapping[str, Any], context: ReviewContext) -> Judgement | None:
    answer = _call("score_answers", arguments, context.folder)
    return Judgement.from_json(answer) if answer else None


def _judged(found: Judgement | None, allowed: float) -> list[Check]:
    if found is None:
        return [check_label_quality(None, allowed)]
    return [
        check_label_quality(found, allowed),
        check_label_groups(found.groups, max_wrong_fraction=allowed),
    ]


def _read(
    folder: Path,
    out: Path,
    *,
    config: str | None,
    split: str,
    spec: RowSpec | None,
    max_rows: int,
) -> dict[str, Any]:
    limits = {"max_rows": max_rows + 1, "max_cell_bytes": MAX_CELL_BYTES}
    arguments = {
        "folder": str(folder.resolve()), "out": str(out.resolve()),
        "config": config, "split": split,
        "spec": spec.to_json() if spec else None, "limits": limits,
    }  # fmt: skip
    return dict(_call("read_files", arguments, out.parent))


def _call(
    function: str,
    arguments: Mapping[str, Any],
    folder: Path,
    *,
    module: str = WORKER,
    limits: SandboxLimits = READ_LIMITS,
) -> Any:
    return run_sandboxed(f"{module}:{function}", arguments, folder=folder, limits=limits)


def told(error: DataError) -> str:
    """An error without what was found, which may be row text, and without its last full stop."""
    return " ".join(part for part in (error.what, error.do) if part).removesuffix(".")
