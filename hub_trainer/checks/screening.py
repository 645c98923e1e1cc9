"""Rows that review would stop a pull request for, each with the reason: curate leaves them out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer, load_answer
from hub_trainer.checks.flags import FLAGS, text_flags
from hub_trainer.checks.inspection import MAX_CELL_BYTES, READ_LIMITS, ReviewContext
from hub_trainer.checks.personal import find_traces
from hub_trainer.checks.review_child import read_files
from hub_trainer.duplicates import find_duplicates, find_repeats
from hub_trainer.errors import DataError
from hub_trainer.inputs import load_input
from hub_trainer.inputs.media import BLANK_FILES
from hub_trainer.pictures import MAX_PIXELS
from hub_trainer.privacy import MAX_CHARACTERS, SECRET_KINDS, find_personal_data
from hub_trainer.rows import read_rows
from hub_trainer.rows.leakage import find_sealed
from hub_trainer.sandbox import run_sandboxed

Row = Mapping[str, Any]
MAX_ROWS = 1_000_000
SECRET, PERSONAL, HIDDEN = "with a secret", "with personal data", "with hidden text"
SEALED, KNOWN = "sealed for the test", "nearly in the dataset already"
REPEATED, CONTRARY = "nearly the same as another", "in the dataset under another label, too many"
TOO_LONG, BROKEN, BLANK = "too long", "with a broken picture or sound", "with a blank one"


def screen(  # noqa: PLR0913 - each says another thing
    new: Path,
    base: Path | None,
    test: Path | None,
    *,
    modality: str,
    answer: str,
    near: float | None,
    max_repeats: float,
) -> dict[int, str]:
    """Place of a row in the file `new` -> why it is left out; a sandboxed child looks at them.

    The files hold canonical rows. `max_repeats` is the share of rows that may contradict a row of
    the dataset, as what a crowd corrects does.
    """
    arguments = {
        "new": str(new),
        "base": str(base) if base else None,
        "test": str(test) if test else None,
        "modality": modality,
        "answer": answer,
        "near": near,
        "max_repeats": max_repeats,
    }
    function = f"{__name__}:unfit_rows"
    found = run_sandboxed(function, arguments, folder=new.parent, limits=READ_LIMITS)
    return {int(number): str(reason) for number, reason in found}


def screen_files(
    folder: Path,
    out: Path,
    context: ReviewContext,
    *,
    split: str,
    near: float | None,
    max_repeats: float,
) -> dict[int, str]:
    """As `screen`, of files in the dataset's own form; their canonical rows are at `out` then."""
    spec = context.base.spec
    arguments = {
        "folder": str(folder.resolve()),
        "out": str(out.resolve()),
        "split": split,
        "spec": spec.to_json(),
        "compared": {
            "base": str(context.base.path),
            "test": str(context.test.path) if context.test else None,
            "modality": spec.modality,
            "answer": context.answer,
            "near": near,
            "max_repeats": max_repeats,
        },
    }
    function = f"{__name__}:unfit_rows_of_files"
    found = run_sandboxed(function, arguments, folder=out.parent, limits=READ_LIMITS)
    if "error" in found:
        raise DataError(**found["error"])
    return {int(number): str(reason) for number, reason in found["unfit"]}


def unfit_rows_of_files(
    folder: str,
    out: str,
    *,
    split: str,
    spec: Mapping[str, Any],
    compared: Mapping[str, Any],
) -> dict[str, Any]:
    """Read a split's files into canonical rows at `out`, then as `unfit_rows`."""
    limits = {"max_rows": MAX_ROWS, "max_cell_bytes": MAX_CELL_BYTES}
    answer = read_files(folder, out, config=None, split=split, spec=spec, limits=limits)
    if answer["error"]:
        return {"error": answer["error"]}
    return {"unfit": unfit_rows(out, **compared)}


def unfit_rows(  # noqa: PLR0913 - as `screen`
    new: str,
    base: str | None,
    test: str | None,
    *,
    modality: str,
    answer: str,
    near: float | None,
    max_repeats: float,
) -> list[tuple[int, str]]:
    """(place, reason) of each row that must not be proposed; the first reason is told.

    As review does, it looks at each row by itself, then compares what is left.
    """
    rows = read_rows(Path(new))
    known = read_rows(Path(base)) if base else []
    sealed = read_rows(Path(test)) if test else []
    reasons: dict[int, str] = {}
    _mark(
        reasons,
        (number for number, row in enumerate(rows) if _length(row) > MAX_CHARACTERS),
        TOO_LONG,
    )
    shown = load_input(modality)
    for number, row in enumerate(rows):
        if problem := shown.fault(shown.compared(row), max_pixels=MAX_PIXELS):
            _mark(reasons, [number], BLANK if problem in BLANK_FILES else BROKEN)
    _mark(reasons, _with_secrets(rows), SECRET)
    _mark(reasons, (n for n, row in enumerate(rows) if _hides_text(row)), HIDDEN)
    usable = [
        number for number in range(len(rows)) if reasons.get(number) not in (BROKEN, TOO_LONG)
    ]
    fit = [rows[number] for number in usable]
    leaked = find_sealed(fit, sealed, modality, near) if sealed else []
    _mark(reasons, (usable[match.row] for match in leaked), SEALED)
    close = None if shown.repeats_by_chance else near
    repeats = find_repeats(fit, known, modality, close)
    _mark(reasons, (usable[match.row] for match in repeats if match.kind == "near"), KNOWN)
    for group in find_duplicates(fit, modality, close):
        _mark(reasons, (usable[place] for place in group.near), REPEATED)
    _mark_personal(reasons, rows, known, load_answer(answer))
    exact = (usable[match.row] for match in repeats if match.kind == "exact")
    contrary = [number for number in exact if number not in reasons]
    if len(contrary) > max_repeats * (len(rows) - len(reasons)):
        _mark(reasons, contrary, CONTRARY)
    return sorted(reasons.items())


def _mark(reasons: dict[int, str], numbers: Iterable[int], reason: str) -> None:
    for number in numbers:
        reasons.setdefault(number, reason)


def _length(row: Row) -> int:
    return max((len(text) for text in _texts(row)), default=0)


def _texts(row: Row) -> list[str]:
    return [v for name, v in row.items() if isinstance(v, str) and not name.startswith("_")]


def _with_secrets(rows: Sequence[Row]) -> set[int]:
    found = find_personal_data(rows).rows
    return {number for kind in SECRET_KINDS for number in found.get(kind, ())}


def _hides_text(row: Row) -> bool:
    flags = text_flags([row])
    return any(flags[flag] for flag in FLAGS if flag != "formula")


def _mark_personal(
    reasons: dict[int, str], rows: Sequence[Row], known: Sequence[Row], answer: Answer
) -> None:
    """Kinds of personal data that are beyond the dataset's nature, among the rows that are left."""
    groups = answer.strata([row[answer.column] for row in (*rows, *known)])
    nature = find_traces(known, groups[len(rows) :])
    left = [number for number in range(len(rows)) if number not in reasons]
    kept = [rows[number] for number in left]
    beyond = find_traces(kept, [groups[number] for number in left]).beyond(nature)
    for kind, places in find_personal_data(kept).rows.items():
        if kind in beyond:
            _mark(reasons, (left[place] for place in places), PERSONAL)
