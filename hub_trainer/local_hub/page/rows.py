"""The first rows of a dataset's files, read by a child process and remembered by content."""

import json
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.git_read import Entry, describe, list_files
from hub_trainer.local_hub.lfs import granted_size
from hub_trainer.local_hub.page import rows_child
from hub_trainer.local_hub.repo_rows import Repo

NUM_ROWS = 20
MAX_SECONDS = 30
MAX_WAIT_SECONDS = 10
MAX_REMEMBERED = 64
MAX_DATA_FILES = 200
NUM_CHANGED_ROWS = 8
MAX_CHANGED_FILES = 3
"""Files of one pull request that are read for its page."""

_CHILD = Path(rows_child.__file__)
_children = threading.Semaphore(2)
_memory: "OrderedDict[str, Rows]" = OrderedDict()
_memory_lock = threading.Lock()


@dataclass(frozen=True)
class Rows:
    """The start of a table, or what stands in the way of showing it."""

    columns: list[str]
    rows: list[list[dict[str, str]]]
    total: int | None
    problem: str = ""


@dataclass(frozen=True)
class ShownRows:
    """The start of one file of a pull request."""

    path: str
    table: Rows


def changed_rows(
    core: Core, repo: Repo, git: Any, commit: Any, paths: list[str]
) -> list[ShownRows]:
    """The first rows of the first files of rows among `paths`, as they are at a commit."""
    shown = [path for path in paths if _kind(path) in rows_child.READERS]
    tables = {path: first_rows(core, repo, git, commit, path) for path in shown[:MAX_CHANGED_FILES]}
    return [
        ShownRows(path, replace(table, rows=table.rows[:NUM_CHANGED_ROWS]))
        for path, table in tables.items()
    ]


def data_files(git: Any, commit: Any) -> list[str]:
    """The paths that hold rows, a train split first."""
    found = [path for path, _ in list_files(git, commit) if _kind(path) in rows_child.READERS]
    hidden = [path for path in found if any(part.startswith(".") for part in path.split("/"))]
    shown = [path for path in found if path not in hidden]
    return sorted(shown, key=lambda path: ("train" not in path, path))[:MAX_DATA_FILES]


def _kind(path: str) -> str:
    return path.rpartition(".")[2].lower()


def first_rows(core: Core, repo: Repo, git: Any, commit: Any, path: str) -> Rows:
    """The first rows of one of the data files."""
    entry = describe(git, path, commit.tree[path])
    pointer, kind = entry.pointer, _kind(path)
    if pointer is not None and granted_size(core.store, repo.id, pointer.oid) is None:
        pointer = None  # then the pointer's own text is all that this repo has
    key = f"{pointer.oid if pointer else entry.oid}.{kind}"
    with _memory_lock:
        known = _memory.get(key)
    if known is not None:
        return known
    if not _children.acquire(timeout=MAX_WAIT_SECONDS):
        return Rows([], [], None, "other previews are being read; load the page again")
    try:
        stream = core.lfs.path_of(pointer.oid).open("rb") if pointer else _spooled(core, git, entry)
        with stream:
            found = _read(stream, kind)
    finally:
        _children.release()
    with _memory_lock:
        _memory[key] = found
        while len(_memory) > MAX_REMEMBERED:
            _memory.popitem(last=False)
    return found


def _spooled(core: Core, git: Any, entry: Entry) -> IO[bytes]:
    stream = tempfile.TemporaryFile(dir=core.temporary())  # noqa: SIM115 - the caller closes it
    stream.write(git[entry.oid].data)
    stream.seek(0)
    return stream


def _read(stream: IO[bytes], kind: str) -> Rows:
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD), kind, str(NUM_ROWS)],
            stdin=stream,
            capture_output=True,
            env={"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
            timeout=MAX_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        found = {"problem": f"it took longer than {MAX_SECONDS} seconds"}
    except ValueError:
        found = {"problem": "the reader stopped before it had an answer"}
    if "problem" in found:
        return Rows([], [], None, str(found["problem"]))
    return Rows(found["columns"], found["rows"], found["total"])
