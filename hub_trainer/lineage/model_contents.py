"""Files of a model commit: which of them make the model, and what differs between two commits."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from hub_trainer.artifacts import file_sha256
from hub_trainer.hub import RepoFile

WEIGHTS = (".safetensors", ".skops")
DOCUMENTATION_SUFFIXES = (".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".cff")
DOCUMENTATION_NAMES = ("license", "license.txt", "notice", "notice.txt", ".gitattributes")
EVALUATIONS = ".eval_results"


def is_documentation(path: str) -> bool:
    """Whether people may write this file on top of a round: nothing loads it with the model."""
    place = PurePosixPath(path)
    if place.suffix.lower() in DOCUMENTATION_SUFFIXES:
        return True
    return place.parts[0] == EVALUATIONS or place.name.lower() in DOCUMENTATION_NAMES


def changed_files(then: Sequence[RepoFile], now: Sequence[RepoFile]) -> dict[str, str]:
    """Path -> changed, added or removed, of the files that are no documentation."""
    before, after = _contents(then), _contents(now)
    found = {}
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            found[path] = (
                "added" if path not in before else "removed" if path not in after else "changed"
            )
    return found


def file_hashes(folder: Path) -> dict[str, str]:
    """Path -> sha256 of each file of a folder that makes the model."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_sha256(path) for name, path in named.items() if not is_documentation(name)}


def _contents(files: Sequence[RepoFile]) -> Mapping[str, str]:
    return {
        file.path: file.lfs_sha256 or file.blob_id
        for file in files
        if not is_documentation(file.path)
    }
