"""Discussions and pull requests: opening, talking, closing, merging."""

from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub import discussion_rows, webhooks
from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.commits import open_pull
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.discussion_rows import Discussion, Opening
from hub_trainer.local_hub.errors import bad_request, conflict, forbidden, not_found
from hub_trainer.local_hub.git_read import merge_base, ref_commit, unified_diff
from hub_trainer.local_hub.git_write import conflicts_of, merged_tree, write_commit
from hub_trainer.local_hub.lifecycle import signature_of
from hub_trainer.local_hub.permissions import is_writer
from hub_trainer.local_hub.refs import Move, advance
from hub_trainer.local_hub.repo_rows import Repo

MAX_TITLE = 250
MAX_COMMENT = 65_536


@dataclass(frozen=True)
class Changes:
    """What a pull request would do."""

    diff: str
    conflicts: list[str]


def check_title(title: Any) -> str:
    """A title is one line that says something."""
    if not isinstance(title, str) or len(title.strip()) < 3 or len(title) > MAX_TITLE:
        raise bad_request(f"The title must have 3 to {MAX_TITLE} characters.")
    return " ".join(title.split())


def check_comment(text: Any) -> str:
    """A comment says something, and not too much."""
    if not isinstance(text, str) or not text.strip():
        raise bad_request("The comment is empty.")
    if len(text) > MAX_COMMENT:
        raise bad_request(f"The comment is longer than {MAX_COMMENT} characters.")
    return text


def open_discussion(core: Core, repo: Repo, actor: Actor, title: str, description: str) -> int:
    """Start a discussion; gives back its number."""
    num = discussion_rows.take_number(core.store, repo)
    with core.store.write():
        opening = Opening(num, title, actor.name, description)
        discussion_rows.insert_discussion(core.store, repo.id, opening)
        _announce(core, repo, "create", "discussion", num)
    return num


def open_pull_request(core: Core, repo: Repo, actor: Actor, title: str, description: str) -> int:
    """Start an empty draft pull request at the tip of main; gives back its number."""
    with core.lock(repo.id):
        git = core.git(repo)
        tip = str(git.references["refs/heads/main"].target)
        num = discussion_rows.take_number(core.store, repo)
        opening = Opening(num, title, actor.name, description, "refs/heads/main", tip, "draft")
        advance(core, repo, git, Move(f"refs/pr/{num}", None, tip, actor.name, open_pull(opening)))
    _announce(core, repo, "create", "discussion", num)
    return num


def get_discussion(core: Core, repo: Repo, num: int) -> Discussion:
    """The discussion of that number, else 404."""
    found = discussion_rows.find_discussion(core.store, repo.id, num)
    if found is None:
        raise not_found(f"Discussion {num} does not exist in {repo.full_name}")
    return found


def comment(core: Core, repo: Repo, actor: Actor, num: int, text: str) -> dict[str, Any]:
    """Say something."""
    get_discussion(core, repo, num)
    with core.store.write():
        event = discussion_rows.add_comment(core.store, repo.id, num, actor.name, text)
        _announce(core, repo, "create", "discussion.comment", num, event)
    return event


def edit_comment(
    core: Core, repo: Repo, actor: Actor, num: int, event_id: str, text: str
) -> dict[str, Any]:
    """Change what one said; what was said before stays in the history."""
    event = _own_comment(core, repo, actor, num, event_id)
    data = event["data"]
    if data["hidden"]:
        raise bad_request("A hidden comment cannot be edited.")
    latest = {**data["latest"], "raw": text, "author": {"name": actor.name}}
    data = {
        **data,
        "edited": True,
        "numEdits": data["numEdits"] + 1,
        "history": [data["latest"], *data["history"]],
        "latest": latest,
    }
    with core.store.write():
        event = discussion_rows.set_event_data(core.store, event, data)
        _announce(core, repo, "update", "discussion.comment", num, event)
    return event


def hide_comment(core: Core, repo: Repo, actor: Actor, num: int, event_id: str) -> dict[str, Any]:
    """Take back a comment for good."""
    event = _own_comment(core, repo, actor, num, event_id)
    latest = {**event["data"]["latest"], "raw": "This comment has been hidden"}
    data = {
        **event["data"],
        "hidden": True,
        "hiddenBy": actor.name,
        "latest": latest,
        "history": [],
    }
    return discussion_rows.set_event_data(core.store, event, data)


def _own_comment(core: Core, repo: Repo, actor: Actor, num: int, event_id: str) -> dict[str, Any]:
    event = discussion_rows.find_event(core.store, repo.id, num, event_id)
    if event is None or event["type"] != "comment":
        raise not_found(f"Comment {event_id} does not exist in discussion {num}")
    if event["author"]["name"].lower() != actor.name.lower() and not is_writer(actor, repo):
        raise forbidden("Only its author and the owners of the repo may change a comment.")
    return event


