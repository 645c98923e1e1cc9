"""Routes of jobs: members of a namespace see them, those who may write there start and end them."""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hub_trainer.local_hub import jobs
from hub_trainer.local_hub.accounts import find_account
from hub_trainer.local_hub.errors import WireError, bad_request, not_found
from hub_trainer.local_hub.job_runner import JobRunner
from hub_trainer.local_hub.jobs import FLAVOR, STAGES, Job
from hub_trainer.local_hub.permissions import is_member, require_namespace
from hub_trainer.local_hub.wire import Call, Entry, nothing, reply

KEEP_ALIVE_SECONDS = 15.0
POLL_SECONDS = 0.2


def hardware(call: Call) -> Response:
    """GET /api/jobs/hardware: this machine, which costs nothing."""
    runner_of(call)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    shown = {
        "name": FLAVOR,
        "prettyName": "This machine",
        "cpu": f"{os.cpu_count() or 1} vCPU",
        "ram": f"{gigabytes:.0f} GB",
        "accelerator": None,
        "unitCostMicroUSD": 0,
        "unitCostUSD": 0.0,
        "unitLabel": "minute",
    }
    return reply([shown])


def create(call: Call) -> Response:
    """POST /api/jobs/{account}."""
    runner = runner_of(call)
    namespace = require_namespace(call.core.store, call.actor, call.params["account"])
    assert call.actor.user is not None
    spec, secrets = jobs.read_spec(call.json())
    job = jobs.insert_job(call.core.store, namespace, call.actor.user.id, spec)
    runner.submit(job, secrets)
    return _answer(call, job)


def list_all(call: Call) -> Response:
    """GET /api/jobs/{account}."""
    stages = call.queries("stage")
    unknown = set(stages) - set(STAGES)
    if unknown:
        raise bad_request(f"stage must be one of {', '.join(STAGES)}, not {', '.join(unknown)}.")
    found = jobs.list_jobs(
        call.core.store, namespace_of(call), stages=stages, labels=call.queries("label")
    )
    return reply([jobs.show(call.core.store, job) for job in found])


def get(call: Call) -> Response:
    """GET /api/jobs/{account}/{job}."""
    return _answer(call, _find(call))


def cancel(call: Call) -> Response:
    """POST /api/jobs/{account}/{job}/cancel."""
    job = _find(call)
    require_namespace(call.core.store, call.actor, job.namespace)
    runner_of(call).cancel(job)
    return nothing()


def label(call: Call) -> Response:
    """PUT /api/jobs/{account}/{job}/labels."""
    job = _find(call)
    require_namespace(call.core.store, call.actor, job.namespace)
    labels = jobs.read_labels(call.json().get("labels"))
    return _answer(call, jobs.set_labels(call.core.store, job, labels))


async def logs(call: Call) -> Response:
    """GET /api/jobs/{account}/{job}/logs: events as they come, until the job ends."""
    job = await run_in_threadpool(_find, call)
    tail = call.number("tail", 0, 1_000_000)
    events = _events(runner_of(call), job, tail)
    return StreamingResponse(events, 200, media_type="text/event-stream")


async def _events(runner: JobRunner, job: Job, tail: int) -> AsyncIterator[bytes]:
    path, offset, spoke = runner.log_file(job.id), 0, time.monotonic()
    if tail:
        offset = await run_in_threadpool(_offset_of, path, tail)
    while True:
        # Asked before reading, so that nothing is missed that came before the end.
        ended = await run_in_threadpool(runner.has_ended, job)
        lines, offset = await run_in_threadpool(_read, path, offset)
        for line in lines:
            yield b"data: " + line + b"\n\n"
        if ended and not lines:
            return
        if lines:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            spoke = time.monotonic()
            yield b": keep-alive\n\n"
        else:
            await asyncio.sleep(POLL_SECONDS)


def _read(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines from an offset on, and where the next begins."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            found = [line for line in islice(stream, 1000) if line.endswith(b"\n")]
    except FileNotFoundError:
        return [], offset
    return [line.rstrip(b"\n") for line in found], offset + sum(map(len, found))


def _offset_of(path: Path, tail: int) -> int:
    """Where the last `tail` lines begin."""
    try:
        with path.open("rb") as stream:
            sizes = deque(map(len, stream), maxlen=tail)
            return stream.tell() - sum(sizes)
    except FileNotFoundError:
        return 0


def runner_of(call: Call) -> JobRunner:
    """Who runs the jobs here; 404 where nobody does."""
    if call.core.jobs is None:
        raise WireError(
            404, "This Local Hub runs no jobs. Whoever starts it can allow them: --allow-jobs."
        )
    return call.core.jobs


def namespace_of(call: Call) -> str:
    """The namespace as it is written, if the actor is one of its people; else 404."""
    runner_of(call)
    account = find_account(call.core.store, call.params["account"])
    if account is None or not is_member(call.actor, account.name):
        raise not_found("There are no such jobs.")
    return account.name


def _find(call: Call) -> Job:
    return jobs.find_job(call.core.store, namespace_of(call), call.params["job"])


def _answer(call: Call, job: Job) -> Response:
    return reply(jobs.show(call.core.store, job))


_ALL = "/api/jobs/{account}"
_ONE = _ALL + "/{job}"

ROUTES = [
    Entry("GET", "/api/jobs/hardware", hardware, "anyone"),
    Entry("POST", _ALL, create, "write_token"),
    Entry("GET", _ALL, list_all, "user"),
    Entry("GET", _ONE, get, "user"),
    Entry("POST", _ONE + "/cancel", cancel, "write_token"),
    Entry("PUT", _ONE + "/labels", label, "write_token"),
    Entry("GET", _ONE + "/logs", logs, "user", streams=True),
]
