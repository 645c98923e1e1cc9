"""Jobs: what is asked for, checked, and what became of it; secrets are never kept here."""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub_trainer.local_hub.accounts import Account, find_account, find_account_by_id
from hub_trainer.local_hub.errors import bad_request, not_found
from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.store import Store, row, rows

FLAVOR = "cpu-basic"
"""The one kind of hardware: this machine."""
DEFAULT_TIMEOUT_SECONDS = 30 * 60
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600
ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
STAGES = (*ENDED, "SCHEDULING", "RUNNING")
NOT_OFFERED = ("volumes", "expose", "ssh", "network")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_LABEL = re.compile(r"[\w.-]{0,100}\Z", re.ASCII)


@dataclass(frozen=True)
class JobSpec:
    """What is to run, and with what. `secrets` are names only."""

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    labels: Mapping[str, str]
    timeout_seconds: int


@dataclass(frozen=True)
class Job:
    """One run of a spec."""

    id: str
    namespace: str
    user_id: str
    spec: JobSpec
    stage: str
    message: str | None
    created: str
    started: str | None
    finished: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs, or will."""
        return self.stage in ENDED


def read_spec(wanted: Mapping[str, Any]) -> tuple[JobSpec, dict[str, str]]:
    """(what is asked for, values of the secrets). Raises 400 for what cannot be run here."""
    for field in NOT_OFFERED:
        if wanted.get(field):
            raise bad_request(f"This Local Hub has no {field} of jobs.")
    flavor = wanted.get("flavor") or FLAVOR
    if flavor != FLAVOR:
        raise bad_request(f"Unknown flavor {flavor!r}. This Local Hub has only {FLAVOR}.")
    if not isinstance(wanted.get("dockerImage"), str):
        raise bad_request("A job needs a dockerImage; images of Spaces cannot run here.")
    command = [*_texts(wanted, "command"), *_texts(wanted, "arguments")]
    if not command:
        raise bad_request("A job needs a command.")
    secrets = read_variables(wanted, "secrets")
    spec = JobSpec(
        image=wanted["dockerImage"],
        command=tuple(command),
        environment=read_variables(wanted, "environment"),
        secrets=tuple(sorted(secrets)),
        labels=read_labels(wanted.get("labels")),
        timeout_seconds=_timeout(wanted.get("timeoutSeconds")),
    )
    return spec, secrets


def read_labels(wanted: Any) -> dict[str, str]:
    """Labels of a job: short words. Raises 400 for others."""
    found = {} if wanted is None else wanted
    usable = isinstance(found, dict) and all(
        isinstance(text, str) and _LABEL.match(text) for pair in found.items() for text in pair
    )
    if not usable:
        raise bad_request("labels must map words to words, of up to 100 letters, digits, . _ and -")
    return dict(found)


def _texts(wanted: Mapping[str, Any], field: str) -> list[str]:
    found = wanted.get(field) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise bad_request(f"{field} must be a list of texts.")
    if any("\0" in text for text in found):
        raise bad_request(f"{field} holds a null character.")
    return found


def read_variables(wanted: Mapping[str, Any], field: str) -> dict[str, str]:
    """Names and their values. Raises 400 for what no environment can hold."""
    found = wanted.get(field) or {}
    if not isinstance(found, dict):
        raise bad_request(f"{field} must map names to values.")
    for key, value in found.items():
        if not _VARIABLE.match(key):
            raise bad_request(f"Invalid name in {field}: {key!r}.")
        if not isinstance(value, str | int | float) or "\0" in str(value):
            raise bad_request(f"The value of {key} in {field} must be text.")
    return {key: str(value) for key, value in found.items()}


def _timeout(wanted: Any) -> int:
    if wanted is None:
        return DEFAULT_TIMEOUT_SECONDS
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise bad_request(f"timeoutSeconds must be a whole number from 1 on, not {wanted!r}.")
    return min(wanted, MAX_TIMEOUT_SECONDS)


def insert_job(store: Store, namespace: str, user_id: str, spec: JobSpec) -> Job:
    """Add a job that waits for its turn."""
    job_id = new_id()
    text = json.dumps(
        {
            "image": spec.image,
            "command": spec.command,
            "environment": spec.environment,
            "secrets": spec.secrets,
            "timeout_seconds": spec.timeout_seconds,
        }
    )
    labels = json.dumps(spec.labels)
    values = (job_id, namespace, user_id, text, labels, "SCHEDULING", None, now_iso(), None, None)
    with store.write() as db:
        db.execute("INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return find_job(store, namespace, job_id)


def find_job(store: Store, namespace: str, job_id: str) -> Job:
    """The job of a namespace, else 404."""
    query = "SELECT * FROM job WHERE id = ? AND namespace = ?"
    found = row(store, query, job_id, namespace)
    if found is None:
        raise not_found(f"Job {job_id} does not exist.")
    return _job(found)


def find_job_by_id(store: Store, job_id: str) -> Job:
    """The job, of whatever namespace, else 404."""
    found = row(store, "SELECT * FROM job WHERE id = ?", job_id)
    if found is None:
        raise not_found(f"Job {job_id} does not exist.")
    return _job(found)


def list_jobs(
    store: Store, namespace: str, *, stages: Sequence[str] = (), labels: Sequence[str] = ()
) -> list[Job]:
    """Jobs of a namespace, the newest first; `labels` are `key=value`, and all must be there."""
    query = "SELECT * FROM job WHERE namespace = ? ORDER BY created DESC, rowid DESC"
    found = [_job(each) for each in rows(store, query, namespace)]
    wanted = {tuple(label.partition("=")[::2]) for label in labels}
    return [
        job
        for job in found
        if (not stages or job.stage in stages) and wanted <= set(job.spec.labels.items())
    ]


def set_labels(store: Store, job: Job, labels: Mapping[str, str]) -> Job:
    """Replace a job's labels."""
    with store.write() as db:
        db.execute("UPDATE job SET labels = ? WHERE id = ?", (json.dumps(labels), job.id))
    return find_job(store, job.namespace, job.id)


