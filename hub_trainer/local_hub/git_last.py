"""Last commit that changed a path: found by walking back, and remembered per folder."""

import threading
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any

from pygit2.enums import SortMode

from hub_trainer.local_hub.git_read import CommitRecord, is_ancestor, record_of

MAX_REMEMBERED = 2000
MAX_FOLDER_STATES = 64

_Records = dict[str, CommitRecord]


@dataclass(frozen=True)
class _Known:
    """What was found for some names of a folder as of a commit. Never changed once it is kept."""

    commit_sha: str
    records: _Records


_memory: "OrderedDict[tuple[str, str], _Known]" = OrderedDict()
_memory_lock = threading.Lock()


def last_commits(git: Any, commit: Any, paths: list[str]) -> _Records:
    """For each path of the commit the newest commit that changed it.

    What was found at an ancestor still holds for names that nothing has touched since, so only the
    commits in between are walked.
    """
    folders: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders[folder].add(name)
    found: _Records = {}
    for folder, names in folders.items():
        records = _last_in_folder(git, commit, folder, names)
        prefix = f"{folder}/" if folder else ""
        found.update((prefix + name, records[name]) for name in names)
    return found


def _last_in_folder(git: Any, commit: Any, folder: str, names: set[str]) -> _Records:
    known = _recall(git, commit, folder)
    search = _Search(folder, set(names))
    if known is not None:
        search.also_seek(git, commit, known.records)
        search.walk(git, commit, hide=known.commit_sha)
        search.take(known.records)
    search.walk(git, commit, hide=None)
    _remember(git, folder, _Known(str(commit.id), search.found))
    return search.found


def _recall(git: Any, commit: Any, folder: str) -> _Known | None:
    with _memory_lock:
        known = _memory.get((git.path, folder))
    if known is None or known.commit_sha not in git:
        return None
    return known if is_ancestor(git, known.commit_sha, str(commit.id)) else None


def _remember(git: Any, folder: str, known: _Known) -> None:
    with _memory_lock:
        _memory[(git.path, folder)] = known
        _memory.move_to_end((git.path, folder))
        while len(_memory) > MAX_REMEMBERED:
            _memory.popitem(last=False)


@dataclass
class _Search:
    """The names of a folder that are still sought, and those found."""

    folder: str
    pending: set[str]
    found: _Records = field(default_factory=dict)
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def also_seek(self, git: Any, commit: Any, records: _Records) -> None:
        """Carry on what was known of other names, if they are still there."""
        self.pending |= records.keys() & self._folder_of(git, commit).keys()

    def take(self, records: _Records) -> None:
        """Use what was known before."""
        for name in self.pending & records.keys():
            self.found[name] = records[name]
        self.pending -= records.keys()

    def walk(self, git: Any, commit: Any, hide: str | None) -> None:
        """Go back from a commit until every name is found."""
        if not self.pending:
            return
        walker = git.walk(commit.id, SortMode.NONE)
        if hide is not None:
            walker.hide(hide)
        for each in walker:
            self._look_at(git, each)
            if not self.pending:
                return

    def _look_at(self, git: Any, commit: Any) -> None:
        here = self._folder_of(git, commit)
        parents = [self._folder_of(git, parent) for parent in commit.parents]
        if any(parent is here for parent in parents):
            return
        changed = {
            name
            for name in self.pending & here.keys()
            if all(parent.get(name) != here[name] for parent in parents)
        }
        self.found.update((name, record_of(commit)) for name in changed)
        self.pending -= changed

    def _folder_of(self, git: Any, commit: Any) -> dict[str, Any]:
        """Name -> object id; the same dict for the same folder content."""
        try:
            oid = commit.tree[self.folder].id if self.folder else commit.tree.id
        except KeyError:
            return self._entries.setdefault("", {})
        known = self._entries.get(str(oid))
        if known is None:
            found = git[oid]
            usable = found.type_str == "tree"
            known = {entry.name: entry.id for entry in found} if usable else {}
            if len(self._entries) > MAX_FOLDER_STATES:
                self._entries.clear()
            self._entries[str(oid)] = known
        return known
