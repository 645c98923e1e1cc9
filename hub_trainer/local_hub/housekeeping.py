"""Packs a repo's git objects now and then, so that no reader pays for how many there are."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.git_write import sync_folder
from hub_trainer.local_hub.names import is_commit_sha
from hub_trainer.local_hub.push import git_command, git_environment

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
PACK_SECONDS = 900
LARGE_PACK_BYTES = 256 * 1024 * 1024
"""A pack of this size is not written again."""
GRACE_SECONDS = 600.0
"""For so long a request may still read from packs that went into a new one."""

_PACK_OBJECTS = (
    "pack-objects --stdin-packs --unpacked --non-empty --delta-base-offset --threads=1 "
    "--window=4 --window-memory=64m --quiet"
)
_GENTLY = ("nice", "-n", "10")
_NO_DELTAS_OF_LARGE_FILES = ("-c", "core.bigFileThreshold=512k")


@dataclass
class Housekeeper:
    """Looks after the repos that were written to, one at a time, until it is stopped."""

    core: Core
    clock: Callable[[], float] = time.monotonic
    _replaced: dict[Path, float] = field(default_factory=dict)
    """Packs whose objects are in a newer one as well, and when they may go."""
    _given_up: set[str] = field(default_factory=set)
    """Repos whose packing failed, as it would again; the next start tries once more."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="local-hub-packs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; packing that is under way is given up, which leaves the repo as it was."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self.tidy()

    def tidy(self) -> None:
        """Pack what needs it, and remove packs that nobody reads any more."""
        for repo_id in self.core.take_written() - self._given_up:
            try:
                self._pack_if_needed(repo_id)
            except (OSError, subprocess.SubprocessError, pygit2.GitError) as error:
                self._given_up.add(repo_id)
                log.warning("packing the objects of repo %s failed: %s", repo_id, error)
        self._drop_replaced()

    def _pack_if_needed(self, repo_id: str) -> None:
        folder = self.core.git_path(repo_id) / "objects"
        limits = self.core.limits
        packs = [path for path in _packs(folder) if path not in self._replaced]
        too_many = len(packs) > limits.packs
        if not too_many and _count_loose(folder) <= limits.loose_objects:
            return
        if self._stopping.is_set():
            return
        self._pack(repo_id, folder, _small_ones(packs) if too_many else [])

    def _pack(self, repo_id: str, folder: Path, packs: list[Path]) -> None:
        """Everything in these packs and every loose object becomes one pack, reachable or not: a
        commit that is being made has objects to which nothing points yet."""
        with self.core.packing:
            for leftover in (folder / "pack").glob("tmp_*"):
                leftover.unlink()
            written = self._run_git(folder, packs) if folder.is_dir() else None
            if written is None:
                return
            sync_folder(folder / "pack")
            self._replaced |= dict.fromkeys(packs, self.clock() + GRACE_SECONDS)
            self._replaced.pop(folder / "pack" / written, None)
            with self.core.lock(repo_id):
                _drop_packed(folder)

    def _run_git(self, folder: Path, packs: list[Path]) -> str | None:
        """The name of the pack that was written, if there was anything to write."""
        words = [*_GENTLY, *git_command(), *_NO_DELTAS_OF_LARGE_FILES, *_PACK_OBJECTS.split()]
        names = "".join(f"{path.name}\n" for path in packs).encode()
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*words, str(folder / "pack" / "pack")],
            cwd=folder.parent,
            env=git_environment(),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        ) as self._process:
            try:
                told, complaint = self._process.communicate(names, PACK_SECONDS)
            finally:
                self._process.kill()
        if self._process.returncode != 0 and not self._stopping.is_set():
            raise OSError(complaint.decode("utf-8", "replace").strip()[:300])
        return f"pack-{told.decode().strip()}.pack" if told.strip() else None

    def _drop_replaced(self) -> None:
        for path in [path for path, due in self._replaced.items() if due <= self.clock()]:
            with self.core.lock(path.parents[2].stem):  # nobody copies the folder meanwhile
                for suffix in (".idx", ".rev", ".pack"):  # the index first: git looks for that
                    path.with_suffix(suffix).unlink(missing_ok=True)
            del self._replaced[path]


def _packs(folder: Path) -> list[Path]:
    return sorted((folder / "pack").glob("pack-*.pack"), key=lambda path: path.stat().st_size)


def _small_ones(packs: list[Path]) -> list[Path]:
    """From the smallest up, until one is larger than twice all before it: so each object is written
    again only as often as the repo doubles."""
    taken: list[Path] = []
    total = 0
    for path in packs:
        size = path.stat().st_size
        if size >= LARGE_PACK_BYTES or (len(taken) > 1 and size > 2 * total):
            break
        taken.append(path)
        total += size
    return taken


def _drop_packed(folder: Path) -> None:
    """Remove loose objects that are in a pack as well. Their folders stay, unlike with git's own
    prune-packed: somebody may just be about to write there."""
    packed = pygit2.OdbBackendPack(str(folder))
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        sha = path.parent.name + path.name
        if is_commit_sha(sha) and packed.exists(sha):
            path.unlink()


def _count_loose(folder: Path) -> int:
    """About how many: ids are spread evenly over 256 folders, so one tells of all."""
    try:
        return 256 * sum(1 for _ in (folder / "17").iterdir())
    except FileNotFoundError:
        return 0
