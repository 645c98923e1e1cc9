"""Files that a pull request may touch, judged from two listings; no file is opened."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub_trainer.checks.verdict import Check
from hub_trainer.hub import RepoFile
from hub_trainer.inputs.media import MEDIA
from hub_trainer.rows.containers import ways_on

ROW_SUFFIXES = frozenset({"parquet", "jsonl", "csv"})
MEDIA_SUFFIXES = frozenset(
    suffix.removeprefix(".") for medium in MEDIA.values() for suffix in medium.suffixes
)
DATA_SUFFIXES = ROW_SUFFIXES | MEDIA_SUFFIXES
CARD = "README.md"
SETTINGS = ".gitattributes"
CARD_FILES = frozenset({CARD, SETTINGS})
"""`.huggingface.yaml` is none of them: it can redirect the card's data_files."""
CODE_SUFFIXES = frozenset(
    "py pyc pkl pickle pt pth bin npy npz joblib ipynb so dll exe sh bat js html svg h5".split()  # noqa: SIM905 - one word per suffix is how it stays readable
)
"""Files that run, or that run something when they are opened: none comes by mistake."""
HOSTILE_FAULTS = frozenset({"leaves its folder", "holds invisible characters"})
MAX_FILES = 2_000
MAX_PATH_LENGTH = 200


@dataclass(frozen=True)
class FileChanges:
    """Paths by what happened to them between the base and the head."""

    added: tuple[RepoFile, ...]
    modified: tuple[RepoFile, ...]
    deleted: tuple[RepoFile, ...]

    @property
    def touched(self) -> list[str]:
        """Every path that is not as it was."""
        return sorted(f.path for f in (*self.added, *self.modified, *self.deleted))


def compare_listings(base: Sequence[RepoFile], head: Sequence[RepoFile]) -> FileChanges:
    """What differs between two revisions, by path and content hash."""
    before = {file.path: file for file in base}
    after = {file.path: file for file in head}
    return FileChanges(
        added=tuple(after[path] for path in sorted(after.keys() - before.keys())),
        modified=tuple(
            after[path]
            for path in sorted(after.keys() & before.keys())
            if _content(after[path]) != _content(before[path])
        ),
        deleted=tuple(before[path] for path in sorted(before.keys() - after.keys())),
    )


def check_files(changes: FileChanges, *, max_bytes: int, max_files: int = MAX_FILES) -> list[Check]:
    """The file policy: allowed suffixes and paths, sizes, and no change to what is there."""
    return [
        _check_names(changes),
        _check_suffixes(changes),
        _check_budget(changes, max_bytes, max_files),
        _check_existing(changes),
    ]


def data_files(changes: FileChanges) -> list[RepoFile]:
    """The data files that a pull request adds."""
    return [file for file in changes.added if suffix_of(file.path) in DATA_SUFFIXES]


def suffix_of(path: str) -> str:
    """The lower-cased suffix of a path without its dot, "" when it has none."""
    name = path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def path_fault(path: str) -> str | None:
    """Why a path may not come in, or None."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path or "://" in path or "::" in path:
        return "leaves its folder"
    if any(part.startswith(".") or not part for part in parts):
        return "is hidden"
    if CARD.casefold() in (part.casefold() for part in parts):
        return "stands where the card belongs"
    if len(path) > MAX_PATH_LENGTH:
        return f"is longer than {MAX_PATH_LENGTH} characters"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Co", "Cn") for character in path):
        return "holds invisible characters"
    return "holds a wildcard" if re.search(r"[*?\[\]{}]", path) else None


def _check_names(changes: FileChanges) -> Check:
    faults = {
        file.path: fault
        for file in (*changes.added, *changes.modified)
        if file.path not in CARD_FILES and (fault := path_fault(file.path))
    }
    hostile = bool(set(faults.values()) & HOSTILE_FAULTS)
    detail = _listed(faults) or "plain relative paths"
    return Check("file names", not faults, detail, hostile=hostile)


def _check_suffixes(changes: FileChanges) -> Check:
    refused = {
        file.path: "is neither data nor the card"
        for file in (*changes.added, *changes.modified)
        if suffix_of(file.path) not in DATA_SUFFIXES and file.path not in CARD_FILES
    }
    allowed = ", ".join(sorted(DATA_SUFFIXES))
    ways = "".join(f"; {way[0].lower()}{way[1:].rstrip('.')}" for way in ways_on(refused))
    detail = f"{_listed(refused)}; allowed: {allowed}{ways}" if refused else "data files only"
    hostile = any(suffix_of(path) in CODE_SUFFIXES for path in refused)
    return Check("file types", not refused, detail, hostile=hostile)


def _check_budget(changes: FileChanges, max_bytes: int, max_files: int) -> Check:
    files = (*changes.added, *changes.modified)
    num_bytes = sum(file.size_bytes for file in files)
    passed = len(files) <= max_files and num_bytes <= max_bytes
    detail = f"{len(files)} files of at most {max_files:,}, {num_bytes:,} of {max_bytes:,} bytes"
    return Check("size", passed, detail)


def _check_existing(changes: FileChanges) -> Check:
    """To rewrite or drop what is there may be right, but a person must say so."""
    changed = {file.path: "is modified" for file in changes.modified if file.path != CARD}
    changed |= {file.path: "is deleted" for file in changes.deleted if file.path != CARD}
    changed |= {file.path: "is added" for file in changes.added if file.path == SETTINGS}
    if not changes.touched:
        return Check("existing files", False, "nothing differs from main", "human")
    detail = _listed(changed) or "nothing that is there is changed"
    return Check("existing files", not changed, detail, "human")


def _content(file: RepoFile) -> str:
    return file.lfs_sha256 or file.blob_id


def _listed(faults: Mapping[str, str], limit: int = 5) -> str:
    shown = [f"{path!r} {fault}" for path, fault in sorted(faults.items())[:limit]]
    more = len(faults) - len(shown)
    return "; ".join(shown + ([f"and {more} more"] if more > 0 else []))
