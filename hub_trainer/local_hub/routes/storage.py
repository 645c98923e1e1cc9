"""Routes of what a person or an organisation stores: every repo with its size."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub.accounts import find_account
from hub_trainer.local_hub.errors import forbidden, not_found
from hub_trainer.local_hub.lfs import stored_bytes
from hub_trainer.local_hub.listing import Filters, select_repos
from hub_trainer.local_hub.names import TYPE_OF_PLURAL
from hub_trainer.local_hub.wire import Call, Entry, cursor_of, page

PAGE = 100


def of_user(call: Call) -> Response:
    """GET /api/settings/repositories: one's own."""
    return _list(call, call.actor.name)


def of_org(call: Call) -> Response:
    """GET /api/organizations/{org}/settings/repositories: for its members."""
    org = find_account(call.core.store, call.params["account"])
    if org is None or org.kind != "org":
        raise not_found(f"This org does not exist: {call.params['account']}")
    if call.actor.role_in(org.name) is None:
        raise forbidden(f"You are not a member of {org.name}.")
    return _list(call, org.name)


def _list(call: Call, namespace: str) -> Response:
    filters = Filters(author=namespace, sort="lastModified")
    found = [
        repo
        for repo_type in TYPE_OF_PLURAL.values()
        for repo in select_repos(call.core, call.actor, repo_type, filters)
    ]
    sizes = [stored_bytes(call.core.store, repo.id) for repo in found]
    shown: list[dict[str, Any]] = [
        {
            "id": repo.full_name,
            "type": repo.type,
            "updatedAt": repo.modified,
            "visibility": "private" if repo.private else "public",
            "storage": size,
            "storagePercent": size / max(1, sum(sizes)),
        }
        for repo, size in zip(found, sizes, strict=True)
    ]
    _, start = cursor_of(call)
    more = ("", start + PAGE) if len(shown) > start + PAGE else None
    return page(call, shown[start : start + PAGE], more)


ROUTES = [
    Entry("GET", "/api/settings/repositories", of_user, "user"),
    Entry("GET", "/api/organizations/{account}/settings/repositories", of_org, "user"),
]
