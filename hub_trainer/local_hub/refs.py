"""Moving refs: intent, compare-and-swap, then the rows, so that a crash loses nothing."""

import json
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.local_hub import cards, discussion_rows, webhooks
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import (
    WireError,
    bad_request,
    conflict,
    forbidden,
    revision_not_found,
)
from hub_trainer.local_hub.git_read import (
    is_ancestor,
    is_valid_ref,
    read_text,
    record_of,
    ref_commit,
    resolve_commit,
)
from hub_trainer.local_hub.git_write import Signature, create_tag, drop_ref, move_ref
from hub_trainer.local_hub.names import RepoType, new_id
from hub_trainer.local_hub.repo_rows import Repo, find_repo_by_id, set_summary
from hub_trainer.local_hub.store import rows


@dataclass(frozen=True)
class Move:
    """A ref that goes from one commit to another, and what else must follow."""

    ref: str
    old: str | None
    new: str
    actor: str
    action: dict[str, Any] = field(default_factory=lambda: {"type": "commit"})


def advance(core: Core, repo: Repo, git: Any, move: Move) -> None:
    """Move a ref durably and do what follows. Call with the repo's lock held."""
    intent_id = new_id()
    values = (
        intent_id,
        repo.id,
        move.ref,
        move.old or "",
        move.new,
        move.actor,
        json.dumps(move.action),
    )
    with core.store.write() as db:
        db.execute("INSERT INTO ref_intent VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    try:
        move_ref(git, move.ref, move.old, move.new)
    except WireError:
        with core.store.write() as db:
            db.execute("DELETE FROM ref_intent WHERE id = ?", (intent_id,))
        raise
    _settle(core, repo, git, move, intent_id)
    core.note_written(repo.id)


def _settle(core: Core, repo: Repo, git: Any, move: Move, intent_id: str) -> None:
    """The rows that follow a moved ref, in one transaction with the end of the intent."""
    with core.store.write() as db:
        if move.ref == "refs/heads/main":
            summarize(core, repo.id, repo.type, git, move.new)
        discussion_rows.follow_move(core.store, repo, git, move)
        webhooks.announce_refs(core.store, repo, {move.ref: (move.old, move.new)})
        db.execute("DELETE FROM ref_intent WHERE id = ?", (intent_id,))


def reconcile(core: Core) -> None:
    """After a crash: finish what had reached git, forget what had not."""
    for found in rows(core.store, "SELECT * FROM ref_intent"):
        repo = find_repo_by_id(core.store, found["repo_id"])
        if repo is not None and core.git_path(repo.id).exists():
            git = core.git(repo)
            current = ref_commit(git, found["ref"])
            if current is not None and is_ancestor(git, found["new"], str(current.id)):
                action = json.loads(found["action"])
                move = Move(
                    found["ref"], found["old"] or None, found["new"], found["actor"], action
                )
                _settle(core, repo, git, move, found["id"])
        with core.store.write() as db:
            db.execute("DELETE FROM ref_intent WHERE id = ?", (found["id"],))


def summarize(core: Core, repo_id: str, repo_type: RepoType, git: Any, commit_sha: str) -> None:
    """Keep what lists need to know of the tip of main."""
    commit = git[commit_sha]
    paths = [found.name for found in commit.tree]
    readme = read_text(git, commit, "README.md")
    card = cards.read_card(repo_type, readme, paths, _config(git, commit))
    set_summary(core.store, repo_id, commit_sha, record_of(commit).date, card)


def _config(git: Any, commit: Any) -> dict[str, Any]:
    try:
        config = json.loads(read_text(git, commit, "config.json") or "{}")
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def create_branch(core: Core, repo: Repo, branch: str, start: str | None, actor: str) -> None:
    """Make a branch at a revision, or at the tip of main."""
    ref = f"refs/heads/{branch}"
    if branch.startswith("refs/") or not is_valid_ref(ref):
        raise bad_request(f"Invalid reference for a branch: {branch}")
    with core.lock(repo.id):
        git = core.git(repo)
        if ref_commit(git, ref) is not None:
            raise conflict(f"Reference {ref} already exists")
        commit = resolve_commit(git, start or "main")
        if _blocks(git, ref):
            raise conflict(f"Reference {ref} conflicts with another branch")
        advance(core, repo, git, Move(ref, None, str(commit.id), actor, {"type": "branch"}))


def _blocks(git: Any, ref: str) -> bool:
    """Whether another ref is in the way: `a` and `a/b` exclude each other."""
    return any(name.startswith(f"{ref}/") or ref.startswith(f"{name}/") for name in git.references)


def delete_branch(core: Core, repo: Repo, branch: str) -> None:
    """Delete a branch other than main."""
    ref = f"refs/heads/{branch}"
    if branch == "main":
        raise forbidden("Cannot delete refs/heads/main")
    _delete_ref(core, repo, ref, branch)


def add_tag(
    core: Core, repo: Repo, revision: str, tag: str, message: str | None, by: Signature
) -> None:
    """Tag the commit of a revision."""
    with core.lock(repo.id):
        git = core.git(repo)
        commit = resolve_commit(git, revision)
        create_tag(git, tag, commit, message, by)
        webhooks.announce_refs(core.store, repo, {f"refs/tags/{tag}": (None, str(commit.id))})


def delete_tag(core: Core, repo: Repo, tag: str) -> None:
    """Delete a tag."""
    _delete_ref(core, repo, f"refs/tags/{tag}", tag)


def _delete_ref(core: Core, repo: Repo, ref: str, name: str) -> None:
    with core.lock(repo.id):
        git = core.git(repo)
        commit = ref_commit(git, ref)
        if commit is None:
            raise revision_not_found(name)
        drop_ref(git, ref)
        webhooks.announce_refs(core.store, repo, {ref: (str(commit.id), None)})
