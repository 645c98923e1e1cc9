"""The added files of a pull request, opened: as they are where they fit, else made to fit."""

from dataclasses import dataclass, replace
from pathlib import Path

from hub_trainer.checks.conversion import (
    Made,
    Target,
    convert,
    describe_target,
    leave_out,
    other_split,
)
from hub_trainer.checks.inspection import Inspection, ReviewContext, inspect_files, told
from hub_trainer.checks.placement import check_placement
from hub_trainer.checks.policy import Policy
from hub_trainer.checks.review_context import Tip, fetch_files, prepare_context, whole_split
from hub_trainer.checks.verdict import Check, MadeFile, decide
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Hub
from hub_trainer.rows import SplitFiles, write_card


@dataclass(frozen=True)
class Opened:
    """What came of opening the added files."""

    checks: tuple[Check, ...] = ()
    rows: int = 0
    base_rows: int = 0
    left_out: int = 0
    made: tuple[MadeFile, ...] = ()
    """Files that a merge adds in place of the pull request's own."""


@dataclass(frozen=True)
class _Opening:
    """Where the files lie, and what they are opened for."""

    main: Tip
    there: SplitFiles
    context: ReviewContext
    policy: Policy
    work: Path

    @property
    def split(self) -> str:
        return whole_split(self.policy.source)

    def target(self) -> Target:
        """What files are written for. Raises DataError when the dataset's schema is not read."""
        return describe_target(
            self.main, self.there, self.context, split=self.split, config=self.policy.source.config
        )


def open_added(
    hub: Hub, main: Tip, head: Tip, added: list[str], *, policy: Policy, work_dir: Path
) -> Opened:
    """Fetch the added files at the pinned commit, and have them opened under the card of main.

    Files that do not join the dataset as they are, are made into some that do: then those are
    checked, and merged.
    """
    split, config = whole_split(policy.source), policy.source.config
    place = check_placement(main.names, added, main.card, config=config, split=split)
    foreign = None if place.passed else other_split(added)
    try:
        there = main.split_files(config, split)
    except DataError:
        return Opened((place,))
    if foreign is not None:
        detail = f"{foreign!r} seems to be meant for another split than {split!r}"
        return Opened((Check("placement", False, detail, "human"),))
    folder = work_dir / "new"
    try:
        fetch_files(hub, head.repo, head.commit_sha, added, folder)
    except HubError as error:
        return Opened((Check("download", False, error.what, "human"),))
    opening = _Opening(main, there, prepare_context(hub, policy, main, work_dir), policy, work_dir)
    if place.passed and not _sets_types(there, split, added):
        write_card(folder, there.card)
        found = inspect_files(folder, opening.context, split=split)
        if found.fits:
            return _without_repeats(opening, folder, replace(found, checks=(place, *found.checks)))
    return _converted(opening, folder, added)


def _sets_types(there: SplitFiles, split: str, added: list[str]) -> bool:
    """Whether a file would come first where the first file's types are taken for those of all."""
    declared = there.reader not in ("csv", "json") or "dataset_info" in there.card
    return not declared and min(added) < min(there.files[split])


def _converted(opening: _Opening, folder: Path, added: list[str]) -> Opened:
    try:
        made = convert(folder, added, opening.target(), opening.work / "converted")
    except DataError as error:
        return Opened((Check("conversion", False, told(error)),))
    if not isinstance(made, Made):
        return Opened(tuple(Check("conversion", False, one.told, rows=one.rows) for one in made))
    found = inspect_files(made.folder, opening.context, split=opening.split)
    ignored = f", without {len(made.ignored)} columns that it does not have" if made.ignored else ""
    detail = f"a merge writes the rows in the dataset's own schema{ignored}"
    found = replace(found, checks=(Check("conversion", True, detail), *found.checks))
    return _without_repeats(opening, made.folder, found, made=made)


def _without_repeats(
    opening: _Opening, folder: Path, found: Inspection, *, made: Made | None = None
) -> Opened:
    """What is merged of checked files: all of them, or others without the rows to leave out."""
    checks, files = found.checks, made.files if made else ()
    left_out = len(found.left_out_rows)
    # A person may accept what only people decide on, and then these rows stay out too.
    if 0 < left_out < found.rows and decide(checks) != "refuse":
        work = opening.work / "kept"
        try:
            files = leave_out(folder, found.left_out_rows, opening.target(), work).files
        except DataError as error:
            checks = (*checks, Check("left out", False, told(error), "human"))
    elif left_out and left_out == found.rows:
        checks = (*checks, Check("new rows", False, "every row is there already"))
    base_rows = opening.context.base.rows
    return Opened(checks, found.rows, base_rows, left_out, files)
