"""Scheduled jobs: their rows, and the thread that starts what is due."""

import json
import logging
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hub_trainer.local_hub import jobs
from hub_trainer.local_hub.accounts import find_account
from hub_trainer.local_hub.cron import read_schedule
from hub_trainer.local_hub.errors import WireError, conflict, not_found
from hub_trainer.local_hub.job_runner import JobRunner
from hub_trainer.local_hub.names import new_id, now_iso
from hub_trainer.local_hub.store import Store, row, rows

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class ScheduledJob:
    """A job to start again and again."""

    id: str
    namespace: str
    user_id: str
    request: dict[str, Any]
    """What the client sent, values of secrets included."""
    schedule: str
    suspended: bool
    concurrency: bool
    created: str
    last_job: str | None
    last_at: str | None
    next_at: str


def insert_scheduled(
    store: Store, namespace: str, user_id: str, wanted: dict[str, Any]
) -> ScheduledJob:
    """Add one. Raises 400 for a spec or schedule that cannot be had here."""
    request = wanted.get("jobSpec")
    request = request if isinstance(request, dict) else {}
    jobs.read_spec(request)
    schedule_id, schedule = new_id(), wanted.get("schedule")
    values = (
        *(schedule_id, namespace, user_id, json.dumps(request), schedule),
        *(bool(wanted.get("suspend")), bool(wanted.get("concurrency")), now_iso(), None, None),
        _next(schedule),
    )
    with store.write() as db:
        db.execute("INSERT INTO scheduled_job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return find_scheduled(store, namespace, schedule_id)


def find_scheduled(store: Store, namespace: str, schedule_id: str) -> ScheduledJob:
    """The scheduled job of a namespace, else 404."""
    query = "SELECT * FROM scheduled_job WHERE id = ? AND namespace = ?"
    found = row(store, query, schedule_id, namespace)
    if found is None:
        raise not_found(f"Scheduled job {schedule_id} does not exist.")
    return _scheduled(found)


def list_scheduled(store: Store, namespace: str) -> list[ScheduledJob]:
    """All of a namespace, the oldest first."""
    query = "SELECT * FROM scheduled_job WHERE namespace = ? ORDER BY created, rowid"
    return [_scheduled(found) for found in rows(store, query, namespace)]


def delete_scheduled(store: Store, one: ScheduledJob) -> None:
    """Start it no more; jobs that it has started go on."""
    with store.write() as db:
        db.execute("DELETE FROM scheduled_job WHERE id = ?", (one.id,))


def suspend(store: Store, one: ScheduledJob, *, suspended: bool) -> None:
    """Pause it, or go on with what is due from now on."""
    with store.write() as db:
        db.execute(
            "UPDATE scheduled_job SET suspend = ?, next_at = ? WHERE id = ?",
            (suspended, _next(one.schedule), one.id),
        )


def reschedule(store: Store, one: ScheduledJob, schedule: Any) -> ScheduledJob:
    """Give it another schedule."""
    with store.write() as db:
        db.execute(
            "UPDATE scheduled_job SET schedule = ?, next_at = ? WHERE id = ?",
            (schedule, _next(schedule), one.id),
        )
    return find_scheduled(store, one.namespace, one.id)


def start_now(store: Store, runner: JobRunner, one: ScheduledJob) -> jobs.Job:
    """One run of it. Raises 409 while another is at work, unless it may run beside itself."""
    if one.last_job is not None and not one.concurrency:
        last = jobs.find_job(store, one.namespace, one.last_job)
        if not last.has_ended:
            raise conflict(f"Job {last.id} of this schedule is still at work.")
    spec, secrets = jobs.read_spec(one.request)
    job = jobs.insert_job(store, one.namespace, one.user_id, spec)
    with store.write() as db:
        db.execute(
            "UPDATE scheduled_job SET last_job = ?, last_at = ? WHERE id = ?",
            (job.id, now_iso(), one.id),
        )
    runner.submit(job, secrets)
    return job


def start_due(store: Store, runner: JobRunner, now: str) -> None:
    """Start what is due at a moment; what was missed meanwhile is made up for once."""
    query = "SELECT * FROM scheduled_job WHERE NOT suspend AND next_at <= ? ORDER BY next_at"
    for found in rows(store, query, now):
        one = _scheduled(found)
        with store.write() as db:  # before the start, so that a crash starts none twice
            db.execute(
                "UPDATE scheduled_job SET next_at = ? WHERE id = ?", (_next(one.schedule), one.id)
            )
        try:
            start_now(store, runner, one)
        except WireError as error:
            log.info("scheduled job %s was not started: %s", one.id, error.message)


class Scheduler:
    """Looks every second for what is due, until it is stopped."""

    def __init__(self, store: Store, runner: JobRunner) -> None:
        self._store, self._runner = store, runner
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-hub-schedule", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Start no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            start_due(self._store, self._runner, now_iso())


def show(store: Store, one: ScheduledJob) -> dict[str, Any]:
    """As clients read it; of secrets only the names."""
    spec, _ = jobs.read_spec(one.request)
    owner = find_account(store, one.namespace)
    assert owner is not None
    last = {"id": one.last_job, "at": one.last_at} if one.last_job else None
    return {
        "id": one.id,
        "createdAt": one.created,
        "schedule": one.schedule,
        "suspend": one.suspended,
        "concurrency": one.concurrency,
        "status": {"lastJob": last, "nextJobRunAt": None if one.suspended else one.next_at},
        "owner": {"id": owner.id, "name": owner.name, "type": owner.kind},
        "jobSpec": jobs.show_spec(spec),
    }


def _next(schedule: Any) -> str:
    due = read_schedule(schedule).next_after(datetime.now(UTC))
    return due.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _scheduled(found: sqlite3.Row) -> ScheduledJob:
    return ScheduledJob(
        id=found["id"],
        namespace=found["namespace"],
        user_id=found["user_id"],
        request=json.loads(found["request"]),
        schedule=found["schedule"],
        suspended=bool(found["suspend"]),
        concurrency=bool(found["concurrency"]),
        created=found["created"],
        last_job=found["last_job"],
        last_at=found["last_at"],
        next_at=found["next_at"],
    )
