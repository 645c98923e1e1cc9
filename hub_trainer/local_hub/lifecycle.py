"""Repos come, go, move and are copied."""

import os
import shutil
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.local_hub import webhooks
from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.attributes import default_attributes
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.git_read import open_git
from hub_trainer.local_hub.git_write import (
    Change,
    Signature,
    apply_changes,
    init_git,
    move_ref,
    sync_folder,
    write_blob,
    write_commit,
)
from hub_trainer.local_hub.lfs import grants_of, withdraw
from hub_trainer.local_hub.names import RepoType, check_name, new_id
from hub_trainer.local_hub.refs import Move, advance, summarize
from hub_trainer.local_hub.repo_rows import (
    Repo,
    delete_repo_row,
    find_repo_by_id,
    insert_repo,
    rename_repo,
)

SPACE_README = """---
title: {title}
emoji: 🚀
colorFrom: blue
colorTo: green
sdk: {sdk}
app_file: app.py
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""


@dataclass(frozen=True)
class NewRepo:
    """What a repo is to be called and to start with."""

    type: RepoType
    namespace: str
    name: str
    private: bool
    files: dict[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


def signature_of(actor: Actor) -> Signature:
    """The author of what this actor commits."""
    assert actor.user is not None
    return Signature(actor.user.name, actor.user.email)


def create_repo(core: Core, actor: Actor, new: NewRepo) -> Repo:
    """Make a repo whose first commit holds `.gitattributes` and what else it starts with."""
    check_name(new.name)
    repo_id = new_id()
    building = core.temporary() / f"{repo_id}.git"
    init_git(building)
    git = open_git(building)
    sha = _first_commit(git, actor, {".gitattributes": default_attributes(new.type), **new.files})
    path = core.git_path(repo_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(building, path)
    sync_folder(path.parent)
    try:
        with core.store.write():
            insert_repo(
                core.store, repo_id, new.type, (new.namespace, new.name), private=new.private
            )
            summarize(core, repo_id, new.type, open_git(path), sha)
            repo = find_repo_by_id(core.store, repo_id)
            assert repo is not None
            webhooks.announce(core.store, repo, "create", "repo")
    except BaseException:
        shutil.rmtree(path)
        raise
    return repo


def _first_commit(git: Any, actor: Actor, files: dict[str, str]) -> str:
    changes = [Change(path, write_blob(git, text.encode())) for path, text in files.items()]
    tree = apply_changes(git, None, changes)
    sha = write_commit(git, tree, [], "initial commit", signature_of(actor))
    move_ref(git, "refs/heads/main", None, sha)
    return sha


def first_files(repo: dict[str, Any]) -> dict[str, str]:
    """The README that a create request asks for: a Space's settings, or a licence."""
    if repo["type"] == "space":
        return {"README.md": SPACE_README.format(title=repo["name"], sdk=repo["sdk"])}
    if repo.get("license"):
        return {"README.md": f"---\nlicense: {repo['license']}\n---\n"}
    return {}


def delete_repo(core: Core, repo: Repo) -> None:
    """Remove a repo: first its name, then its files."""
    with core.packing, core.lock(repo.id):
        oids = list(grants_of(core.store, repo.id))
        with core.store.write():
            webhooks.announce(core.store, repo, "delete", "repo")
            delete_repo_row(core.store, repo)
        withdraw(core.store, core.lfs, repo.id, oids)
        path = core.git_path(repo.id)
        grave = core.folder / "trash" / path.name
        os.replace(path, grave)
        sync_folder(path.parent)
        shutil.rmtree(grave)


def move_repo(core: Core, repo: Repo, namespace: str, name: str) -> None:
    """Give a repo another name; the old one redirects."""
    with core.lock(repo.id):
        rename_repo(core.store, repo, namespace, check_name(name))
        moved = {"movedTo": {"name": f"{namespace}/{name}", "owner": {"id": namespace}}}
        webhooks.announce(core.store, repo, "move", "repo", moved)


def duplicate_repo(core: Core, actor: Actor, source: Repo, new: NewRepo) -> Repo:
    """Copy main of a repo, with the right to its large files, to a new name."""
    copy = create_repo(core, actor, new)
    with core.lock(source.id), core.lock(copy.id):
        _copy_objects(core, source, copy)
        git = core.git(copy)
        tree = core.git(source).references["refs/heads/main"].peel().tree
        old = str(git.references["refs/heads/main"].target)
        message = f"Duplicate from {source.full_name}"
        sha = write_commit(git, git[tree.id], [old], message, signature_of(actor))
        with core.store.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO lfs_grant SELECT ?, oid, size, pushed FROM lfs_grant"
                " WHERE repo_id = ?",
                (copy.id, source.id),
            )
        advance(core, copy, git, Move("refs/heads/main", old, sha, actor.name))
    found = find_repo_by_id(core.store, copy.id)
    assert found is not None
    return found


def _copy_objects(core: Core, source: Repo, copy: Repo) -> None:
    """Git objects never change, so a hard link is as good as a copy."""
    start = core.git_path(source.id) / "objects"
    for folder, _, names in os.walk(start):
        target = core.git_path(copy.id) / "objects" / os.path.relpath(folder, start)
        target.mkdir(exist_ok=True)
        for name in names:
            if not name.startswith("tmp_") and not (target / name).exists():
                os.link(os.path.join(folder, name), target / name)
        sync_folder(target)


def empty_trash(core: Core) -> None:
    """Finish deletions that a crash interrupted, and drop what was half built."""
    for name in ("trash", "tmp"):
        for path in (core.folder / name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    core.lfs.sweep()
    _drop_orphans(core)


def _drop_orphans(core: Core) -> None:
    """A repo folder without a row was being created or deleted when the server stopped."""
    known = {row["id"] for row in core.store.read().execute("SELECT id FROM repo")}
    for path in (core.folder / "repos").glob("*/*.git"):
        if path.stem not in known:
            shutil.rmtree(path)
