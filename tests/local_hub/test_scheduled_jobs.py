"""Scheduled jobs, by the client's own calls, and the minutes at which a schedule is due."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.cron import read_schedule
from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.scheduled_jobs import start_due

NEVER_SOON = "0 0 1 1 *"
LATER = "9999-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub(allow_jobs=True) as running:
        yield running


@pytest.fixture(scope="module")
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def _create(api: HfApi, code: str = "pass", **options: Any) -> str:
    options = {"schedule": NEVER_SOON, "namespace": "admin", **options}
    command = ["python", "-c", code]
    return str(api.create_scheduled_job(image="python:3.12", command=command, **options).id)


def _named(schedule_id: str) -> dict[str, str]:
    return {"scheduled_job_id": schedule_id, "namespace": "admin"}


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("@hourly", "2026-02-28 23:00"),
        ("@daily", "2026-03-01 00:00"),
        ("@weekly", "2026-03-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("*/5 * * * *", "2026-02-28 22:35"),
        ("10-50/20 22 * * *", "2026-02-28 22:50"),
        ("0 9 * * 1", "2026-03-02 09:00"),
        ("0 9 13 * 5", "2026-03-06 09:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("30 22 28 2 7", "2027-02-07 22:30"),
    ],
)
def test_schedule_when_asked_for_the_next_then_is_after_now(schedule: str, due: str) -> None:
    now = datetime(2026, 2, 28, 22, 30, 30, tzinfo=UTC)
    assert f"{read_schedule(schedule).next_after(now):%Y-%m-%d %H:%M}" == due


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (None, "A scheduled job needs a schedule."),
        ("@often", "Write five fields of cron, or @annually"),
        ("60 * * * *", "Invalid minute in a schedule: '60'. It is 0 to 59."),
        ("* * * * x", "Invalid day of the week in a schedule: 'x'."),
        ("*/0 * * * *", "Invalid minute in a schedule"),
    ],
)
def test_schedule_when_it_cannot_be_read_then_says_why(schedule: object, message: str) -> None:
    with pytest.raises(WireError) as caught:
        read_schedule(schedule)
    assert message in caught.value.message


def test_schedule_when_never_due_then_says_so() -> None:
    with pytest.raises(WireError, match="never due"):
        read_schedule("0 0 31 2 *").next_after(datetime(2026, 1, 1, tzinfo=UTC))


def test_scheduled_job_when_created_then_is_shown_without_its_secrets(api: HfApi) -> None:
    made = _create(api, secrets={"KEY": "never-shown"}, labels={"kind": "round"})
    shown = api.inspect_scheduled_job(**_named(made))
    assert (shown.schedule, shown.suspend, shown.concurrency) == (NEVER_SOON, False, False)
    assert shown.job_spec.secrets == {"KEY": ""}
    assert shown.status.next_job_run_at.month == 1
    listed = api.list_scheduled_jobs(namespace="admin", labels={"kind": "round"})
    assert [one.id for one in listed] == [made]
    api.delete_scheduled_job(**_named(made))
    with pytest.raises(HfHubHTTPError, match="does not exist"):
        api.inspect_scheduled_job(**_named(made))


def test_scheduled_job_when_due_then_runs_once_with_its_secrets(hub: LocalHub, api: HfApi) -> None:
    made = _create(api, "import os; print(os.environ['KEY'])", secrets={"KEY": "told"})
    assert hub.core.jobs is not None
    start_due(hub.core.store, hub.core.jobs, "2026-01-01T00:00:00.000Z")
    assert api.inspect_scheduled_job(**_named(made)).status.last_job is None
    with hub.core.store.write() as db:
        past = "2026-01-01T00:00:00.000Z"
        db.execute("UPDATE scheduled_job SET next_at = ? WHERE id = ?", (past, made))
    while not (status := api.inspect_scheduled_job(**_named(made)).status).last_job:
        time.sleep(0.1)
    last: Any = status.last_job
    job_id = last["id"] if isinstance(last, dict) else last.id
    assert list(api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True)) == ["told"]
    assert str(status.next_job_run_at) > str(datetime.now(UTC))
    api.delete_scheduled_job(**_named(made))


def test_scheduled_job_when_triggered_twice_then_the_second_is_refused_unless_allowed(
    api: HfApi,
) -> None:
    one = _create(api, "import time; time.sleep(600)")
    first = api.trigger_scheduled_job(**_named(one))
    with pytest.raises(HfHubHTTPError, match="is still at work"):
        api.trigger_scheduled_job(**_named(one))
    two = _create(api, "import time; time.sleep(600)", concurrency=True)
    beside = [api.trigger_scheduled_job(**_named(two)) for _ in range(2)]
    for job in (first, *beside):
        api.cancel_job(job_id=job.id, namespace="admin")


def test_scheduled_job_when_suspended_then_is_not_started_until_resumed(
    hub: LocalHub, api: HfApi
) -> None:
    made = _create(api, suspend=True)
    assert hub.core.jobs is not None
    assert api.inspect_scheduled_job(**_named(made)).status.next_job_run_at is None
    start_due(hub.core.store, hub.core.jobs, LATER)
    assert api.inspect_scheduled_job(**_named(made)).status.last_job is None
    api.resume_scheduled_job(**_named(made))
    assert api.inspect_scheduled_job(**_named(made)).suspend is False
    api.suspend_scheduled_job(**_named(made))
    assert api.inspect_scheduled_job(**_named(made)).suspend is True
    changed = api.update_scheduled_job_schedule(schedule="@daily", **_named(made))
    assert changed.schedule == "@daily"
    with pytest.raises(HfHubHTTPError, match="Invalid schedule"):
        api.update_scheduled_job_schedule(schedule="@often", **_named(made))


def test_scheduled_job_when_it_cannot_run_here_then_is_refused(hub: LocalHub, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="Unknown flavor"):
        _create(api, flavor="a10g-large")
    other = HfApi(endpoint=hub.url, token=hub.add_user("somebody"))
    with pytest.raises(HfHubHTTPError, match="You don't have the rights"):
        _create(other)
    with pytest.raises(HfHubHTTPError, match="There are no such jobs"):
        other.list_scheduled_jobs(namespace="admin")
