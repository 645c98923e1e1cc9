"""Core of a running Local Hub: its folder, the database, the LFS store, and a lock per repo."""

import fcntl
import os
import secrets
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import Option

from hub_trainer.local_hub.git_read import open_git
from hub_trainer.local_hub.job_runner import JobRunner
from hub_trainer.local_hub.lfs import LfsStore
from hub_trainer.local_hub.repo_rows import Repo, add_downloads
from hub_trainer.local_hub.store import Store, get_meta, set_meta


@dataclass(frozen=True)
class Limits:
    """What one request may ask for. Sizes are in bytes."""

    regular_file_bytes: int = 10 * 1024 * 1024
    """Larger files must go through LFS."""
    multipart_bytes: int = 256 * 1024 * 1024
    """Larger LFS uploads are offered in parts."""
    part_bytes: int = 64 * 1024 * 1024
    """Size of one part."""
    json_bytes: int = 32 * 1024 * 1024
    """Largest JSON or form body."""
    commit_bytes: int = 4 * 1024 * 1024 * 1024
    """Largest NDJSON commit body, kept on disk while it is read."""
    commit_operations: int = 100_000
    """Most files that one commit may name."""
    attachment_bytes: int = 10 * 1024 * 1024
    """Largest picture or sound in a comment."""
    video_bytes: int = 50 * 1024 * 1024
    """Largest video in a comment."""
    push_bytes: int = 4 * 1024 * 1024 * 1024
    """Largest git push."""
    loose_objects: int = 4000
    """From more objects in files of their own on, a repo's git objects are packed."""
    packs: int = 30
    """From more packs on, they become one."""


@dataclass
class Core:
    """Everything below HTTP. One process at a time may hold a folder."""

    folder: Path
    limits: Limits
    store: Store
    lfs: LfsStore
    _folder_lock: int
    jobs: JobRunner | None = None
    """None: jobs are not allowed here."""
    _repo_locks: defaultdict[str, threading.RLock] = field(
        default_factory=lambda: defaultdict(threading.RLock)
    )
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _downloads: Counter[str] = field(default_factory=Counter)
    _written: set[str] = field(default_factory=set)
    packing: threading.Lock = field(default_factory=threading.Lock)
    """Held while objects are packed; whoever removes a repo's folder holds it too. Comes before
    the lock of a repo."""

    def git_path(self, repo_id: str) -> Path:
        """Where a repo lies. Names never become paths, so no name can leave the folder."""
        return self.folder / "repos" / repo_id[-2:] / f"{repo_id}.git"

    def git(self, repo: Repo) -> Any:
        """A git handle for this thread."""
        return open_git(self.git_path(repo.id))

    def lock(self, repo_id: str) -> threading.RLock:
        """Whoever changes a repo holds this; readers do not need it."""
        with self._guard:
            return self._repo_locks[repo_id]

    def note_written(self, repo_id: str) -> None:
        """A repo has more git objects than before."""
        with self._guard:
            self._written.add(repo_id)

    def take_written(self) -> set[str]:
        """The repos that were written to since the last time."""
        with self._guard:
            taken, self._written = self._written, set()
        return taken

    def count_download(self, repo: Repo) -> None:
        """One more download; kept in memory until the next flush."""
        with self._guard:
            self._downloads[repo.id] += 1

    def flush_downloads(self) -> None:
        """Write down the downloads counted since the last time."""
        with self._guard:
            counted, self._downloads = self._downloads, Counter()
        if counted:
            add_downloads(self.store, counted)

    def temporary(self) -> Path:
        """A folder for half-finished things, emptied at start."""
        return self.folder / "tmp"

    def close(self) -> None:
        """Let go of the folder."""
        self.flush_downloads()
        self.store.close()
        os.close(self._folder_lock)


def open_core(folder: Path, limits: Limits | None = None, *, durable: bool = True) -> Core:
    """Open a data folder, or make one; fails at once if another server holds it.

    `durable=False` is for a folder that will be thrown away: nothing waits for the disk.
    """
    if durable:  # for the whole process: objects and refs reach the disk before a call returns
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = _lock_folder(folder)
    for name in ("repos", "lfs", "attachments", "tmp", "trash"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    try:
        store = Store(folder / "hub.sqlite3", durable=durable)
    except BaseException:
        os.close(handle)
        raise
    os.chmod(folder / "hub.sqlite3", 0o600)
    secret = get_meta(store, "signing_key")
    if secret is None:
        secret = secrets.token_hex(32)
        set_meta(store, "signing_key", secret)
    lfs = LfsStore(folder / "lfs", bytes.fromhex(secret))
    return Core(folder, limits or Limits(), store, lfs, handle)


def _lock_folder(folder: Path) -> int:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise RuntimeError(
            f"{folder} is in use by another Local Hub. Stop it, or choose another --data folder."
        ) from None
    return handle
