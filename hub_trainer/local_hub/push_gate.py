"""Rules that a push must pass: the same as for a commit through the API."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pygit2
from pygit2.enums import FileMode

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.commits import check_regular_file, writable_ref
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.git_read import MAX_POINTER_BYTES, is_ancestor, is_valid_ref
from hub_trainer.local_hub.names import check_path
from hub_trainer.local_hub.permissions import is_writer
from hub_trainer.local_hub.repo_rows import Repo

if TYPE_CHECKING:
    from hub_trainer.local_hub.push import Command

_NONE = "0" * 40
MEND = "Mend the commit that brings it in, by git commit --amend or git rebase -i, then push again."


class Refused(Exception):
    """A command of a push that is not carried out: why, and what can be done."""

    def __init__(self, why: str, do: str) -> None:
        super().__init__(why)
        self.why, self.do = why, do


def check_command(core: Core, repo: Repo, actor: Actor, git: Any, command: "Command") -> None:
    """Whether this actor may move this ref this way."""
    ref = command.ref
    if not is_valid_ref(ref):
        raise Refused("this is not a valid ref name", "Choose another name.")
    current = _current(git, ref)
    if current != command.old:
        raise Refused("fetch first: the ref has moved since", "git pull --rebase, then push again.")
    if ref.startswith("refs/pr/"):
        _check_pull(core, repo, actor, git, command)
        return
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        why = "only refs/heads, refs/tags and refs/pr of your own can be pushed"
        raise Refused(why, "Push to a branch: git push origin HEAD:NAME")
    if not is_writer(actor, repo):
        raise Refused(f"{actor.name} may not write to {repo.full_name}", _to_propose(repo))
    if current == _NONE and _blocked(git, ref):
        raise Refused("another ref's name is in the way", "Choose another name.")
    if ref == "refs/heads/main":
        _check_main(git, command)


def _current(git: Any, ref: str) -> str:
    try:
        return str(git.references[ref].resolve().target)
    except KeyError:
        return _NONE


def _blocked(git: Any, ref: str) -> bool:
    return any(name.startswith(f"{ref}/") or ref.startswith(f"{name}/") for name in git.references)


def _check_main(git: Any, command: "Command") -> None:
    if command.new == _NONE:
        raise Refused("main cannot be deleted", "Delete the repo, or push other commits to main.")
    if command.old != _NONE and not _follows(git, command):
        do = "git pull --rebase, then push without --force; git revert takes a commit back."
        raise Refused("main only goes forward (non-fast-forward)", do)


def _check_pull(core: Core, repo: Repo, actor: Actor, git: Any, command: "Command") -> None:
    try:
        writable_ref(core, repo, actor, command.ref)
    except WireError as error:
        missing = error.code == "RevisionNotFound"
        why = f"there is no pull request {command.ref.removeprefix('refs/pr/')}"
        raise Refused(why if missing else error.message, _to_propose(repo)) from None
    if command.new == _NONE or command.old == _NONE or not _follows(git, command):
        do = f"git pull --rebase origin {command.ref}, then push without --force."
        raise Refused("a pull request's ref only goes forward", do)


def _to_propose(repo: Repo) -> str:
    kind = "" if repo.type == "model" else f" --repo-type {repo.type}"
    return (
        f"Open a pull request: hf upload {repo.full_name} .{kind} --create-pr\n"
        "More commits for it go to its own ref: git push origin HEAD:refs/pr/NUMBER"
    )


def _follows(git: Any, command: "Command") -> bool:
    commit = git.get(command.new)
    return isinstance(commit, pygit2.Commit) and is_ancestor(git, command.old, command.new)


def check_content(core: Core, repo: Repo, git: Any, new: str) -> None:
    """Every file that the pushed commits bring in."""
    found = git.get(new)
    commit = found.peel(pygit2.Commit) if found is not None and found.type_str == "tag" else found
    if not isinstance(commit, pygit2.Commit):
        raise Refused("a ref must point at a commit", "Push a branch or a tag of one.")
    seen: set[str] = set()
    for each in _new_commits(git, commit):
        parents = [parent.tree for parent in each.parents]
        for path, entry in _new_entries(git, each.tree, parents, seen):
            _check_entry(core, repo, git, path, entry)


def _new_commits(git: Any, commit: Any) -> Iterator[Any]:
    """The commits that no ref of the repo reaches yet."""
    walker = git.walk(commit.id)
    for ref in git.references:
        walker.hide(git.references[ref].peel(pygit2.Commit).id)
    yield from walker


def _new_entries(
    git: Any, tree: Any, parents: list[Any], seen: set[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """(path, entry) of what a tree holds and none of its parents' trees does."""
    known = {(each.name, str(each.id), each.filemode) for parent in parents for each in parent}
    for entry in tree:
        path = prefix + entry.name
        key = f"{path}\0{entry.id}\0{int(entry.filemode)}"
        if (entry.name, str(entry.id), entry.filemode) in known or key in seen:
            continue
        seen.add(key)
        yield path, entry
        if entry.type_str == "tree":
            below = [git[each.id] for parent in parents for each in _subtrees(parent, entry.name)]
            yield from _new_entries(git, git[entry.id], below, seen, f"{path}/")


def _subtrees(tree: Any, name: str) -> Iterator[Any]:
    if name in tree and tree[name].type_str == "tree":
        yield tree[name]


def _check_entry(core: Core, repo: Repo, git: Any, path: str, entry: Any) -> None:
    check_path(path)
    if entry.filemode == FileMode.LINK:
        do = f"Put the file itself in its place. {MEND}"
        raise Refused(f"{path} is a symbolic link; this Hub keeps only files", do)
    if entry.filemode == FileMode.COMMIT:
        do = f"Add the files themselves. {MEND}"
        raise Refused(f"{path} is a submodule; this Hub keeps only files", do)
    if entry.type_str == "tree":
        return
    _, size = git.odb.read_header(entry.id)
    if size > core.limits.regular_file_bytes:
        do = f"git lfs migrate import --include={path!r} writes its history anew, then push again."
        raise Refused(f"{path} is larger than 10 MB: track it with git-lfs", do)
    if size <= MAX_POINTER_BYTES:
        check_regular_file(core, repo, path, git[entry.id].data)
