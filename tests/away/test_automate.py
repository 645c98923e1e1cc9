"""Rounds that nobody starts: what watches, what a look starts, and what it leaves alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hub_trainer.away import look as look_module
from hub_trainer.away.job import IS_NO_NEWS, IS_THERE, LABEL
from hub_trainer.away.look import MAX_TRIES, PINS_LABEL, Look, after_round, main
from hub_trainer.away.orders import LOOK_LABEL, ORDERS, Orders
from hub_trainer.away.parcel import pinned_requirements
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.hub_jobs import HubJob, HubJobs
from hub_trainer.local_hub import LocalHub
from tests.cli.conftest import Cli, cli, hub  # noqa: F401 - fixtures
from tests.cli.seeded import OWNER, TABLE, seed, write_recipe

ORDER = Orders(
    repo_id=f"{OWNER}/x-jobs",
    commit_sha="0" * 40,
    arguments=("x.yaml", "train.seed=7"),
    digest="d" * 32,
    flavor="cpu-basic",
    seconds=60,
    secrets=(),
    min_rows=1,
)
COMMENT = {"event": {"action": "create", "scope": "discussion.comment"}}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(allow_jobs=True) as running:
        seed(Hub(running.url, running.token), tmp_path_factory.mktemp("seed"))
        yield running


class FakeJobs:
    """Jobs that are there, and those that were ordered."""

    namespace = OWNER

    def __init__(self, *there: HubJob, labels: dict[str, str] | None = None) -> None:
        self.there, self.ordered = list(there), []  # type: ignore[var-annotated]

    def with_labels(self, labels: dict[str, str], stages: tuple[str, ...]) -> list[HubJob]:
        return [job for job in self.there if job.stage in stages]

    def inspect(self, job_id: str) -> HubJob:
        return next(job for job in self.there if job.id == job_id)

    def start(self, order: Any) -> HubJob:
        self.ordered.append(order)
        return job("new")


def job(name: str, stage: str = "RUNNING", created: str = "1") -> HubJob:
    return HubJob(name, f"http://hub/jobs/{name}", stage, "Exit code 5", created)


@pytest.fixture
def look(cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """A look at a recipe whose model is not there yet; its jobs are a fake's."""
    write_recipe(cli.folder / "x.yaml", "table", serve=None)
    monkeypatch.setenv("JOB_ID", "me")
    made = Look(ORDER, hub)
    made._jobs = FakeJobs()  # type: ignore[assignment]
    return made


def test_orders_when_sent_then_come_back_as_they_were() -> None:
    assert Orders.from_text(ORDER.to_text()) == ORDER


def test_event_when_it_is_a_comment_then_nothing_is_installed_for_it() -> None:
    for payload, code in ((COMMENT, 0), ({"event": {"scope": "discussion"}}, 1), (None, 1)):
        environment = {**os.environ, "WEBHOOK_PAYLOAD": json.dumps(payload) if payload else ""}
        ended = subprocess.run([sys.executable, "-c", IS_NO_NEWS], env=environment, check=False)
        assert ended.returncode == code


def test_packages_when_they_are_there_then_pip_is_not_asked() -> None:
    def code(*asked: str) -> int:
        return subprocess.run([sys.executable, "-c", IS_THERE, *asked], check=False).returncode

    assert code(*pinned_requirements()) == 0
    assert code("huggingface-hub==0.0.1") == 1
    assert code("no-such-package==1.0") == 1


