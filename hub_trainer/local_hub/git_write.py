"""Writing bare git repos: trees, commits, merges, and refs that move by compare-and-swap."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import FileMode, ObjectType

from hub_trainer.local_hub.errors import (
    WireError,
    bad_request,
    conflict,
    entry_not_found,
    stale_parent,
)
from hub_trainer.local_hub.git_read import is_valid_ref


@dataclass(frozen=True)
class Signature:
    """Who a commit is by."""

    name: str
    email: str


@dataclass(frozen=True)
class Change:
    """One path of a commit: `blob` is its new content, None removes the file or folder."""

    path: str
    blob: str | None


def init_git(path: Path) -> None:
    """Make an empty bare repo whose branch is main."""
    pygit2.init_repository(str(path), bare=True, initial_head="main")


def write_blob(git: Any, data: bytes) -> str:
    """Store a file's bytes; they are on disk afterwards."""
    return str(git.create_blob(data))


def apply_changes(git: Any, base: Any | None, changes: Iterable[Change]) -> Any:
    """The tree that `base` (a tree, or None) becomes: removals first, then the rest."""
    changes = list(changes)
    removed: dict[str, Any] = {}
    added: dict[str, Any] = {}
    for change in changes:
        root = removed if change.blob is None else added
        node = root
        for segment in change.path.split("/"):
            node = node.setdefault(segment, {})
        node[_HERE] = change
    tree = base
    if removed:
        tree = _remove(git, tree, removed, "")
    if added:
        tree = _add(git, tree, added, "")
    return tree if tree is not None else git[git.TreeBuilder().write()]


_HERE = ""
"""Key under which a nested dict holds the change of the folder's own path."""


def _remove(git: Any, tree: Any | None, wanted: dict[str, Any], prefix: str) -> Any | None:
    """`tree` without what `wanted` names; None if nothing is left."""
    builder = git.TreeBuilder(tree) if tree is not None else git.TreeBuilder()
    for name, node in wanted.items():
        path = prefix + name
        found = builder.get(name)
        if found is None:
            raise entry_not_found(path)
        below = {key: value for key, value in node.items() if key != _HERE}
        if _HERE in node:
            builder.remove(name)
        elif found.type_str != "tree":
            raise entry_not_found(f"{path}/{next(iter(below))}")
        else:
            rest = _remove(git, git[found.id], below, f"{path}/")
            builder.remove(name)
            if rest is not None:
                builder.insert(name, rest.id, FileMode.TREE)
    return git[builder.write()] if len(builder) else None


def _add(git: Any, tree: Any | None, wanted: dict[str, Any], prefix: str) -> Any:
    builder = git.TreeBuilder(tree) if tree is not None else git.TreeBuilder()
    for name, node in wanted.items():
        path = prefix + name
        found = builder.get(name)
        below = {key: value for key, value in node.items() if key != _HERE}
        change = node.get(_HERE)
        if change is not None and below:
            raise bad_request(f"{path} is both a file and a folder in this commit.")
        if change is not None:
            if found is not None and found.type_str == "tree":
                raise bad_request(f"{path} is a folder. Delete it before you add a file there.")
            builder.insert(name, pygit2.Oid(hex=change.blob), FileMode.BLOB)
            continue
        if found is not None and found.type_str != "tree":
            raise bad_request(f"{path} is a file. Delete it before you add a folder there.")
        inner = _add(git, git[found.id] if found is not None else None, below, f"{path}/")
        builder.insert(name, inner.id, FileMode.TREE)
    return git[builder.write()]


def write_commit(
    git: Any,
    tree: Any,
    parents: list[str],
    message: str,
    by: Signature,
    *,
    when: float | None = None,
) -> str:
    """Store a commit; no ref points at it yet."""
    moment = int(time.time() if when is None else when)
    signature = pygit2.Signature(by.name, by.email, moment, 0)
    oids = [pygit2.Oid(hex=parent) for parent in parents]
    return str(git.create_commit(None, signature, signature, message, tree.id, oids))


def move_ref(git: Any, ref: str, old: str | None, new: str) -> None:
    """Point a ref at a commit if it still is where the caller saw it, else 412."""
    target = pygit2.Oid(hex=new)
    clear_stale_locks(git, ref)
    try:
        if old is None:
            git.references.create(ref, target, force=False)
        else:
            reference = git.references[ref]
            if str(reference.target) != old:
                raise stale_parent()
            reference.set_target(target)
    except (KeyError, ValueError, pygit2.GitError):
        raise stale_parent() from None


def clear_stale_locks(git: Any, ref: str) -> None:
    """Remove git's own locks on a ref. Whoever moves refs holds the repo's lock, and one process
    holds the folder, so that a lock file can only be what a killed server left behind."""
    for name in (ref, "packed-refs"):
        (Path(git.path) / f"{name}.lock").unlink(missing_ok=True)


def drop_ref(git: Any, ref: str) -> None:
    """Delete a ref that exists."""
    clear_stale_locks(git, ref)
    git.references.delete(ref)
    sync_folder((Path(git.path) / ref).parent)


def create_tag(git: Any, tag: str, commit: Any, message: str | None, by: Signature) -> None:
    """Make a tag: annotated if there is a message."""
    ref = f"refs/tags/{tag}"
    if not is_valid_ref(ref):
        raise bad_request(f"Invalid tag name: {tag!r}")
    if ref in git.references:
        raise conflict(f"Reference {ref} already exists")
    clear_stale_locks(git, ref)
    if message:
        signature = pygit2.Signature(by.name, by.email, int(time.time()), 0)
        git.create_tag(tag, commit.id, ObjectType.COMMIT, signature, message)
    else:
        git.references.create(ref, commit.id)


def merged_tree(git: Any, base: Any, ours: Any, theirs: Any) -> Any:
    """The tree of a three-way merge of commits; 409 that names the files in conflict."""
    index = git.merge_trees(base.tree, ours.tree, theirs.tree)
    if index.conflicts is not None:
        raise _merge_conflict(sorted(_conflicting_paths(index)))
    return git[index.write_tree(git)]


def conflicts_of(git: Any, base: Any, ours: Any, theirs: Any) -> list[str]:
    """The files that a merge could not settle."""
    index = git.merge_trees(base.tree, ours.tree, theirs.tree)
    return sorted(_conflicting_paths(index))


def _conflicting_paths(index: Any) -> set[str]:
    return {side.path for sides in index.conflicts or () for side in sides if side is not None}


def _merge_conflict(paths: list[str]) -> WireError:
    return conflict(
        f"This pull request has conflicts with the branch in: {', '.join(paths)}",
        filesWithConflicts=paths,
    )


def sync_folder(path: Path) -> None:
    """Make renames and deletions in a folder durable."""
    if not path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
