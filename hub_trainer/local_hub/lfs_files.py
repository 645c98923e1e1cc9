"""Looking after a repo's large files: what there is, and deleting it for good."""

from collections.abc import Iterator
from typing import Any

import pygit2
from pygit2.enums import FileMode, SortMode

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.git_read import describe, list_files, list_refs, pointer_text
from hub_trainer.local_hub.git_write import sync_folder
from hub_trainer.local_hub.lfs import grants_of, withdraw
from hub_trainer.local_hub.refs import Move, advance
from hub_trainer.local_hub.repo_rows import Repo


def list_lfs_files(core: Core, repo: Repo) -> list[dict[str, Any]]:
    """Every large file of a repo, with one name and ref under which it is or was found."""
    git = core.git(repo)
    granted = grants_of(core.store, repo.id)
    found: dict[str, dict[str, Any]] = {}
    for ref, path, oid in _pointers(git):
        if oid in granted and oid not in found:
            size, pushed = granted[oid]
            found[oid] = {
                "fileOid": oid,
                "filename": path,
                "oid": oid,
                "pushedAt": pushed,
                "ref": ref,
                "size": size,
            }
        if len(found) == len(granted):
            break
    return sorted(found.values(), key=lambda each: (each["pushedAt"], each["filename"]))


def _pointers(git: Any) -> Iterator[tuple[str, str, str]]:
    """(ref, path, oid): the tips first, then the histories."""
    refs = sorted(list_refs(git).items(), key=lambda item: item[0] != "refs/heads/main")
    seen_trees: set[str] = set()
    for ref, sha in refs:
        yield from _pointers_of(git, ref, git[sha], seen_trees)
    for ref, sha in refs:
        for commit in git.walk(sha, SortMode.NONE):
            yield from _pointers_of(git, ref, commit, seen_trees)


def _pointers_of(git: Any, ref: str, commit: Any, seen: set[str]) -> Iterator[tuple[str, str, str]]:
    if str(commit.tree.id) in seen:
        return
    seen.add(str(commit.tree.id))
    for path, found in list_files(git, commit):
        pointer = describe(git, path, found).pointer
        if pointer is not None:
            yield ref, path, pointer.oid


def delete_lfs_files(
    core: Core, repo: Repo, actor: Actor, oids: list[str], *, rewrite_history: bool
) -> None:
    """Take large files out of the repo, and out of every commit that names them."""
    with core.lock(repo.id):
        granted = grants_of(core.store, repo.id)
        oids = [oid for oid in oids if oid in granted]
        if rewrite_history and oids:
            git = core.git(repo)
            texts = [pointer_text(oid, granted[oid][0]) for oid in oids]
            _rewrite(core, repo, git, actor, {str(pygit2.hash(text)) for text in texts})
        withdraw(core.store, core.lfs, repo.id, oids)


def _rewrite(core: Core, repo: Repo, git: Any, actor: Actor, blobs: set[str]) -> None:
    """Make every commit anew without these blobs, and move the refs there."""
    renewed: dict[str, str] = {}
    for ref, sha in list_refs(git).items():
        order = SortMode.TOPOLOGICAL | SortMode.REVERSE
        for commit in git.walk(sha, order):
            if str(commit.id) not in renewed:
                renewed[str(commit.id)] = _renew(git, commit, renewed, blobs)
        new = renewed[sha]
        if new == sha:
            continue
        if ref.startswith("refs/tags/"):
            git.references.create(ref, pygit2.Oid(hex=new), force=True)
            sync_folder(core.git_path(repo.id) / "refs" / "tags")
        else:
            advance(core, repo, git, Move(ref, sha, new, actor.name, {"type": "rewrite"}))


def _renew(git: Any, commit: Any, renewed: dict[str, str], blobs: set[str]) -> str:
    tree = _without(git, commit.tree, blobs)
    parents = [renewed[str(parent)] for parent in commit.parent_ids]
    if tree == commit.tree.id and parents == [str(parent) for parent in commit.parent_ids]:
        return str(commit.id)
    oids = [pygit2.Oid(hex=parent) for parent in parents]
    return str(git.create_commit(None, commit.author, commit.committer, commit.message, tree, oids))


def _without(git: Any, tree: Any, blobs: set[str]) -> Any:
    """The id of a tree without these blobs; folders that become empty go too."""
    builder = git.TreeBuilder(tree)
    for found in tree:
        if found.type_str == "tree":
            inner = _without(git, git[found.id], blobs)
            if inner != found.id:
                builder.remove(found.name)
                if len(git[inner]):
                    builder.insert(found.name, inner, FileMode.TREE)
        elif str(found.id) in blobs:
            builder.remove(found.name)
    return builder.write()