def test_command_when_given_then_the_hub_watches_and_again_it_is_replaced(
    cli: Cli,  # noqa: F811
    local: LocalHub,
    hub: Hub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_trainer.away.job.SCRIPT", "true")
    monkeypatch.setenv("MY_KEY", "never-shown")
    recipe = write_recipe(cli.folder / "watched.yaml", "table")
    command = ["automate", recipe, "--on", "jobs:cpu-basic", "--time", "30m", "--secret", "MY_KEY"]
    told = cli(*command, "--min-rows", "20", "--schedule", "@weekly", "--json")
    assert told.code == 0, told.err
    assert "A round: cpu-basic" in told.err
    assert f"Watched: dataset {TABLE}, dataset {OWNER}/watched-ratings; and @weekly." in told.err
    assert "never-shown" not in told.err + told.out
    api = HfApi(endpoint=local.url, token=local.token)
    [hook] = api.list_webhooks()
    assert [(one.type, one.name) for one in hook.watched] == [
        ("dataset", TABLE),
        ("dataset", f"{OWNER}/watched-ratings"),
    ]
    assert hook.job is not None
    assert hook.job.secrets == {"HF_TOKEN": "", "MY_KEY": ""}
    assert hook.job.labels is not None
    assert LOOK_LABEL in hook.job.labels
    orders = Orders.from_text(str((hook.job.command or [""])[-1]))
    assert (orders.min_rows, orders.seconds, orders.flavor) == (20, 1800, "cpu-basic")
    [schedule] = api.list_scheduled_jobs(namespace=OWNER)
    assert schedule.schedule == "@weekly"
    again = cli(*command, "--schedule", "never", "--json")
    assert "2 webhooks and schedules of an earlier call are replaced." in again.err
    assert again.json["schedule"] is None
    assert len(api.list_webhooks()) == 1
    assert not list(api.list_scheduled_jobs(namespace=OWNER))
    stopped = cli("automate", recipe, "--stop", "--json")
    assert stopped.json == {"removed": 1}
    assert not api.list_webhooks()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--on says on which hardware of the Hub rounds run."),
        (["--on", "slurm"], "Write --on jobs:FLAVOR, as jobs:a10g-large."),
        (["--on", "jobs:gpu"], "The Hub has no such hardware for jobs."),
        (["--on", "jobs:cpu-basic", "--time", "1h", "--secret", "NO_SUCH"], "is not set here"),
    ],
)
def test_command_when_it_cannot_be_carried_out_then_says_why(
    cli: Cli,  # noqa: F811
    options: list[str],
    message: str,
) -> None:
    told = cli("automate", write_recipe(cli.folder / "wrong.yaml", "table"), *options)
    assert told.code == 2, told.err
    assert message in told.err


