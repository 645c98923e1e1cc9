"""State of a Space beside its files: variables, secrets, and the stage it says it is in."""

import json
import re
from typing import Any

from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import bad_request, not_found
from hub_trainer.local_hub.names import now_iso
from hub_trainer.local_hub.repo_rows import Repo, all_repos
from hub_trainer.local_hub.store import Store, row, rows

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


def subdomain(repo: Repo) -> str:
    """The name that the Space would have as a site."""
    return re.sub(r"[^a-z0-9]+", "-", repo.full_name.lower()).strip("-")


def runtime(core: Core, repo: Repo) -> dict[str, Any]:
    """The state that was last asked for. The Hub itself never runs a Space's code."""
    found = row(core.store, "SELECT state FROM space_runtime WHERE repo_id = ?", repo.id)
    state: dict[str, Any] = json.loads(found["state"]) if found else {}
    return {
        "stage": state.get("stage", "STOPPED"),
        "hardware": {
            "current": state.get("hardware"),
            "requested": state.get("hardware", "cpu-basic"),
        },
        "storage": state.get("storage"),
        "gcTimeout": state.get("gcTimeout"),
        "sleepTime": state.get("gcTimeout"),
        "replicas": {"requested": 1, "current": 0},
        "volumes": state.get("volumes", []),
        "devMode": state.get("devMode", False),
        "domains": [],
        "sha": repo.head_sha,
    }


def change_runtime(core: Core, repo: Repo, changes: dict[str, Any]) -> dict[str, Any]:
    """Remember what state is asked for."""
    with core.store.write() as db:
        found = row(core.store, "SELECT state FROM space_runtime WHERE repo_id = ?", repo.id)
        state = {**(json.loads(found["state"]) if found else {}), **changes}
        db.execute(
            "INSERT OR REPLACE INTO space_runtime VALUES (?, ?)", (repo.id, json.dumps(state))
        )
    return runtime(core, repo)


def settings(store: Store, repo: Repo, *, secret: bool) -> dict[str, dict[str, Any]]:
    """Variables with their values, or secrets without."""
    found = rows(
        store,
        "SELECT * FROM space_setting WHERE repo_id = ? AND secret = ? ORDER BY key",
        repo.id,
        secret,
    )
    shown: dict[str, dict[str, Any]] = {}
    for each in found:
        entry = {
            "key": each["key"],
            "description": each["description"],
            "updatedAt": each["updated"],
        }
        shown[each["key"]] = entry if secret else {**entry, "value": each["value"]}
    return shown


def set_setting(store: Store, repo: Repo, entry: dict[str, Any], *, secret: bool) -> None:
    """Add or replace a variable or secret."""
    key, value = entry.get("key"), entry.get("value")
    if not isinstance(key, str) or not _KEY.match(key):
        raise bad_request(f"Invalid key: {key!r}. Use letters, digits and _, no digit first.")
    if not isinstance(value, str):
        raise bad_request(f"The value of {key} must be text.")
    values = (repo.id, key, secret, value, entry.get("description") or "", now_iso())
    with store.write() as db:
        db.execute("INSERT OR REPLACE INTO space_setting VALUES (?, ?, ?, ?, ?, ?)", values)


def delete_setting(store: Store, repo: Repo, key: Any, *, secret: bool) -> None:
    """Remove a variable or secret."""
    with store.write() as db:
        done = db.execute(
            "DELETE FROM space_setting WHERE repo_id = ? AND key = ? AND secret = ?",
            (repo.id, key, secret),
        )
    if done.rowcount == 0:
        raise not_found(f"{repo.full_name} has no {'secret' if secret else 'variable'} {key}")


def spaces_using(core: Core, field: str, full_name: str) -> list[str]:
    """The public Spaces whose metadata names a model or dataset."""
    return [
        space.full_name
        for space in all_repos(core.store, "space")
        if not space.private and full_name in (space.facts.get(field) or [])
    ]
