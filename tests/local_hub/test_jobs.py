"""Jobs, by the client's own calls: environment, secrets, time, logs, ends, and who may."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_trainer.local_hub import LocalHub
from hub_trainer.local_hub.job_runner import MAX_AT_ONCE
from hub_trainer.local_hub.jobs import list_jobs

SAY = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub(allow_jobs=True) as running:
        running.add_org("lab", {"admin": "admin", "reader": "read"})
        yield running


@pytest.fixture(scope="module")
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def _run(api: HfApi, code: str, **options: Any) -> str:
    command = ["python", "-c", code]
    options = {"namespace": "admin", "image": "python:3.12", "command": command, **options}
    return str(api.run_job(**options).id)


def _end(api: HfApi, job_id: str) -> Any:
    return api.wait_for_job(job_id=job_id, namespace="admin", timeout=60, poll_interval=0.1)


def _logs(api: HfApi, job_id: str, **options: Any) -> list[str]:
    return list(api.fetch_job_logs(job_id=job_id, namespace="admin", **options))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_job_when_done_then_completed_with_its_logs(api: HfApi) -> None:
    job_id = _run(api, "print('one'); print('two')", labels={"round": "1"})
    assert _logs(api, job_id, follow=True) == ["one", "two"]
    job = _end(api, job_id)
    assert (job.status.stage, job.status.message) == ("COMPLETED", None)
    assert job.docker_image == "python:3.12"
    assert job.labels["round"] == "1"
    assert job.started_at <= job.finished_at
    # The client drops lines of the second that the answer's Date names, whose clock may lag.
    until = time.monotonic() + 20
    while (found := _logs(api, job_id, follow=False, tail=1)) != ["two"]:
        assert time.monotonic() < until, found


def test_logs_when_the_job_still_runs_then_come_as_they_are_said(api: HfApi) -> None:
    job_id = _run(api, "import time; print('now'); time.sleep(60)")
    logs = iter(api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True))
    assert next(logs) == "now"
    assert api.inspect_job(job_id=job_id, namespace="admin").status.stage == "RUNNING"
    api.cancel_job(job_id=job_id, namespace="admin")
    assert list(logs) == []


def test_job_when_it_fails_then_error_with_its_code(api: HfApi) -> None:
    job = _end(api, _run(api, "raise SystemExit(7)"))
    assert (job.status.stage, job.status.message) == ("ERROR", "Exit code 7")


def test_job_when_its_program_is_missing_then_error_says_so(api: HfApi) -> None:
    job_id = _run(api, "", command=["no-such-program"])
    assert _end(api, job_id).status.message == "Cannot start: No such file or directory"
    assert _logs(api, job_id, follow=True) == ["no-such-program: No such file or directory"]


def test_environment_when_printed_then_holds_the_jobs_own_and_nothing_of_the_server(
    api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SECRET", "of-the-server")
    job_id = _run(api, SAY, env={"SEED": 1}, secrets={"HF_TOKEN": "hf_secret"})
    said = "\n".join(_logs(api, job_id, follow=True))
    assert "SERVER_SECRET" not in said
    for part in ('"SEED": "1"', '"HF_TOKEN": "hf_secret"', f'"JOB_ID": "{job_id}"'):
        assert part in said


def test_secrets_when_a_job_is_looked_at_then_only_their_names_are_shown(
    hub: LocalHub, api: HfApi
) -> None:
    job_id = _run(api, "pass", secrets={"KEY": "never-shown"})
    _end(api, job_id)
    answers = [
        httpx.get(
            f"{hub.url}/api/jobs/admin{path}", headers={"Authorization": f"Bearer {api.token}"}
        )
        for path in ("", f"/{job_id}", f"/{job_id}/logs")
    ]
    assert [one.status_code for one in answers] == [200, 200, 200]
    assert not [one for one in answers if "never-shown" in one.text]
    assert list(api.inspect_job(job_id=job_id, namespace="admin").secrets or {}) == ["KEY"]
    kept = [path for path in hub.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"never-shown" in path.read_bytes()]


def test_packages_when_a_job_installs_one_then_the_server_has_it_not(
    api: HfApi, tmp_path: Path
) -> None:
    (tmp_path / "setup.py").write_text("")
    code = "import sys, sysconfig, pip; print(sysconfig.get_path('purelib')); print(sys.prefix)"
    job_id = _run(api, code)
    place, prefix = _logs(api, job_id, follow=True)
    assert place.startswith(prefix)
    assert job_id in prefix


def test_job_when_its_time_is_up_then_error_says_so(api: HfApi) -> None:
    job = _end(api, _run(api, "import time; time.sleep(60)", timeout=1))
    assert job.status.stage == "ERROR"
    assert job.status.message == "Job timeout: it ran for 1 seconds"


def test_timeout_when_none_is_asked_for_then_half_an_hour(hub: LocalHub, api: HfApi) -> None:
    _end(api, _run(api, "pass"))
    assert list_jobs(hub.core.store, "admin")[0].spec.timeout_seconds == 1800


def test_cancel_when_processes_have_left_the_group_then_they_end_too(api: HfApi) -> None:
    code = (
        "import subprocess, sys, time\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "for new in (False, True):\n"
        "    print(subprocess.Popen(sleep, start_new_session=new).pid)\n"
        "time.sleep(600)"
    )
    job_id = _run(api, code)
    logs = iter(api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True))
    children = [int(next(logs)), int(next(logs))]
    assert all(_alive(pid) for pid in children)
    api.cancel_job(job_id=job_id, namespace="admin")
    list(logs)
    assert _end(api, job_id).status.stage == "CANCELED"
    assert not [pid for pid in children if _alive(pid)]


def test_cancel_when_the_job_minds_the_signal_then_it_may_say_a_last_word(api: HfApi) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(75)))\n"
        "print('ready'); time.sleep(600)"
    )
    job_id = _run(api, code)
    logs = iter(api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True))
    assert next(logs) == "ready"
    api.cancel_job(job_id=job_id, namespace="admin")
    assert "saved" in [*logs, *_logs(api, job_id, follow=True)]


def test_cancel_when_the_job_still_waits_then_it_never_begins(api: HfApi) -> None:
    busy = [_run(api, "import time; time.sleep(600)") for _ in range(MAX_AT_ONCE)]
    waiting = _run(api, "print('begun')")
    assert api.inspect_job(job_id=waiting, namespace="admin").status.stage == "SCHEDULING"
    api.cancel_job(job_id=waiting, namespace="admin")
    job = api.inspect_job(job_id=waiting, namespace="admin")
    assert (job.status.stage, job.started_at) == ("CANCELED", None)
    for job_id in busy:
        api.cancel_job(job_id=job_id, namespace="admin")
    assert {_end(api, job_id).status.stage for job_id in busy} == {"CANCELED"}
    assert _logs(api, waiting, follow=True) == []


def test_list_when_asked_by_stage_and_label_then_those(api: HfApi) -> None:
    one = _run(api, "pass", labels={"kind": "a", "x": "1"})
    two = _run(api, "raise SystemExit(1)", labels={"kind": "a", "x": "2"})
    for job_id in (one, two):
        _end(api, job_id)
    found = list(api.list_jobs(namespace="admin", labels={"kind": "a"}))
    assert [job.id for job in found] == [two, one]
    failed = list(api.list_jobs(namespace="admin", status="ERROR", labels={"kind": "a"}))
    assert [job.id for job in failed] == [two]
    changed = api.update_job_labels(job_id=one, labels={"kind": "b"}, namespace="admin")
    assert changed.labels == {"kind": "b"}
    assert not list(api.list_jobs(namespace="admin", labels={"kind": "a", "x": "1"}))


def test_hardware_when_listed_then_this_machine_at_no_cost(api: HfApi) -> None:
    assert [(one.name, one.unit_cost_usd) for one in api.list_jobs_hardware()] == [("cpu-basic", 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavor": "a10g-large"}, "Unknown flavor 'a10g-large'"),
        ({"image": "hf.co/spaces/a/b"}, "images of Spaces cannot run here"),
        ({"command": []}, "A job needs a command."),
        ({"env": {"A-B": "1"}}, "Invalid name in environment: 'A-B'"),
        ({"secrets": {"A": "\0"}}, "The value of A in secrets must be text"),
        ({"labels": {"a b": "1"}}, "labels must map words to words"),
        ({"timeout": -1}, "timeoutSeconds must be a whole number"),
        ({"ssh": True}, "This Local Hub has no ssh of jobs"),
    ],
)
def test_job_when_it_cannot_run_here_then_says_why(
    api: HfApi, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(HfHubHTTPError, match=message):
        _run(api, "pass", **options)


def test_stage_when_there_is_no_such_then_says_which_there_are(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="stage must be one of COMPLETED"):
        list(api.list_jobs(namespace="admin", status="DONE"))


def test_job_when_of_another_namespace_then_looks_missing(hub: LocalHub, api: HfApi) -> None:
    job_id = _run(api, "pass")
    other = HfApi(endpoint=hub.url, token=hub.add_user("somebody"))
    for ask in (other.inspect_job, other.cancel_job):
        with pytest.raises(HfHubHTTPError, match="There are no such jobs"):
            ask(job_id=job_id, namespace="admin")
    with pytest.raises(HfHubHTTPError, match="There are no such jobs"):
        list(other.list_jobs(namespace="admin"))
    with pytest.raises(HfHubHTTPError, match="There are no such jobs"):
        list(other.fetch_job_logs(job_id=job_id, namespace="admin", follow=False))
    with pytest.raises(HfHubHTTPError, match="You don't have the rights"):
        _run(other, "pass")


def test_job_when_of_an_organisation_then_readers_see_it_and_cannot_start_or_end_one(
    hub: LocalHub, api: HfApi
) -> None:
    job_id = _run(api, "pass", namespace="lab")
    reader = HfApi(endpoint=hub.url, token=hub.add_user("reader"))
    assert reader.inspect_job(job_id=job_id, namespace="lab").owner.name == "lab"
    for ask in (
        lambda: reader.cancel_job(job_id=job_id, namespace="lab"),
        lambda: _run(reader, "pass", namespace="lab"),
    ):
        with pytest.raises(HfHubHTTPError, match="You don't have the rights"):
            ask()


def test_token_when_it_may_only_read_then_starts_nothing(hub: LocalHub) -> None:
    with pytest.raises(HfHubHTTPError, match="This token has the role read"):
        _run(HfApi(endpoint=hub.url, token=hub.add_token("admin", "read")), "pass")


def test_token_when_for_one_repo_then_sees_no_jobs(hub: LocalHub, api: HfApi) -> None:
    scopes = [{"entity": "models/admin/x", "permissions": ["read", "write"]}]
    narrow = HfApi(endpoint=hub.url, token=hub.add_token("admin", "fine-grained", scopes))
    with pytest.raises(HfHubHTTPError, match="There are no such jobs"):
        list(narrow.list_jobs(namespace="admin"))


def test_jobs_when_the_server_was_not_told_to_run_any_then_says_so() -> None:
    with LocalHub() as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        with pytest.raises(HfHubHTTPError, match="This Local Hub runs no jobs"):
            _run(api, "pass")
        with pytest.raises(HfHubHTTPError, match="This Local Hub runs no jobs"):
            list(api.list_jobs(namespace="admin"))


def test_command_when_told_to_allow_jobs_then_runs_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hub_trainer", "hub", "serve", "--allow-jobs"]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        api = HfApi(endpoint=told["url"], token=told["token"])
        assert _end(api, _run(api, "pass")).status.stage == "COMPLETED"
        server.terminate()


def test_server_when_stopped_then_ends_its_jobs_and_says_so_after_the_next_start(
    tmp_path: Path,
) -> None:
    with LocalHub(tmp_path, allow_jobs=True) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        job_id = _run(api, "import os, time; print(os.getpid()); time.sleep(600)")
        pid = int(next(iter(api.fetch_job_logs(job_id=job_id, namespace="admin", follow=True))))
    assert not _alive(pid)
    with LocalHub(tmp_path, allow_jobs=True) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        job = api.inspect_job(job_id=job_id, namespace="admin")
        assert (job.status.stage, job.status.message) == ("ERROR", "The Local Hub was stopped.")
        assert _logs(api, job_id, follow=True) == [str(pid)]


def test_job_when_the_server_was_killed_then_is_an_error_after_the_next_start(
    tmp_path: Path,
) -> None:
    with LocalHub(tmp_path, allow_jobs=True) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        job_id = _run(api, "pass")
        assert _logs(api, job_id, follow=True) == []
        with hub.core.store.write() as db:
            db.execute("UPDATE job SET stage = 'RUNNING'")
    with LocalHub(tmp_path, allow_jobs=True) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        message = api.inspect_job(job_id=job_id, namespace="admin").status.message
        assert message == "The Local Hub stopped while the job was at work."


def test_job_when_it_ends_then_its_leftovers_end_and_its_files_go(
    hub: LocalHub, api: HfApi
) -> None:
    code = (
        "import subprocess, sys; open('big', 'w').write('x'); "
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True).pid)"
    )
    job_id = _run(api, code)
    _end(api, job_id)
    pid = int(_logs(api, job_id, follow=True)[0])
    for _ in range(50):
        if not _alive(pid):
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        raise AssertionError("a process has outlived its job")
    assert [path.name for path in (hub.data_dir / "jobs" / job_id).iterdir()] == ["log.jsonl"]
