"""Routes of likes and of access to gated repos."""

from starlette.responses import Response

from hub_trainer.local_hub import access
from hub_trainer.local_hub.accounts import find_account
from hub_trainer.local_hub.errors import bad_request, not_found
from hub_trainer.local_hub.permissions import can_see
from hub_trainer.local_hub.repo_rows import likers_of, likes_of, set_liked
from hub_trainer.local_hub.wire import Call, Entry, nothing, reply


def like(call: Call) -> Response:
    """POST like."""
    return _like(call, liked=True)


def unlike(call: Call) -> Response:
    """DELETE like."""
    return _like(call, liked=False)


def _like(call: Call, *, liked: bool) -> Response:
    assert call.actor.user is not None
    set_liked(call.core.store, call.repo, call.actor.user.id, liked)
    return nothing()


def likers(call: Call) -> Response:
    """GET likers."""
    found = likers_of(call.core.store, call.repo)
    return reply(
        [
            {
                "_id": each["id"],
                "user": each["name"],
                "fullname": each["fullname"],
                "type": "user",
                "avatarUrl": "",
            }
            for each in found
        ]
    )


def user_likes(call: Call) -> Response:
    """GET /api/users/{user}/likes: those that the caller may know of."""
    user = find_account(call.core.store, call.params["account"])
    if user is None or user.kind != "user":
        raise not_found(f"This user does not exist: {call.params['account']}")
    found = likes_of(call.core.store, user.id)
    return reply(
        [
            {"createdAt": since, "repo": {"name": repo.full_name, "type": repo.type}}
            for repo, since in found
            if can_see(call.actor, repo)
        ]
    )


def ask_access(call: Call) -> Response:
    """POST ask-access: agree to the terms of a gated repo."""
    assert call.actor.user is not None
    fields = {key: values[-1] for key, values in call.form().items()}
    status = access.ask(call.core.store, call.repo, call.actor.user, fields)
    return reply({"status": status})


def access_requests(call: Call) -> Response:
    """GET user-access-request/{status}."""
    return reply(access.list_requests(call.core.store, call.repo, call.params["status"]))


def handle_access(call: Call) -> Response:
    """POST user-access-request/handle."""
    _require_gate(call)
    access.handle(call.core.store, call.repo, call.json())
    return nothing()


def grant_access(call: Call) -> Response:
    """POST user-access-request/grant."""
    _require_gate(call)
    access.grant(call.core.store, call.repo, call.text("user"))
    return nothing()


def _require_gate(call: Call) -> None:
    if not call.repo.gated:
        raise bad_request(f"{call.repo.full_name} is not gated.")


_REPO = "/api/{kind:kind}/{ns}/{name}"

ROUTES = [
    Entry("POST", _REPO + "/like", like, "react"),
    Entry("DELETE", _REPO + "/like", unlike, "react"),
    Entry("GET", _REPO + "/likers", likers, "see"),
    Entry("GET", "/api/users/{account}/likes", user_likes, "anyone"),
    Entry("POST", "/{prefix:prefix}{ns}/{name}/ask-access", ask_access, "react"),
    Entry("GET", _REPO + "/user-access-request/{status}", access_requests, "admin"),
    Entry("POST", _REPO + "/user-access-request/handle", handle_access, "admin"),
    Entry("POST", _REPO + "/user-access-request/grant", grant_access, "admin"),
]
