"""Webhooks: who wants to hear of what, and the outbox that tells them."""

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.repo_rows import Repo
from hub_trainer.local_hub.store import Store, row, rows

_DOMAINS = {"repo": "repo", "discussion": "discussion", "discussions": "discussion"}


@dataclass(frozen=True)
class Webhook:
    """An address that is told of events in what it watches."""

    id: str
    user_id: str
    url: str
    """Empty where a job is started in place of a call."""
    watched: list[dict[str, str]]
    domains: list[str]
    secret: str
    disabled: bool


def insert_webhook(store: Store, user_id: str, fields: dict[str, Any]) -> Webhook:
    """Add a webhook of a user."""
    webhook_id = new_id()
    with store.write() as db:
        db.execute(
            "INSERT INTO webhook VALUES (?, ?, '', '[]', '[]', '', 0, ?)",
            (webhook_id, user_id, now_iso()),
        )
        return update_webhook(store, user_id, webhook_id, fields)


def update_webhook(store: Store, user_id: str, webhook_id: str, fields: dict[str, Any]) -> Webhook:
    """Change what a webhook watches or where it reports."""
    with store.write() as db:
        for key, value in fields.items():
            text = value if isinstance(value, str | int) else json.dumps(value)
            db.execute(f"UPDATE webhook SET {_COLUMNS[key]} = ? WHERE id = ?", (text, webhook_id))  # noqa: S608
    found = find_webhook(store, user_id, webhook_id)
    assert found is not None
    return found


_COLUMNS = {key: key for key in ("url", "watched", "domains", "secret", "disabled")}


def find_webhook(store: Store, user_id: str, webhook_id: str) -> Webhook | None:
    """A webhook of this user."""
    query = "SELECT * FROM webhook WHERE id = ? AND user_id = ?"
    found = row(store, query, webhook_id, user_id)
    return None if found is None else _webhook(found)


def list_webhooks(store: Store, user_id: str) -> list[Webhook]:
    """All webhooks of a user."""
    found = rows(store, "SELECT * FROM webhook WHERE user_id = ? ORDER BY created, id", user_id)
    return [_webhook(each) for each in found]


def delete_webhook(store: Store, webhook_id: str) -> None:
    """Remove a webhook and what it was still to be told."""
    with store.write() as db:
        db.execute("DELETE FROM webhook WHERE id = ?", (webhook_id,))
        db.execute("DELETE FROM delivery WHERE webhook_id = ?", (webhook_id,))
        db.execute("DELETE FROM webhook_job WHERE webhook_id = ?", (webhook_id,))


def known_domain(name: str) -> str | None:
    """A domain under the name that either generation of clients gives it."""
    return _DOMAINS.get(name)


def announce_refs(
    store: Store, repo: Repo, moved: dict[str, tuple[str | None, str | None]]
) -> None:
    """Refs have moved: name -> (old, new)."""
    updated = [{"ref": ref, "oldSha": old, "newSha": new} for ref, (old, new) in moved.items()]
    announce(store, repo, "update", "repo.content", {"updatedRefs": updated})


def announce(
    store: Store, repo: Repo, action: str, scope: str, more: dict[str, Any] | None = None
) -> None:
    """Put an event into the outbox of every webhook that watches this repo."""
    domain = scope.partition(".")[0]
    with store.write() as db:
        for found in db.execute("SELECT * FROM webhook WHERE NOT disabled").fetchall():
            webhook = _webhook(found)
            wanted = domain in webhook.domains and _watches(webhook, repo)
            if wanted and _may_hear(store, webhook, repo):
                body = _payload(webhook, repo, {"action": action, "scope": scope}, more or {})
                db.execute(
                    "INSERT INTO delivery(webhook_id, body, next_try) VALUES (?, ?, ?)",
                    (webhook.id, json.dumps(body), time.time()),
                )


def _watches(webhook: Webhook, repo: Repo) -> bool:
    for watched in webhook.watched:
        kind, name = watched.get("type"), watched.get("name", "").lower()
        if kind in ("user", "org") and name == repo.namespace.lower():
            return True
        if kind == repo.type and name == repo.full_name.lower():
            return True
    return False


def _may_hear(store: Store, webhook: Webhook, repo: Repo) -> bool:
    """Whether its owner may be told of a private repo: only its own people are."""
    if not repo.private:
        return True
    insider = (
        "SELECT 1 FROM account WHERE name_ci = ? AND (id = ? OR id IN"
        " (SELECT org_id FROM member WHERE user_id = ?))"
    )
    found = row(store, insider, repo.namespace.lower(), webhook.user_id, webhook.user_id)
    return found is not None


def _payload(
    webhook: Webhook, repo: Repo, event: dict[str, str], more: dict[str, Any]
) -> dict[str, Any]:
    return {
        "event": event,
        "repo": {
            "type": repo.type,
            "name": repo.full_name,
            "id": repo.id,
            "private": repo.private,
            "headSha": repo.head_sha,
            "owner": {"id": repo.namespace},
        },
        "webhook": {"id": webhook.id, "version": 3},
        **more,
    }


def _webhook(found: sqlite3.Row) -> Webhook:
    return Webhook(
        id=found["id"],
        user_id=found["user_id"],
        url=found["url"],
        watched=json.loads(found["watched"]),
        domains=json.loads(found["domains"]),
        secret=found["secret"],
        disabled=bool(found["disabled"]),
    )
