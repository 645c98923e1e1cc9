"""Jobs that webhooks start: what a webhook was given to run, and one run of it for each event."""

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from hub_trainer.local_hub import jobs
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.store import Store, row

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 100_000
"""The system takes 128 KiB as one variable; of a longer event only its head is told."""
HEAD = ("event", "repo", "webhook")


def set_job(store: Store, webhook_id: str, source: jobs.Job, secrets: Mapping[str, str]) -> None:
    """Start the same as `source` from now on. Secrets that were given before are kept by name."""
    found = _row(store, webhook_id)
    kept = json.loads(found["request"])["secrets"] if found else {}
    request = {
        "dockerImage": source.spec.image,
        "command": list(source.spec.command),
        "environment": dict(source.spec.environment),
        "labels": dict(source.spec.labels),
        "timeoutSeconds": source.spec.timeout_seconds,
        "secrets": {**kept, **secrets},
    }
    values = (webhook_id, source.namespace, json.dumps(request))
    with store.write() as db:
        db.execute("INSERT OR REPLACE INTO webhook_job VALUES (?, ?, ?)", values)


def delete_job(store: Store, webhook_id: str) -> None:
    """The webhook starts no job any more."""
    with store.write() as db:
        db.execute("DELETE FROM webhook_job WHERE webhook_id = ?", (webhook_id,))


def show_job(store: Store, webhook_id: str) -> dict[str, Any] | None:
    """What the webhook starts, as clients read it; of secrets only the names."""
    found = _row(store, webhook_id)
    if found is None:
        return None
    spec, _ = jobs.read_spec(json.loads(found["request"]))
    return jobs.show_spec(spec)


def start_job(core: Core, delivery: sqlite3.Row) -> bool:
    """Start the job of a delivery, with the event in its environment; False where none can run."""
    found = _row(core.store, delivery["webhook_id"])
    if found is None or core.jobs is None:
        log.info("webhook %s cannot start its job here", delivery["webhook_id"])
        return False
    request = json.loads(found["request"])
    request["environment"] |= _event(delivery["body"])
    if delivery["secret"]:
        request["secrets"]["WEBHOOK_SECRET"] = delivery["secret"]
    spec, secrets = jobs.read_spec(request)
    job = jobs.insert_job(core.store, found["namespace"], delivery["user_id"], spec)
    core.jobs.submit(job, secrets)
    return True


def _event(body: str) -> dict[str, str]:
    told = json.loads(body)
    if len(body.encode()) > MAX_PAYLOAD_BYTES:
        body = json.dumps({key: told[key] for key in HEAD})
    return {
        "WEBHOOK_PAYLOAD": body,
        "WEBHOOK_REPO_ID": told["repo"]["name"],
        "WEBHOOK_REPO_TYPE": told["repo"]["type"],
    }


def _row(store: Store, webhook_id: str) -> sqlite3.Row | None:
    return row(store, "SELECT * FROM webhook_job WHERE webhook_id = ?", webhook_id)