def test_schedule_when_it_is_none_then_says_so(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_trainer.away.job.SCRIPT", "true")
    recipe = write_recipe(cli.folder / "odd.yaml", "table")
    command = ["automate", recipe, "--on", "jobs:cpu-basic", "--time", "1h"]
    told = cli(*command, "--schedule", "soon")
    assert told.code == 4, told.err
    assert "soon" in told.err
    assert cli("automate", recipe, "--stop").code == 0


def test_round_when_something_is_new_then_its_job_is_started_with_the_orders(look: Any) -> None:
    look.begin()
    [order] = look._jobs.ordered
    assert order.labels[LABEL] == ORDER.digest
    assert Orders.from_text(order.environment[ORDERS]) == ORDER
    assert list(order.secrets) == ["HF_TOKEN"]
    assert order.command[-3:] == ["inside", "x.yaml", "train.seed=7"]
    assert look.code == 0


def test_round_when_one_is_at_work_then_no_other_is_started(
    look: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    look._jobs.there = [job("me"), job("other")]
    look.begin()
    assert look._jobs.ordered == []
    assert "round: one is at work: http://hub/jobs/other" in caplog.text
    look._jobs.there = [job("me")]
    look.begin()
    assert len(look._jobs.ordered) == 1


def test_round_when_it_has_failed_often_then_a_person_has_to_look(
    look: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look._jobs.there = [job(str(number), "ERROR") for number in range(MAX_TRIES)]
    look.begin()
    assert look._jobs.ordered == []
    assert look.code == 5
    assert f"Round 1 has failed {MAX_TRIES} times with the same data." in caplog.text
    assert "Read the log of that job." in caplog.text


def test_turn_when_others_look_then_one_waits_and_the_rest_leave(
    look: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    me, later = job("me", created="3"), job("later", created="4")
    look._jobs.there = [later, me, job("b", created="2"), job("a", created="1")]
    assert not look.takes_its_turn()
    assert "Another look waits already." in caplog.text
    look._jobs.there = [later, me, job("a", created="1")]
    waited = []

    def end_it(seconds: float) -> None:
        waited.append(seconds)
        look._jobs.there = [later, me, job("a", "COMPLETED", "1")]

    monkeypatch.setattr(look_module.time, "sleep", end_it)
    assert look.takes_its_turn()
    assert len(waited) == 1


def test_look_when_one_part_fails_then_the_others_go_on_and_the_code_says_so(
    look: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hub_trainer.errors import DataError

    def fails(*_: object) -> None:
        raise DataError("No row can be used.", do="Mend it.")

    monkeypatch.setattr(look_module, "sweep", fails)
    look.review()
    assert "review: error: No row can be used." in caplog.text
    look.begin()
    assert (look.code, len(look._jobs.ordered)) == (3, 1)


def test_look_when_the_hub_is_gone_then_its_code_says_so(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("hub_trainer.hub.MAX_ATTEMPTS", 1)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    write_recipe(cli.folder / "x.yaml", "table")
    assert main([ORDER.repo_id, ORDER.to_text()]) == 4
    assert "does not answer" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rounds_when_published_then_rows_are_counted_and_nothing_new_starts_nothing(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
    local: LocalHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    recipe = write_recipe(cli.folder / "known.yaml", "table")
    assert cli("run", recipe, "train.seed=7").code == 0
    orders = replace(ORDER, arguments=("known.yaml", "train.seed=7"), min_rows=3)
    monkeypatch.setenv("JOB_ID", "me")
    monkeypatch.setenv(ORDERS, orders.to_text())
    fake: Any = FakeJobs()
    monkeypatch.setattr(look_module, "HubJobs", lambda *_: fake)
    after_round(hub)
    assert "Nothing is new since round 1" in caplog.text
    assert "serve: http" in caplog.text
    caplog.clear()
    _add_rows(hub, 2)
    after_round(hub)
    assert "round: 2 new rows; it takes 3." in caplog.text
    assert "serve" not in caplog.text
    assert fake.ordered == []
    _add_rows(hub, 4)
    after_round(hub)
    [order] = fake.ordered
    assert PINS_LABEL in order.labels


def _add_rows(hub: Hub, count: int) -> None:  # noqa: F811
    lines = ["size,legs,wild,color,label", *(f"{i}.25,4,True,red,big" for i in range(count))]
    repo = Repo(TABLE, "dataset")
    files = {"train.csv": _grown(hub, repo, lines[1:])}
    hub.commit(repo, Changes(files), message="Rows", run_id=f"rows-{count}")


def _grown(hub: Hub, repo: Repo, lines: list[str]) -> bytes:  # noqa: F811
    """The first rows, and these."""
    path = Path("first.csv")
    if not path.exists():
        path.write_bytes(hub.read_file(repo, "train.csv", hub.resolve(repo)) or b"")
    return path.read_bytes() + ("\n".join(lines) + "\n").encode()


def test_secrets_when_one_is_gone_then_the_others_are_handed_on(
    hub: Hub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hub_trainer.away.automation import secrets_here

    monkeypatch.setenv("THERE", "1")
    assert set(secrets_here(("THERE", "GONE"), hub)) == {"THERE", "HF_TOKEN"}


def test_jobs_when_not_asked_for_by_label_then_keep_their_webhooks(local: LocalHub) -> None:
    api = HfApi(endpoint=local.url, token=local.token)
    api.create_webhook(url="http://127.0.0.1:9", watched=[])
    assert HubJobs(Hub(local.url, local.token), OWNER).start_no_more({LOOK_LABEL: "x"}) == 0
    [kept] = api.list_webhooks()
    api.delete_webhook(kept.id)
