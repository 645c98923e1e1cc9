"""Rewriting history on request: one commit instead of many."""

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.commits import writable_ref
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import revision_not_found
from hub_trainer.local_hub.git_read import ref_commit
from hub_trainer.local_hub.git_write import write_commit
from hub_trainer.local_hub.lifecycle import signature_of
from hub_trainer.local_hub.refs import Move, advance
from hub_trainer.local_hub.repo_rows import Repo


def squash_history(core: Core, repo: Repo, actor: Actor, revision: str, message: str | None) -> str:
    """Make a branch or pull request one commit without a parent; gives back its sha."""
    ref = writable_ref(core, repo, actor, revision)
    with core.lock(repo.id):
        git = core.git(repo)
        tip = ref_commit(git, ref)
        if tip is None:
            raise revision_not_found(revision)
        text = message or f"Super-squash branch '{revision}' using huggingface_hub"
        sha = write_commit(git, tip.tree, [], text, signature_of(actor))
        advance(core, repo, git, Move(ref, str(tip.id), sha, actor.name))
    return sha
