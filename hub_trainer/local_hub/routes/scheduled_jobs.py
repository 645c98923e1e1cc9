"""Routes of scheduled jobs: the same people as of jobs."""

from starlette.responses import Response

from hub_trainer.local_hub import jobs
from hub_trainer.local_hub import scheduled_jobs as schedules
from hub_trainer.local_hub.permissions import require_namespace
from hub_trainer.local_hub.routes.jobs import namespace_of, runner_of
from hub_trainer.local_hub.scheduled_jobs import ScheduledJob
from hub_trainer.local_hub.wire import Call, Entry, nothing, reply


def create(call: Call) -> Response:
    """POST /api/scheduled-jobs/{account}."""
    runner_of(call)
    namespace = require_namespace(call.core.store, call.actor, call.params["account"])
    assert call.actor.user is not None
    made = schedules.insert_scheduled(call.core.store, namespace, call.actor.user.id, call.json())
    return _answer(call, made)


def list_all(call: Call) -> Response:
    """GET /api/scheduled-jobs/{account}."""
    found = schedules.list_scheduled(call.core.store, namespace_of(call))
    return reply([schedules.show(call.core.store, one) for one in found])


def get(call: Call) -> Response:
    """GET /api/scheduled-jobs/{account}/{job}."""
    return _answer(call, _find(call))


def delete(call: Call) -> Response:
    """DELETE /api/scheduled-jobs/{account}/{job}."""
    schedules.delete_scheduled(call.core.store, _find_own(call))
    return nothing()


def suspend(call: Call) -> Response:
    """POST /api/scheduled-jobs/{account}/{job}/suspend."""
    schedules.suspend(call.core.store, _find_own(call), suspended=True)
    return nothing()


def resume(call: Call) -> Response:
    """POST /api/scheduled-jobs/{account}/{job}/resume."""
    schedules.suspend(call.core.store, _find_own(call), suspended=False)
    return nothing()


def reschedule(call: Call) -> Response:
    """POST /api/scheduled-jobs/{account}/{job}/schedule."""
    wanted = call.json().get("schedule")
    return _answer(call, schedules.reschedule(call.core.store, _find_own(call), wanted))


def run(call: Call) -> Response:
    """POST /api/scheduled-jobs/{account}/{job}/run."""
    started = schedules.start_now(call.core.store, runner_of(call), _find_own(call))
    return reply(jobs.show(call.core.store, started))


def _find(call: Call) -> ScheduledJob:
    return schedules.find_scheduled(call.core.store, namespace_of(call), call.params["job"])


def _find_own(call: Call) -> ScheduledJob:
    found = _find(call)
    require_namespace(call.core.store, call.actor, found.namespace)
    return found


def _answer(call: Call, found: ScheduledJob) -> Response:
    return reply(schedules.show(call.core.store, found))


_ALL = "/api/scheduled-jobs/{account}"
_ONE = _ALL + "/{job}"

ROUTES = [
    Entry("POST", _ALL, create, "write_token"),
    Entry("GET", _ALL, list_all, "user"),
    Entry("GET", _ONE, get, "user"),
    Entry("DELETE", _ONE, delete, "write_token"),
    Entry("POST", _ONE + "/suspend", suspend, "write_token"),
    Entry("POST", _ONE + "/resume", resume, "write_token"),
    Entry("POST", _ONE + "/schedule", reschedule, "write_token"),
    Entry("POST", _ONE + "/run", run, "write_token"),
]
