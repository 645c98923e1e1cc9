"""Routes of what is in a repo: tree, paths, refs, branches, tags, history, comparison."""

from itertools import islice
from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub import refs
from hub_trainer.local_hub.errors import bad_request, revision_not_found
from hub_trainer.local_hub.git_count import count_commits
from hub_trainer.local_hub.git_last import last_commits
from hub_trainer.local_hub.git_read import (
    describe,
    entry_at,
    history,
    list_refs,
    merge_base,
    resolve_commit,
    unified_diff,
    walk_folder,
)
from hub_trainer.local_hub.lfs import grants_of
from hub_trainer.local_hub.lifecycle import signature_of
from hub_trainer.local_hub.squash import squash_history
from hub_trainer.local_hub.views import last_commit, listed_commit, tree_entry
from hub_trainer.local_hub.wire import Call, Entry, cursor_of, nothing, page, reply

TREE_PAGE = 1000
EXPANDED_TREE_PAGE = 50
COMMITS_PAGE = 50
MAX_PATHS = 10_000

_NOT_SCANNED = {"status": "unscanned", "avScan": None, "pickleImportScan": None}


def tree(call: Call) -> Response:
    """GET tree/{rev}[/{path}]: one folder, or all below it."""
    git = call.core.git(call.repo)
    pinned, start = cursor_of(call)
    commit = resolve_commit(git, pinned or call.params["rev"])
    path = call.params.get("path", "").strip("/")
    expand = call.flag("expand")
    size = call.number("limit", 0, TREE_PAGE) or (EXPANDED_TREE_PAGE if expand else TREE_PAGE)
    entries = walk_folder(git, commit, path, recursive=call.flag("recursive"))
    found = list(islice(entries, start, start + size + 1))
    shown = _shown(call, git, commit, found[:size], expand=expand)
    more = (str(commit.id), start + size) if len(found) > size else None
    return page(call, shown, more)


def _shown(
    call: Call, git: Any, commit: Any, found: list[tuple[str, Any]], *, expand: bool
) -> list[dict[str, Any]]:
    granted = grants_of(call.core.store, call.repo.id)
    shown = [tree_entry(describe(git, path, each), granted) for path, each in found]
    if expand:
        newest = last_commits(git, commit, [path for path, _ in found])
        for entry in shown:
            entry["lastCommit"] = last_commit(newest[entry["path"]])
            if entry["type"] == "file":
                entry["securityFileStatus"] = dict(_NOT_SCANNED)
    return shown


def paths_info(call: Call) -> Response:
    """POST paths-info/{rev}: some files and folders; those that are missing are left out."""
    form = call.form()
    wanted = list(dict.fromkeys([*form.get("paths", []), *form.get("paths[]", [])]))
    if len(wanted) > MAX_PATHS:
        raise bad_request(f"At most {MAX_PATHS} paths at once.")
    expand = form.get("expand", ["false"])[-1].lower() == "true"
    git = call.core.git(call.repo)
    commit = resolve_commit(git, call.params["rev"])
    granted = grants_of(call.core.store, call.repo.id)
    entries = [entry_at(git, commit, path.strip("/")) for path in wanted if path.strip("/")]
    shown = [tree_entry(entry, granted) for entry in entries if entry is not None]
    if expand:
        newest = last_commits(git, commit, [entry["path"] for entry in shown])
        for entry in shown:
            entry["lastCommit"] = last_commit(newest[entry["path"]])
            if entry["type"] == "file":
                entry["securityFileStatus"] = dict(_NOT_SCANNED)
    return reply(shown)


def all_refs(call: Call) -> Response:
    """GET refs: branches and tags, and pull requests if asked."""
    found = list_refs(call.core.git(call.repo))
    shown: dict[str, Any] = {
        "branches": _refs_under(found, "refs/heads/"),
        "converts": _refs_under(found, "refs/convert/"),
        "tags": _refs_under(found, "refs/tags/"),
    }
    if call.flag("include_prs") or call.flag("include_pull_requests"):
        pulls = _refs_under(found, "refs/pr/")
        shown["pullRequests"] = [{**each, "name": f"refs/pr/{each['name']}"} for each in pulls]
    return reply(shown)


