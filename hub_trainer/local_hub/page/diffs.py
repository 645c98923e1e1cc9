"""Differences between two commits, file by file and line by line, up to what a page can show."""

from dataclasses import dataclass, field
from typing import Any

from hub_trainer.local_hub.git_read import parse_pointer

MAX_FILES = 100
MAX_LINES = 4000
MAX_LINE = 1000

_KINDS = {"+": "added", "-": "removed", " ": "same"}
_STATUSES = {"A": "added", "D": "deleted", "M": "changed", "T": "changed"}


@dataclass(frozen=True)
class Line:
    """One line of a diff; a `gap` says where the next lines stand in the file."""

    kind: str
    old: int | None
    new: int | None
    text: str


@dataclass
class FileDiff:
    """One file of a diff; `note` stands for lines that are not shown."""

    path: str
    status: str
    added: int = 0
    removed: int = 0
    note: str = ""
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Diff:
    """All of it; `num_hidden` files were too many for the page."""

    files: list[FileDiff]
    num_hidden: int


def diff_commits(git: Any, old: Any | None, new: Any) -> Diff:
    """From one commit to another; from nothing for a first commit."""
    found = git.diff(old.tree, new.tree) if old is not None else new.tree.diff_to_tree(swap=True)
    files: list[FileDiff] = []
    left = MAX_LINES
    for patch in found:
        if patch is None or len(files) == MAX_FILES:
            continue
        files.append(_file(git, patch, left))
        left -= len(files[-1].lines)
    return Diff(files, len(found) - len(files))


def _file(git: Any, patch: Any, left: int) -> FileDiff:
    delta = patch.delta
    _, added, removed = patch.line_stats
    shown = FileDiff(
        delta.new_file.path, _STATUSES.get(delta.status_char(), "changed"), added, removed
    )
    side = delta.old_file if delta.status_char() == "D" else delta.new_file
    blob = git.get(side.id)
    pointer = None if blob is None or blob.type_str != "blob" else parse_pointer(blob.data)
    if pointer is not None:
        shown.note = f"A large file of {pointer.size:,} bytes, sha256 {pointer.oid[:12]}…"
    elif delta.is_binary:
        shown.note = "A binary file."
    else:
        _fill(shown, patch, left)
    return shown


def _fill(shown: FileDiff, patch: Any, left: int) -> None:
    for hunk in patch.hunks:
        shown.lines.append(Line("gap", None, None, hunk.header.strip()[:MAX_LINE]))
        for line in hunk.lines:
            if line.origin not in _KINDS:
                continue
            if len(shown.lines) >= left:
                shown.note = "The rest is too long to show here."
                return
            text = line.raw_content.decode("utf-8", "replace").rstrip("\r\n")
            old, new = (
                number if number > 0 else None for number in (line.old_lineno, line.new_lineno)
            )
            shown.lines.append(Line(_KINDS[line.origin], old, new, text[:MAX_LINE]))
