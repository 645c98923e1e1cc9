"""Jobs that webhooks start, by the client's own calls."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import LocalHub

SAY = (
    "import json, os;"
    "print(json.dumps({k: v for k, v in os.environ.items() if k[:7] in ('WEBHOOK', 'HF_TOKE')}))"
)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub(allow_jobs=True) as running:
        running.add_user("stranger")
        yield running


@pytest.fixture(scope="module")
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


@pytest.fixture(scope="module")
def source(api: HfApi) -> str:
    """A job that has run once, by whose id webhooks name what is to run."""
    job = api.run_job(
        namespace="admin",
        image="python:3.12",
        command=["python", "-c", SAY],
        labels={"kind": "look"},
        timeout=60,
    )
    api.wait_for_job(job_id=job.id, namespace="admin", timeout=60, poll_interval=0.1)
    return str(job.id)


@pytest.fixture
def repo_id(api: HfApi) -> str:
    found = api.create_repo(f"watched-{time.monotonic_ns()}", repo_type="dataset").repo_id
    return str(found)


def _started(api: HfApi, source: str, number: int) -> list[Any]:
    """The newest jobs that are of the kind and not the source, once there are so many."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = list(api.list_jobs(namespace="admin", labels={"kind": "look"}))
        others = [job for job in found if job.id != source]
        if len(others) >= number and all(job.status.stage == "COMPLETED" for job in others):
            return others
        time.sleep(0.1)
    raise AssertionError(f"no {number} jobs")


def _said(api: HfApi, job_id: str) -> dict[str, str]:
    [line] = api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True)
    return dict(json.loads(line))


def test_webhook_when_something_happens_then_its_job_gets_event_and_secrets(
    api: HfApi, source: str, repo_id: str, hub: LocalHub
) -> None:
    made = api.create_webhook(
        job_id=source,
        watched=[{"type": "dataset", "name": repo_id}],
        domains=["discussion"],
        secret="s3cret",
        secrets={"HF_TOKEN": "hf_of_the_job"},
    )
    assert (made.url, made.secret) == (None, "s3cret")
    assert made.job is not None
    assert made.job.command == ["python", "-c", SAY]
    assert made.job.secrets == {"HF_TOKEN": ""}
    assert api.get_webhook(made.id).job == made.job
    assert [one.id for one in api.list_webhooks() if one.job == made.job] == [made.id]
    pull = api.create_pull_request(repo_id, title="Rows", repo_type="dataset")
    [job] = _started(api, source, 1)
    assert job.labels["kind"] == "look"
    said = _said(api, job.id)
    told = json.loads(said.pop("WEBHOOK_PAYLOAD"))
    assert said == {
        "WEBHOOK_REPO_ID": repo_id,
        "WEBHOOK_REPO_TYPE": "dataset",
        "WEBHOOK_SECRET": "s3cret",
        "HF_TOKEN": "hf_of_the_job",
    }
    assert told["event"] == {"action": "create", "scope": "discussion"}
    assert told["discussion"]["num"] == pull.num
    shown = httpx.get(
        f"{hub.url}/api/jobs/admin/{job.id}", headers={"Authorization": f"Bearer {hub.token}"}
    )
    assert "s3cret" not in shown.text
    assert "hf_of_the_job" not in shown.text
    api.delete_webhook(made.id)
    api.create_discussion(repo_id, title="Unheard", repo_type="dataset")
    time.sleep(0.5)
    assert len(_started(api, source, 1)) == 1


def test_webhook_when_changed_then_starts_another_job_with_the_secrets_it_had(
    api: HfApi, source: str, repo_id: str
) -> None:
    watched: Any = [{"type": "dataset", "name": repo_id}]
    hook = api.create_webhook(job_id=source, watched=watched, secrets={"A": "1", "B": "2"})
    changed = api.update_webhook(hook.id, job_id=source, watched=watched, secrets={"B": "3"})
    assert changed.job is not None
    assert changed.job.secrets == {"A": "", "B": ""}
    called = api.update_webhook(hook.id, url="http://127.0.0.1:9", watched=watched)
    assert (called.url, called.job) == ("http://127.0.0.1:9", None)
    api.delete_webhook(hook.id)


def test_event_when_longer_than_a_variable_may_be_then_its_head_is_told(
    api: HfApi, source: str, repo_id: str
) -> None:
    before = len(_started(api, source, 0))
    num = api.create_discussion(repo_id, title="Long", repo_type="dataset").num
    hook = api.create_webhook(job_id=source, watched=[{"type": "dataset", "name": repo_id}])
    api.comment_discussion(repo_id, num, "\u00e9" * 20_000, repo_type="dataset")
    told = json.loads(_said(api, _started(api, source, before + 1)[0].id)["WEBHOOK_PAYLOAD"])
    assert set(told) == {"event", "repo", "webhook"}
    api.delete_webhook(hook.id)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"jobSourceId": "nope"}, 404, "Job nope does not exist"),
        ({"jobSourceId": "SOURCE", "url": "http://a"}, 400, "a jobSourceId, and not both"),
        ({"url": "http://a", "secrets": {"A": "1"}}, 400, "secrets go with a jobSourceId"),
        ({"jobSourceId": "SOURCE", "secrets": {"A-B": "1"}}, 400, "Invalid name in secrets"),
    ],
)
def test_webhook_when_its_job_cannot_be_had_then_says_why(
    hub: LocalHub, source: str, body: dict[str, Any], status: int, message: str
) -> None:
    given = {key: source if value == "SOURCE" else value for key, value in body.items()}
    answer = httpx.post(
        f"{hub.url}/api/settings/webhooks",
        json={**given, "watched": []},
        headers={"Authorization": f"Bearer {hub.token}"},
    )
    assert (answer.status_code, message in answer.json()["error"]) == (status, True)


def test_webhook_when_the_job_is_anothers_then_it_looks_missing(hub: LocalHub, source: str) -> None:
    token = hub.add_user("stranger")
    answer = httpx.post(
        f"{hub.url}/api/settings/webhooks",
        json={"jobSourceId": source, "watched": []},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (answer.status_code, "does not exist" in answer.text) == (404, True)
