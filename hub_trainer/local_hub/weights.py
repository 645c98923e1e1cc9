"""What the headers of a model's weight files say: how many parameters, of which types."""

import io
import json
import math
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar, cast

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.gguf import read_gguf
from hub_trainer.local_hub.git_read import Entry, describe, entry_at
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.repo_rows import Repo

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_JSON_BYTES = 10 * 1024 * 1024
"""Longer headers and indexes are not looked at."""
MAX_FILES = 1000
MAX_COUNT = 2**53
"""Larger numbers are not counts of anything."""
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


def _safetensors_files(core: Core, repo: Repo, git: Any, commit: Any) -> list[Entry]:
    """The one file, or the shards that the index names, or else all at the top of the repo."""
    single = entry_at(git, commit, SINGLE_FILE)
    if single is not None:
        return [single]
    index = entry_at(git, commit, INDEX_FILE)
    named = _look_into(core, repo, git, index, read_shards) if index is not None else None
    shards = [entry_at(git, commit, path) for path in named or []]
    return [entry for entry in shards if entry] or _files_of(git, commit, ".safetensors")


def _files_of(git: Any, commit: Any, suffix: str) -> list[Entry]:
    named = [found for found in commit.tree if found.name.lower().endswith(suffix)]
    return [describe(git, found.name, found) for found in named[:MAX_FILES]]


def _look_into(
    core: Core, repo: Repo, git: Any, entry: Entry, read: Callable[[BinaryIO], _Found | None]
) -> _Found | None:
    """What `read` makes of a file. Contents never change, so it is remembered across repos."""
    pointer = entry.pointer
    if entry.type != "file":
        return None
    if pointer is not None and granted_size(core.store, repo.id, pointer.oid) is None:
        return None  # it is not this repo's to show
    key = f"{read.__name__} {entry.oid if pointer is None else pointer.oid}"
    with _reading:
        if key not in _remembered:
            if len(_remembered) >= MAX_REMEMBERED:
                _remembered.clear()
            with _open(core, git, entry) as stream:
                _remembered[key] = read(stream)
        return cast("_Found | None", _remembered[key])


def _open(core: Core, git: Any, entry: Entry) -> BinaryIO:
    if entry.pointer is None:
        return io.BytesIO(git[entry.oid].data)
    return core.lfs.path_of(entry.pointer.oid).open("rb")


def read_shards(stream: BinaryIO) -> list[str] | None:
    """The files that the index of a model in several files names; None if it is none."""
    try:
        paths = set(json.loads(stream.read(MAX_JSON_BYTES))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return sorted(path for path in paths if isinstance(path, str) and path)[:MAX_FILES]


def read_parameters(stream: BinaryIO) -> dict[str, int] | None:
    """Parameters by type, from the header of a safetensors file; None if it is none."""
    size = int.from_bytes(stream.read(8), "little")
    if not 2 <= size <= MAX_JSON_BYTES:
        return None
    text = stream.read(size)
    if len(text) < size:
        return None
    try:
        header = json.loads(text)
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        return _count(tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _count(tensors: list[Any]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[str(tensor["dtype"])[:16]] += _elements(tensor["shape"])
    return dict(counts)


def _elements(shape: list[int]) -> int:
    usable = len(shape) <= 64 and all(type(each) is int and 0 <= each < MAX_COUNT for each in shape)
    number = math.prod(shape) if usable else MAX_COUNT
    if number >= MAX_COUNT:
        raise ValueError("a shape that no tensor has")
    return number
