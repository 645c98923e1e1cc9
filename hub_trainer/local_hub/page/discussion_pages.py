"""Routes of discussions and pull requests: reading, and for who is signed in, taking part."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import discussions
from hub_trainer.local_hub.discussion_rows import (
    Discussion,
    count_events,
    events_of,
    list_discussions,
)
from hub_trainer.local_hub.errors import forbidden
from hub_trainer.local_hub.page.about import frame, repo_url
from hub_trainer.local_hub.page.browse import REPO
from hub_trainer.local_hub.page.diffs import diff_commits
from hub_trainer.local_hub.page.file_pages import PICTURE_NAMES
from hub_trainer.local_hub.page.markdown_html import render_markdown
from hub_trainer.local_hub.page.render import page
from hub_trainer.local_hub.page.rows import changed_rows
from hub_trainer.local_hub.page.signing import field, form_entry, see_other
from hub_trainer.local_hub.wire import Call, Entry

NUM_IN_LIST = 50
MAX_PICTURES = 12

_OPEN = ("open", "draft")


def show_discussions(call: Call) -> Response:
    """GET discussions: the open ones, or the closed."""
    closed = call.query("status") == "closed"
    everything = list_discussions(call.core.store, call.repo.id)
    found = [each for each in everything if (each.status not in _OPEN) == closed]
    number = call.number("p", 0, 1_000_000)
    start = number * NUM_IN_LIST
    return page(
        call,
        "discussions.html",
        **frame(call, "discussions"),
        found=found[start : start + NUM_IN_LIST],
        closed=closed,
        num_closed=sum(each.status not in _OPEN for each in everything),
        comments=count_events(call.core.store, call.repo.id),
        number=number,
        more=start + NUM_IN_LIST < len(found),
    )


def show_discussion(call: Call) -> Response:
    """GET discussions/{num}: what was said, and of a pull request what it changes."""
    found = discussions.get_discussion(call.core, call.repo, int(call.params["num"]))
    values = frame(call, "discussions")
    values["may_manage"] = values["may_write"] or _is_author(call, found)
    events = [_shown(each) for each in events_of(call.core.store, call.repo.id, found.num)]
    values.update(found=found, events=events, **_changes(call, found))
    return page(call, "discussion.html", **values)


def _is_author(call: Call, found: Discussion) -> bool:
    return not call.actor.anonymous and found.author.lower() == call.actor.name.lower()


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """An event with its comment as HTML; a hidden one has none."""
    data = event["data"]
    html = ""
    if event["type"] == "comment" and not data["hidden"]:
        html = render_markdown(data["latest"]["raw"])
    return {**event, "html": html}


def _changes(call: Call, found: Discussion) -> dict[str, Any]:
    """Of a pull request: what differs, what is in conflict, and the start of its rows."""
    changes: dict[str, Any] = {"diff": None, "conflicts": [], "rows": [], "pictures": []}
    git = call.core.git(call.repo)
    ends = discussions.compared(git, found) if found.is_pull else None
    if ends is None:
        return changes
    diff = diff_commits(git, *ends)
    changes |= {"diff": diff, "conflicts": discussions.conflicting_paths(git, found, *ends)}
    if call.repo.type == "dataset":
        there = [file.path for file in diff.files if file.status != "deleted"]
        pictures = [path for path in there if path.lower().endswith(PICTURE_NAMES)]
        changes["rows"] = changed_rows(call.core, call.repo, git, ends[1], there)
        changes["pictures"] = pictures[:MAX_PICTURES]
    return changes


def start_discussion(call: Call) -> Response:
    """POST discussions."""
    if call.repo.discussions_disabled:
        raise forbidden("Discussions are disabled for this repo")
    title = discussions.check_title(field(call, "title"))
    text = discussions.check_comment(field(call, "text"))
    num = discussions.open_discussion(call.core, call.repo, call.actor, title, text)
    return _back(call, num)


def say(call: Call) -> Response:
    """POST discussions/{num}/comment."""
    text = discussions.check_comment(field(call, "text"))
    num = int(call.params["num"])
    discussions.comment(call.core, call.repo, call.actor, num, text)
    return _back(call, num)


def change_status(call: Call) -> Response:
    """POST discussions/{num}/status: open or close."""
    num = int(call.params["num"])
    status = field(call, "status")
    discussions.set_status(call.core, call.repo, call.actor, num, status, None)
    return _back(call, num)


def merge_pull(call: Call) -> Response:
    """POST discussions/{num}/merge."""
    num = int(call.params["num"])
    discussions.merge(call.core, call.repo, call.actor, num, None)
    return _back(call, num)


def _back(call: Call, num: int) -> Response:
    return see_other(f"{repo_url(call.repo)}/discussions/{num}")


_ALL = REPO + "/discussions"
_ONE = _ALL + "/{num:num}"

ROUTES = [
    Entry("GET", _ALL, show_discussions, "read", page=True),
    form_entry(_ALL, start_discussion, "propose"),
    Entry("GET", _ONE, show_discussion, "read", page=True),
    form_entry(_ONE + "/comment", say, "propose"),
    form_entry(_ONE + "/status", change_status, "propose"),
    form_entry(_ONE + "/merge", merge_pull, "write"),
]
