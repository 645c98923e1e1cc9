"""Routes of discussions and pull requests."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import discussions
from hub_trainer.local_hub.discussion_rows import (
    Discussion,
    count_events,
    events_of,
    list_discussions,
)
from hub_trainer.local_hub.errors import bad_request, forbidden
from hub_trainer.local_hub.wire import Call, Entry, reply

PAGE = 50


def list_all(call: Call) -> Response:
    """GET discussions: newest first, by number of page."""
    found = [
        each for each in list_discussions(call.core.store, call.repo.id) if _wanted(call, each)
    ]
    start = call.number("p", 0, 1_000_000) * PAGE
    comments = count_events(call.core.store, call.repo.id)
    shown = [_brief(call, each, comments) for each in found[start : start + PAGE]]
    return reply({"discussions": shown, "count": len(found), "start": start, "numClosed": 0})


def _wanted(call: Call, found: Discussion) -> bool:
    kind, status, author = call.query("type"), call.query("status"), call.query("author")
    if kind in ("pull_request", "discussion") and (kind == "pull_request") != found.is_pull:
        return False
    if status == "open" and found.status not in ("open", "draft"):
        return False
    if status == "closed" and found.status not in ("closed", "merged"):
        return False
    return not author or found.author.lower() == author.lower()


def _brief(call: Call, found: Discussion, comments: dict[int, int]) -> dict[str, Any]:
    return {
        "num": found.num,
        "title": found.title,
        "author": {"name": found.author, "type": "user"},
        "status": found.status,
        "isPullRequest": found.is_pull,
        "createdAt": found.created,
        "numComments": comments.get(found.num, 0),
        "pinned": False,
        "repo": {"name": call.repo.full_name, "type": call.repo.type},
        "repoOwner": {"name": call.repo.namespace},
    }


def details(call: Call) -> Response:
    """GET discussions/{num}: with its events, and the diff if asked."""
    found = discussions.get_discussion(call.core, call.repo, call_number(call))
    shown = _brief(call, found, {})
    shown["events"] = events_of(call.core.store, call.repo.id, found.num)
    shown["filesWithConflicts"] = []
    if found.is_pull:
        shown["changes"] = {"base": found.base}
        if found.merge_sha:
            shown["changes"]["mergeCommitId"] = found.merge_sha
        changes = discussions.changes_of(call.core, call.repo, found)
        shown["filesWithConflicts"] = changes.conflicts
        if call.flag("diff"):
            shown["diff"] = changes.diff
    return reply(shown)


def call_number(call: Call) -> int:
    """The number in the path."""
    return int(call.params["num"])


def create(call: Call) -> Response:
    """POST discussions: a discussion, or an empty draft pull request."""
    if call.repo.discussions_disabled:
        raise forbidden("Discussions are disabled for this repo")
    title = discussions.check_title(call.json().get("title"))
    description = call.text("description", "")
    start = discussions.open_discussion
    if call.json().get("pullRequest"):
        start = discussions.open_pull_request
    num = start(call.core, call.repo, call.actor, title, description)
    url = f"{call.endpoint}/{call.repo.url_path}/discussions/{num}"
    return reply({"num": num, "url": url, "pullRequest": bool(call.json().get("pullRequest"))})


def add_comment(call: Call) -> Response:
    """POST discussions/{num}/comment."""
    text = discussions.check_comment(call.json().get("comment"))
    event = discussions.comment(call.core, call.repo, call.actor, call_number(call), text)
    return reply({"newMessage": event})


def edit_comment(call: Call) -> Response:
    """POST discussions/{num}/comment/{id}/edit."""
    text = discussions.check_comment(call.json().get("content"))
    comment_id = call.params["comment"]
    event = discussions.edit_comment(
        call.core, call.repo, call.actor, call_number(call), comment_id, text
    )
    return reply({"updatedComment": event})


def hide_comment(call: Call) -> Response:
    """POST discussions/{num}/comment/{id}/hide."""
    comment_id = call.params["comment"]
    event = discussions.hide_comment(
        call.core, call.repo, call.actor, call_number(call), comment_id
    )
    return reply({"updatedComment": event})


def rename(call: Call) -> Response:
    """POST discussions/{num}/title."""
    title = discussions.check_title(call.json().get("title"))
    event = discussions.rename(call.core, call.repo, call.actor, call_number(call), title)
    return reply({"newTitle": event})


def set_status(call: Call) -> Response:
    """POST discussions/{num}/status."""
    wanted = call.json()
    event = discussions.set_status(
        call.core,
        call.repo,
        call.actor,
        call_number(call),
        wanted.get("status"),
        _comment_of(wanted),
    )
    return reply({"newStatus": event})


def _comment_of(wanted: dict[str, Any]) -> str | None:
    text = wanted.get("comment")
    if text is not None and not isinstance(text, str):
        raise bad_request("comment must be text.")
    return text.strip() or None if text else None


def merge(call: Call) -> Response:
    """POST discussions/{num}/merge."""
    sha = discussions.merge(
        call.core, call.repo, call.actor, call_number(call), _comment_of(call.json())
    )
    return reply({"success": True, "mergeCommitId": sha})


_ALL = "/api/{kind:kind}/{ns}/{name}/discussions"
_ONE = _ALL + "/{num:num}"

ROUTES = [
    Entry("GET", _ALL, list_all, "read"),
    Entry("POST", _ALL, create, "propose"),
    Entry("GET", _ONE, details, "read"),
    Entry("POST", _ONE + "/comment", add_comment, "propose"),
    Entry("POST", _ONE + "/comment/{comment}/edit", edit_comment, "propose"),
    Entry("POST", _ONE + "/comment/{comment}/hide", hide_comment, "propose"),
    Entry("POST", _ONE + "/title", rename, "propose"),
    Entry("POST", _ONE + "/status", set_status, "propose"),
    Entry("POST", _ONE + "/merge", merge, "write"),
]