def begin_job(store: Store, job_id: str) -> bool:
    """A waiting job runs from now on; False where it was canceled meanwhile."""
    with store.write() as db:
        done = db.execute(
            "UPDATE job SET stage = 'RUNNING', started = ? WHERE id = ? AND stage = 'SCHEDULING'",
            (now_iso(), job_id),
        )
        return done.rowcount == 1


def end_job(store: Store, job_id: str, stage: str, message: str | None = None) -> bool:
    """Write down how a job ended; False where that was written already."""
    assert stage in ENDED
    with store.write() as db:
        done = db.execute(
            "UPDATE job SET stage = ?, message = ?, finished = ?"
            " WHERE id = ? AND stage IN ('SCHEDULING', 'RUNNING')",
            (stage, message, now_iso(), job_id),
        )
        return done.rowcount == 1


def drop_waiting_job(store: Store, job_id: str) -> None:
    """A job that has not begun is canceled at once."""
    with store.write() as db:
        db.execute(
            "UPDATE job SET stage = 'CANCELED', finished = ? WHERE id = ? AND stage = 'SCHEDULING'",
            (now_iso(), job_id),
        )


def end_left_over(store: Store) -> None:
    """Jobs that a server before this one did not see the end of."""
    for found in rows(store, "SELECT id FROM job WHERE stage IN ('SCHEDULING', 'RUNNING')"):
        end_job(store, found["id"], "ERROR", "The Local Hub stopped while the job was at work.")


def show(store: Store, job: Job) -> dict[str, Any]:
    """A job as clients read it; of secrets only the names."""
    owner, user = find_account(store, job.namespace), find_account_by_id(store, job.user_id)
    assert owner is not None
    return {
        "id": job.id,
        "createdAt": job.created,
        "startedAt": job.started,
        "finishedAt": job.finished,
        **show_spec(job.spec),
        "status": {"stage": job.stage, "message": job.message},
        "durations": _durations(job),
        "owner": _shown(owner),
        "initiator": _shown(user) if user else None,
    }


def show_spec(spec: JobSpec) -> dict[str, Any]:
    """What a job to come is, as clients read it; of secrets only the names."""
    return {
        "dockerImage": spec.image,
        "command": list(spec.command),
        "arguments": [],
        "environment": dict(spec.environment),
        "secrets": dict.fromkeys(spec.secrets, ""),
        "flavor": FLAVOR,
        "timeout": spec.timeout_seconds,
        "labels": dict(spec.labels),
    }


def _durations(job: Job) -> dict[str, int | None]:
    created, now = datetime.fromisoformat(job.created), datetime.fromisoformat(now_iso())
    end = datetime.fromisoformat(job.finished) if job.finished else now
    started = datetime.fromisoformat(job.started) if job.started else None
    return {
        "schedulingSecs": round((started - created).total_seconds()) if started else None,
        "runningSecs": round((end - started).total_seconds()) if started else None,
        "totalSecs": round((end - created).total_seconds()),
    }


def _shown(account: Account) -> dict[str, str]:
    return {"id": account.id, "name": account.name, "type": account.kind}


def _job(found: sqlite3.Row) -> Job:
    spec: dict[str, Any] = json.loads(found["spec"])
    spec["command"], spec["secrets"] = tuple(spec["command"]), tuple(spec["secrets"])
    return Job(
        id=found["id"],
        namespace=found["namespace"],
        user_id=found["user_id"],
        spec=JobSpec(**spec, labels=json.loads(found["labels"])),
        stage=found["stage"],
        message=found["message"],
        created=found["created"],
        started=found["started"],
        finished=found["finished"],
    )
