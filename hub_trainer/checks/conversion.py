"""Conversion of a pull request's files to the dataset's own schema: what is checked is merged."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hub_trainer.checks.inspection import MAX_CELL_BYTES, READ_LIMITS, ReviewContext, told
from hub_trainer.checks.joining import Destination
from hub_trainer.checks.quoting import quoted
from hub_trainer.checks.review_context import Tip
from hub_trainer.checks.rewriting import BY_FOLDER, Job
from hub_trainer.checks.verdict import MadeFile
from hub_trainer.errors import DataError
from hub_trainer.inputs.media import medium_of_reader
from hub_trainer.rows import SplitFiles, write_card
from hub_trainer.rows.own_schema import FORMATS, OwnSchema
from hub_trainer.sandbox import run_sandboxed

MAX_TABLES = 50
"""Files of rows that are converted; each is read by itself."""
LIMITS = {"max_cell_bytes": MAX_CELL_BYTES}
OTHER_SPLIT = re.compile(
    r"(?:^|[/_\-. ])(test|testing|valid|validation|val|dev|eval)(?=[/_\-. \d]|$)"
)


@dataclass(frozen=True)
class Target:
    """What the rows are written for: a split of a dataset at a commit."""

    tip: Tip
    there: SplitFiles
    split: str
    config: str | None
    schema: OwnSchema
    other_names: Mapping[str, str]
    optional: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """Suffix of the file of rows that joins it, or the mark of folders by label."""
        if self.there.reader in FORMATS:
            return self._destination.suffix
        if medium_of_reader(self.there.reader) is not None and self._folders is not None:
            return BY_FOLDER
        raise DataError(
            "Files of another kind cannot be made into rows of this dataset.",
            where=self.tip.repo.repo_id,
            do="Lay the files out as the dataset's own.",
        )

    @property
    def _folders(self) -> str | None:
        """Where the folders of the labels are; None when a list names the files."""
        above = {str(PurePosixPath(path).parent.parent) for path in self.there.files[self.split]}
        listed = any(PurePosixPath(path).suffix in (".csv", ".jsonl", ".parquet")
                     for path in self.there.files[self.split])  # fmt: skip
        return above.pop() if len(above) == 1 and not listed else None

    def place(self, name: str, sha256: str) -> str:
        """The path in the repo for a file that the child wrote."""
        if self.suffix == BY_FOLDER:
            return str(PurePosixPath(self._folders or ".") / name)
        return self._destination.place(f"{sha256[:12]}.{self.suffix}")

    @property
    def _destination(self) -> Destination:
        return Destination(self.tip, self.split, self.config)


@dataclass(frozen=True)
class Made:
    """Files that the child wrote, laid out in `folder` with the dataset's card."""

    folder: Path
    files: tuple[MadeFile, ...]
    rows: int
    ignored: tuple[str, ...]
    """Columns that the dataset does not have."""


def describe_target(
    tip: Tip, there: SplitFiles, context: ReviewContext, *, split: str, config: str | None
) -> Target:
    """The schema of the dataset's rows, read in a child from the files that `context` fetched."""
    folder = context.base.path.with_suffix("")
    arguments = {"folder": str(folder), "split": split}
    function = "hub_trainer.rows.own_schema:describe_folder"
    described = run_sandboxed(function, arguments, folder=context.folder / "schema")
    other_names = {theirs: ours for ours, theirs in context.base.spec.columns.items()}
    schema = OwnSchema.from_json(described)
    return Target(tip, there, split, config, schema, other_names, context.unused_columns)


def other_split(paths: Sequence[str]) -> str | None:
    """A path that seems to be meant for another split than the one for training."""
    return next((path for path in paths if OTHER_SPLIT.search(path.lower())), None)


@dataclass(frozen=True)
class Unfit:
    """Why rows cannot be in the dataset's schema."""

    told: str
    rows: tuple[int, ...] = ()
    """Their numbers, from 1, over the files in order."""


def convert(
    folder: Path, paths: Sequence[str], target: Target, work: Path
) -> Made | tuple[Unfit, ...]:
    """The files as rows of the dataset's schema, or all that does not fit.

    Raises DataError for files that cannot be read.
    """
    if sum(1 for path in paths if path.endswith((".csv", ".jsonl", ".parquet"))) > MAX_TABLES:
        do = "Join them into one file."
        raise DataError(f"More than {MAX_TABLES} files have another schema.", do=do)
    arguments = {
        "folder": str(folder.resolve()), "paths": list(paths),
        "other_names": dict(target.other_names), "optional": list(target.optional),
    }  # fmt: skip
    answer = _call("convert_files", arguments, target, work)
    if "faults" in answer:
        return tuple(
            Unfit(
                ("" if one["file"] is None else f"in {quoted(one['file'])}: ")
                + told(DataError(one["what"], do=one["do"])),
                tuple(one["rows"]),
            )
            for one in answer["faults"]
        )
    return _laid_out(answer, target, work)


def leave_out(folder: Path, rows: Sequence[int], target: Target, work: Path) -> Made:
    """The rows of checked files without those at some places."""
    arguments = {"folder": str(folder.resolve()), "split": target.split, "left_out": list(rows)}
    return _laid_out(_call("write_kept", arguments, target, work), target, work)


def _call(
    function: str, arguments: Mapping[str, Any], target: Target, work: Path
) -> Mapping[str, Any]:
    job = Job(str((work / "out").resolve()), target.schema.to_json(), target.suffix, LIMITS)
    answer: Mapping[str, Any] = run_sandboxed(
        f"hub_trainer.checks.rewriting:{function}", {**arguments, "job": asdict(job)},
        folder=work, limits=READ_LIMITS,
    )  # fmt: skip
    return answer


def _laid_out(answer: Mapping[str, Any], target: Target, work: Path) -> Made:
    """What the child wrote, each file moved to its place in the repo."""
    folder, files = work / "made", {}
    for one in answer["files"]:
        place = target.place(one["name"], one["sha256"])
        if place in files:
            continue
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "out" / one["name"], path)
        files[place] = MadeFile(place, path, one["sha256"])
    write_card(folder, target.there.card)
    return Made(folder, tuple(files.values()), int(answer["rows"]), tuple(answer["ignored"]))