def _refs_under(found: dict[str, str], prefix: str) -> list[dict[str, str]]:
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
        for ref, sha in found.items()
        if ref.startswith(prefix)
    ]


def create_branch(call: Call) -> Response:
    """POST branch/{branch}."""
    start = call.json().get("startingPoint")
    if start is not None and not isinstance(start, str):
        raise bad_request("startingPoint must be a revision.")
    refs.create_branch(call.core, call.repo, call.params["branch"], start, call.actor.name)
    return nothing()


def delete_branch(call: Call) -> Response:
    """DELETE branch/{branch}."""
    refs.delete_branch(call.core, call.repo, call.params["branch"])
    return nothing()


def create_tag(call: Call) -> Response:
    """POST tag/{rev}."""
    message = call.json().get("message")
    revision, tag = call.params["rev"], call.text("tag")
    text = message if isinstance(message, str) else None
    refs.add_tag(call.core, call.repo, revision, tag, text, signature_of(call.actor))
    return nothing()


def delete_tag(call: Call) -> Response:
    """DELETE tag/{tag}."""
    refs.delete_tag(call.core, call.repo, call.params["rev"])
    return nothing()


def commits(call: Call) -> Response:
    """GET commits/{rev}: newest first."""
    git = call.core.git(call.repo)
    pinned, start = cursor_of(call)
    commit = resolve_commit(git, pinned or call.params["rev"])
    limit = call.number("limit", COMMITS_PAGE, 1000) or COMMITS_PAGE
    start = start or call.number("p", 0, 1_000_000) * limit
    found = list(islice(history(git, commit), start, start + limit + 1))
    formatted = "formatted" in call.queries("expand")
    shown = [listed_commit(record, formatted=formatted) for record in found[:limit]]
    answer = page(call, shown, (str(commit.id), start + limit) if len(found) > limit else None)
    answer.headers["X-Total-Count"] = str(count_commits(git, commit))
    return answer


def super_squash(call: Call) -> Response:
    """POST super-squash/{rev}: the branch becomes one commit."""
    message = call.json().get("message")
    text = message if isinstance(message, str) and message.strip() else None
    sha = squash_history(call.core, call.repo, call.actor, call.params["rev"], text)
    return reply({"success": True, "commitOid": sha})


def compare(call: Call) -> Response:
    """GET compare/{base}..{head}: a patch in plain text."""
    base, dots, head = call.params["spec"].partition("..")
    if not dots:
        raise revision_not_found(call.params["spec"])
    git = call.core.git(call.repo)
    old, new = resolve_commit(git, base), resolve_commit(git, head.removeprefix("."))
    if head.startswith("."):
        old = merge_base(git, old, new) or old
    return Response(unified_diff(git, old, new), media_type="text/plain; charset=utf-8")


_REPO = "/api/{kind:kind}/{ns}/{name}"

ROUTES = [
    Entry("GET", _REPO + "/tree/{rev:rev}", tree, "read"),
    Entry("GET", _REPO + "/tree/{rev:rev}/{path:path}", tree, "read"),
    Entry("POST", _REPO + "/paths-info/{rev:rev}", paths_info, "read"),
    Entry("GET", _REPO + "/refs", all_refs, "read"),
    Entry("POST", _REPO + "/branch/{branch:rev}", create_branch, "write"),
    Entry("DELETE", _REPO + "/branch/{branch:rev}", delete_branch, "write"),
    Entry("POST", _REPO + "/tag/{rev:rev}", create_tag, "write"),
    Entry("DELETE", _REPO + "/tag/{rev:rev}", delete_tag, "write"),
    Entry("GET", _REPO + "/commits/{rev:rev}", commits, "read"),
    Entry("POST", _REPO + "/super-squash/{rev:rev}", super_squash, "write"),
    Entry("GET", _REPO + "/compare/{spec}", compare, "read"),
]
