"""Placement of added files: they join the reviewed split, and leave what is there as it is read."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from hub_trainer.checks.file_names import suffix_of
from hub_trainer.checks.verdict import Check
from hub_trainer.errors import DataError
from hub_trainer.inputs.media import medium_of_reader
from hub_trainer.rows import SplitFiles, find_split_files

OTHER_SPLITS = ("test", "validation")


def check_placement(
    before: Sequence[str],
    added: Sequence[str],
    card: Mapping[str, Any],
    *,
    config: str | None,
    split: str,
) -> Check:
    """`before` are the names of the dataset's files on main, `added` those that would join them.

    A file may be laid so that a reader takes it instead of the others, or for another format: both
    are refused. One that no reviewed split takes up is for a person.
    """
    after = [*before, *added]
    old = _find(before, card, config, split)
    if old is None:
        return Check("placement", False, f"main itself has no readable split {split!r}", "human")
    try:
        new = find_split_files(after, card, config=config, split=split, where="the pull request")
    except DataError as error:
        return Check("placement", False, f"the dataset would not load: {error.what}")
    fault = _format_fault(old, new, added) or _displaced(before, after, card, config, (old, new))
    if fault:
        return Check("placement", False, fault)
    taken = {path for paths in new.files.values() for path in paths}
    left = [path for path in added if path not in taken]
    if left:
        detail = f"{len(left)} files are not part of split {split!r}, as {left[0]!r}"
        return Check("placement", False, detail, "human")
    return Check("placement", True, f"all join split {split!r}")


def find_place(
    before: Sequence[str],
    files: Sequence[str],
    name: str,
    *,
    card: Mapping[str, Any],
    config: str | None,
    split: str,
) -> str | None:
    """A path for `name` that the split's patterns take up, beside its `files`; None without one.

    One that comes after them is preferred: readers of csv and jsonl take the types of the first
    file for those of all.
    """
    folder = str(PurePosixPath(files[0]).parent)
    prefix = "" if folder == "." else f"{folder}/"
    begins = (
        f"{split}-",
        f"{split}_",
        f"{split}-rows-",
        f"{split}-00000-of-00001-",
        f"{split}/",
        "",
    )
    paths = [f"{prefix}{begin}{name}" for begin in begins]
    for path in sorted(paths, key=lambda path: path < max(files)):
        if check_placement(before, [path], card, config=config, split=split).passed:
            return path
    return None


def _format_fault(old: SplitFiles, new: SplitFiles, added: Sequence[str]) -> str | None:
    if old.reader != new.reader:
        return f"the dataset would be read as {new.reader}, not as {old.reader}"
    if medium_of_reader(old.reader) is not None:
        return None
    formats = {suffix_of(path) for paths in old.files.values() for path in paths}
    other = sorted(path for path in added if suffix_of(path) not in formats)
    return f"{other[0]!r} is not {' or '.join(sorted(formats))} like the dataset" if other else None


def _displaced(
    before: Sequence[str],
    after: Sequence[str],
    card: Mapping[str, Any],
    config: str | None,
    reviewed: tuple[SplitFiles, SplitFiles],
) -> str | None:
    """A file of main that would not be read any more, in any split."""
    old, new = (_paths(found) for found in reviewed)
    for split in OTHER_SPLITS:
        old |= _paths(_find(before, card, config, split))
        new |= _paths(_find(after, card, config, split))
    lost = sorted(old - new)
    return f"{lost[0]!r} of the dataset would not be read any more" if lost else None


def _find(
    names: Sequence[str], card: Mapping[str, Any], config: str | None, split: str
) -> SplitFiles | None:
    try:
        return find_split_files(names, card, config=config, split=split, where="the dataset")
    except DataError:
        return None


def _paths(found: SplitFiles | None) -> set[str]:
    return {path for paths in found.files.values() for path in paths} if found else set()
