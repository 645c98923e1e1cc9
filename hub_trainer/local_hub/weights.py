"""Headers of a model's weight files: how many parameters, of which types."""

import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import too_large, unprocessable
from hub_trainer.local_hub.gguf import read_gguf
from hub_trainer.local_hub.git_read import Entry, describe, entry_at
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.safetensors import (
    MAX_FILES,
    MAX_JSON_BYTES,
    read_files,
    read_header,
    read_header_size,
    read_index,
    read_parameters,
)

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_REMEMBERED = 10_000

_Found = TypeVar("_Found")

_remembered: dict[str, Any] = {}
_reading = threading.Lock()
"""One header at a time, so that memory holds one."""


def safetensors_info(core: Core, repo: Repo, git: Any, commit: Any) -> dict[str, Any] | None:
    """Parameters by type and in total, over the model's files; None without a readable one."""
    counts: Counter[str] = Counter()
    for entry in _safetensors_files(core, repo, git, commit):
        counts.update(_look_into(core, repo, git, entry, read_parameters) or {})
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def gguf_info(core: Core, repo: Repo, git: Any, commit: Any) -> dict[str, Any] | None:
    """Parameters, architecture and context length of the first GGUF file that can be read."""
    for entry in _files_of(git, commit, ".gguf"):
        found = _look_into(core, repo, git, entry, read_gguf)
        if found is not None:
            return found
    return None


@dataclass(frozen=True)
class Sharded:
    """A model in several files, as its index at a path of a commit spells it out."""

    core: Core
    repo: Repo
    git: Any
    commit: Any
    path: str

    def metadata(self) -> dict[str, Any]:
        """What the index says of the whole model, and the header of each file that it names."""
        index, files = self._read(self.path, read_index), self._read(self.path, read_files)
        if index is None or files is None:
            raise unprocessable(f"{self.path} is missing or is not an index of safetensors files.")
        self._check_sizes(files)
        del index["weight_map"]
        return {
            "index": index,
            "headers": {each: self._of_shard(each, read_header) for each in files},
        }

    def _check_sizes(self, files: list[str]) -> None:
        if sum(self._of_shard(each, read_header_size) for each in files) > MAX_JSON_BYTES:
            raise too_large(f"The headers have more than {MAX_JSON_BYTES} bytes together.")

    def _of_shard(self, name: str, read: Callable[[BinaryIO], _Found | None]) -> _Found:
        """Names in an index are relative to its folder."""
        folder = self.path.rpartition("/")[0]
        found = self._read(f"{folder}/{name}" if folder else name, read)
        if found is None:
            raise unprocessable(f"{name} is missing or is not a safetensors file.")
        return found

    def _read(self, path: str, read: Callable[[BinaryIO], _Found | None]) -> _Found | None:
        entry = entry_at(self.git, self.commit, path)
        if entry is None or not _may_show(self.core, self.repo, entry):
            return None
        with _reading, _open(self.core, self.git, entry) as stream:
            return read(stream)


def _safetensors_files(core: Core, repo: Repo, git: Any, commit: Any) -> list[Entry]:
    """The one file, or the shards that the index names, or else all at the top of the repo."""
    single = entry_at(git, commit, SINGLE_FILE)
    if single is not None:
        return [single]
    index = entry_at(git, commit, INDEX_FILE)
    named = _look_into(core, repo, git, index, read_files) if index is not None else None
    shards = [entry_at(git, commit, path) for path in named or []]
    return [entry for entry in shards if entry] or _files_of(git, commit, ".safetensors")


def _files_of(git: Any, commit: Any, suffix: str) -> list[Entry]:
    named = [found for found in commit.tree if found.name.lower().endswith(suffix)]
    return [describe(git, found.name, found) for found in named[:MAX_FILES]]


def _look_into(
    core: Core, repo: Repo, git: Any, entry: Entry, read: Callable[[BinaryIO], _Found | None]
) -> _Found | None:
    """What `read` makes of a file. Contents never change, so it is remembered across repos."""
    if not _may_show(core, repo, entry):
        return None
    pointer = entry.pointer
    key = f"{read.__name__} {entry.oid if pointer is None else pointer.oid}"
    with _reading:
        if key not in _remembered:
            if len(_remembered) >= MAX_REMEMBERED:
                _remembered.clear()
            with _open(core, git, entry) as stream:
                _remembered[key] = read(stream)
        return cast("_Found | None", _remembered[key])


def _may_show(core: Core, repo: Repo, entry: Entry) -> bool:
    """Whether it is a file, and this repo's own: a pointer alone opens nothing."""
    if entry.type != "file" or entry.pointer is None:
        return entry.type == "file"
    return granted_size(core.store, repo.id, entry.pointer.oid) is not None


def _open(core: Core, git: Any, entry: Entry) -> BinaryIO:
    if entry.pointer is None:
        return io.BytesIO(git[entry.oid].data)
    return core.lfs.path_of(entry.pointer.oid).open("rb")
