"""Requests for access to gated repos."""

import json
import sqlite3
from typing import Any

from hub_trainer.local_hub.accounts import Account, find_account
from hub_trainer.local_hub.errors import bad_request, not_found
from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.store import Store, row, rows

STATUSES = ("pending", "accepted", "rejected")


def list_requests(store: Store, repo: Repo, status: str) -> list[dict[str, Any]]:
    """The requests in one state, oldest first."""
    if status not in STATUSES:
        raise bad_request(f"status must be one of {', '.join(STATUSES)}, not {status}.")
    found = rows(
        store,
        "SELECT access_request.*, account.name, account.fullname, account.email"
        " FROM access_request JOIN account ON account.id = access_request.user_id"
        " WHERE repo_id = ? AND status = ? ORDER BY access_request.created",
        repo.id,
        status,
    )
    return [_shown(each) for each in found]


def _shown(found: sqlite3.Row) -> dict[str, Any]:
    fields = json.loads(found["fields"])
    user = {"_id": found["user_id"], "user": found["name"], "fullname": found["fullname"]}
    if "granted" not in fields:
        user["email"] = found["email"]
    return {
        "requestId": found["id"],
        "user": user,
        "status": found["status"],
        "timestamp": found["created"],
        "fields": {key: value for key, value in fields.items() if key != "granted"} or None,
    }


def ask(store: Store, repo: Repo, user: Account, fields: dict[str, Any]) -> str:
    """A user asks for access; gives back the state of the request."""
    if not repo.gated:
        raise bad_request(f"{repo.full_name} is not gated.")
    found = _request_of(store, repo, user)
    if found is not None:
        return str(found["status"])
    status = "accepted" if repo.gated == "auto" else "pending"
    _insert(store, repo, user, status, fields)
    return status


def grant(store: Store, repo: Repo, name: str) -> None:
    """Let a user in who may not even have asked."""
    user = _user(store, name)
    found = _request_of(store, repo, user)
    if found is None:
        _insert(store, repo, user, "accepted", {"granted": True})
    elif found["status"] == "accepted":
        raise bad_request(f"{user.name} already has access to {repo.full_name}.")
    else:
        _set_status(store, found["id"], "accepted", "")


def handle(store: Store, repo: Repo, wanted: dict[str, Any]) -> None:
    """Accept, reject or put back a request."""
    status = wanted.get("status")
    if status not in STATUSES:
        raise bad_request(f"status must be one of {', '.join(STATUSES)}, not {status!r}.")
    found = _wanted_request(store, repo, wanted)
    if found is None:
        raise not_found("There is no such access request.")
    if found["status"] == status:
        raise bad_request(f"The access request is already {status}.")
    _set_status(store, found["id"], status, str(wanted.get("rejectionReason") or ""))


def _wanted_request(store: Store, repo: Repo, wanted: dict[str, Any]) -> sqlite3.Row | None:
    if wanted.get("requestId") is not None:
        query = "SELECT * FROM access_request WHERE repo_id = ? AND id = ?"
        return row(store, query, repo.id, str(wanted["requestId"]))
    return _request_of(store, repo, _user(store, str(wanted.get("user"))))


def _request_of(store: Store, repo: Repo, user: Account) -> sqlite3.Row | None:
    query = "SELECT * FROM access_request WHERE repo_id = ? AND user_id = ?"
    return row(store, query, repo.id, user.id)


def _user(store: Store, name: str) -> Account:
    user = find_account(store, name)
    if user is None or user.kind != "user":
        raise not_found(f"User {name} does not exist.")
    return user


def _insert(store: Store, repo: Repo, user: Account, status: str, fields: dict[str, Any]) -> None:
    values = (new_id(), repo.id, user.id, status, now_iso(), json.dumps(fields), "")
    with store.write() as db:
        db.execute("INSERT INTO access_request VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def _set_status(store: Store, request_id: str, status: str, reason: str) -> None:
    with store.write() as db:
        db.execute(
            "UPDATE access_request SET status = ?, reason = ? WHERE id = ?",
            (status, reason, request_id),
        )


def status_of(store: Store, repo: Repo, user: Account) -> str | None:
    """Where a user's request for access stands, if there is one."""
    found = _request_of(store, repo, user)
    return None if found is None else str(found["status"])
