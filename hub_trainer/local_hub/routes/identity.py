"""Routes of people: who am I, users, organisations."""

from typing import Any

from starlette.responses import Response

from hub_trainer.local_hub.accounts import Account, find_account, members_of, orgs_of
from hub_trainer.local_hub.errors import not_found
from hub_trainer.local_hub.listing import Filters, select_repos
from hub_trainer.local_hub.repo_rows import likes_of
from hub_trainer.local_hub.wire import Call, Entry, reply


def whoami(call: Call) -> Response:
    """GET /api/whoami-v2."""
    user = call.actor.user
    assert user is not None
    token = {
        "displayName": call.actor.token_name,
        "role": call.actor.access,
        "createdAt": call.actor.token_created,
    }
    if call.actor.access == "fineGrained":
        token["fineGrained"] = {"scoped": list(call.actor.scopes), "global": []}  # type: ignore[assignment]
    return reply(
        {
            "type": "user",
            "id": user.id,
            "name": user.name,
            "fullname": user.fullname,
            "email": user.email,
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "",
            "orgs": [_org_of(call, name, role) for name, role in call.actor.orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _org_of(call: Call, name: str, role: str) -> dict[str, Any]:
    org = find_account(call.core.store, name)
    assert org is not None
    return {
        "type": "org",
        "id": org.id,
        "name": org.name,
        "fullname": org.fullname,
        "email": None,
        "canPay": False,
        "periodEnd": None,
        "isEnterprise": False,
        "avatarUrl": "",
        "roleInOrg": role,
    }


def user_overview(call: Call) -> Response:
    """GET /api/users/{user}/overview."""
    user = _account(call, "user")
    orgs = [find_account(call.core.store, name) for name, _ in orgs_of(call.core.store, user)]
    return reply(
        {
            "_id": user.id,
            "avatarUrl": "",
            "fullname": user.fullname,
            "user": user.name,
            "type": "user",
            "isPro": False,
            "createdAt": user.created,
            "orgs": [_brief(org) for org in orgs if org is not None],
            **_counts(call, user),
            "numLikes": len(likes_of(call.core.store, user.id)),
            "numUpvotes": 0,
            "numFollowers": 0,
            "numFollowing": 0,
            "isFollowing": False,
        }
    )


def org_overview(call: Call) -> Response:
    """GET /api/organizations/{org}/overview."""
    org = _account(call, "org")
    shown = {**_brief(org), **_counts(call, org), "isVerified": False, "numFollowers": 0}
    shown["numUsers"] = len(members_of(call.core.store, org))
    return reply({**shown, "createdAt": org.created, "isFollowing": False, "details": ""})


def org_members(call: Call) -> Response:
    """GET /api/organizations/{org}/members."""
    members = members_of(call.core.store, _account(call, "org"))
    return reply([{**_brief(user), "user": user.name, "role": role} for user, role in members])


def no_followers(call: Call) -> Response:
    """GET followers and following: nobody follows anybody here."""
    _account(call, "org" if "/organizations/" in call.request.scope["path"] else "user")
    return reply([])


def _account(call: Call, kind: str) -> Account:
    found = find_account(call.core.store, call.params["account"])
    if found is None or found.kind != kind:
        raise not_found(f"This {kind} does not exist: {call.params['account']}")
    return found


def _brief(account: Account) -> dict[str, Any]:
    return {
        "_id": account.id,
        "name": account.name,
        "fullname": account.fullname,
        "type": account.kind,
        "avatarUrl": "",
        "isPro": False,
    }


def _counts(call: Call, account: Account) -> dict[str, int]:
    filters = Filters(author=account.name)
    return {
        "numModels": len(select_repos(call.core, call.actor, "model", filters)),
        "numDatasets": len(select_repos(call.core, call.actor, "dataset", filters)),
        "numSpaces": len(select_repos(call.core, call.actor, "space", filters)),
        "numDiscussions": 0,
        "numPapers": 0,
    }


ROUTES = [
    Entry("GET", "/api/whoami-v2", whoami, "user"),
    Entry("GET", "/api/users/{account}/overview", user_overview, "anyone"),
    Entry("GET", "/api/users/{account}/followers", no_followers, "anyone"),
    Entry("GET", "/api/users/{account}/following", no_followers, "anyone"),
    Entry("GET", "/api/organizations/{account}/overview", org_overview, "anyone"),
    Entry("GET", "/api/organizations/{account}/members", org_members, "anyone"),
    Entry("GET", "/api/organizations/{account}/followers", no_followers, "anyone"),
]