def rename(core: Core, repo: Repo, actor: Actor, num: int, title: str) -> dict[str, Any]:
    """Change the title."""
    found = _manageable(core, repo, actor, num)
    with core.store.write():
        discussion_rows.set_title(core.store, repo.id, num, title)
        data = {"from": found.title, "to": title}
        return discussion_rows.add_event(core.store, repo.id, num, "title-change", actor.name, data)


def set_status(
    core: Core, repo: Repo, actor: Actor, num: int, status: Any, text: str | None
) -> dict[str, Any]:
    """Open or close; a comment goes before it."""
    found = _manageable(core, repo, actor, num)
    if status not in ("open", "closed"):
        raise bad_request(f"Invalid status: {status!r}. Use open or closed.")
    if found.status == "merged":
        raise bad_request("A merged pull request stays merged.")
    with core.store.write():
        if text:
            discussion_rows.add_comment(core.store, repo.id, num, actor.name, text)
        discussion_rows.set_status(core.store, repo.id, num, status)
        event = discussion_rows.add_event(
            core.store, repo.id, num, "status-change", actor.name, {"status": status}
        )
        _announce(core, repo, "update", "discussion", num)
    return event


def _manageable(core: Core, repo: Repo, actor: Actor, num: int) -> Discussion:
    found = get_discussion(core, repo, num)
    if found.author.lower() != actor.name.lower() and not is_writer(actor, repo):
        raise forbidden("Only its author and the owners of the repo may do this.")
    return found


def changes_of(core: Core, repo: Repo, pull: Discussion) -> Changes:
    """The diff of a pull request against where it left its base, and what would conflict."""
    git = core.git(repo)
    ends = compared(git, pull)
    if ends is None:
        return Changes("", [])
    return Changes(unified_diff(git, *ends), conflicting_paths(git, pull, *ends))


def conflicting_paths(git: Any, pull: Discussion, ancestor: Any, head: Any) -> list[str]:
    """The files in which a pull request and its base both went on from where they parted."""
    base = None if pull.status == "merged" else ref_commit(git, pull.base)
    return [] if base is None else conflicts_of(git, ancestor, base, head)


def compared(git: Any, pull: Discussion) -> tuple[Any, Any] | None:
    """The two commits between which a pull request's changes lie, if both are still there."""
    if pull.status == "merged":
        merge = git[pull.merge_sha]
        return merge.parents[0], merge
    head, base = ref_commit(git, pull.ref), ref_commit(git, pull.base)
    ancestor = None if head is None or base is None else merge_base(git, base, head)
    return None if ancestor is None else (ancestor, head)


def merge(core: Core, repo: Repo, actor: Actor, num: int, text: str | None) -> str:
    """Squash an open pull request onto its base; gives back the new commit's sha."""
    with core.lock(repo.id):
        pull = get_discussion(core, repo, num)
        if not pull.is_pull:
            raise bad_request(f"Discussion {num} is not a pull request.")
        if pull.status != "open":
            raise bad_request(
                f"Pull request {num} is {pull.status}. Only an open one can be merged."
            )
        git = core.git(repo)
        head, base = ref_commit(git, pull.ref), ref_commit(git, pull.base)
        if head is None or base is None:
            raise conflict(f"Pull request {num} or the branch it is for has gone.")
        ancestor = merge_base(git, base, head)
        if ancestor is None:
            raise conflict(f"Pull request {num} shares no history with {pull.base}.")
        tree = merged_tree(git, ancestor, base, head)
        message = f"{pull.title} (#{num})\n\n{_trailers(git, ancestor, head)}"
        sha = write_commit(git, tree, [str(base.id)], message.rstrip(), signature_of(actor))
        action = {"type": "merge", "num": num, "comment": text}
        advance(core, repo, git, Move(pull.base, str(base.id), sha, actor.name, action))
    _announce(core, repo, "update", "discussion", num)
    return sha


def _trailers(git: Any, ancestor: Any, head: Any) -> str:
    """What was squashed, and by whom."""
    walker = git.walk(head.id)
    walker.hide(ancestor.id)
    commits = list(walker)
    titles = [f"- {each.message.splitlines()[0]} ({each.id})" for each in reversed(commits)]
    authors = dict.fromkeys(f"{each.author.name} <{each.author.email}>" for each in commits)
    credits = [f"Co-authored-by: {author}" for author in authors]
    return "\n".join([*titles, "", "", *credits]) if commits else ""


def _announce(
    core: Core, repo: Repo, action: str, scope: str, num: int, event: dict[str, Any] | None = None
) -> None:
    found = get_discussion(core, repo, num)
    more: dict[str, Any] = {
        "discussion": {
            "num": num,
            "title": found.title,
            "status": found.status,
            "isPullRequest": found.is_pull,
            "author": {"id": found.author},
        }
    }
    if found.is_pull:
        more["discussion"]["changes"] = {"base": found.base}
    if event is not None:
        content = event["data"]["latest"]["raw"]
        more["comment"] = {
            "id": event["id"],
            "hidden": event["data"]["hidden"],
            "content": content,
            "author": {"id": event["author"]["name"]},
        }
    webhooks.announce(core.store, repo, action, scope, more)
