"""A round as a Job of the Hub: the parcel, the price, the faults, and a round on a Local Hub."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub_trainer.away.inside import ROUNDS, Keeper
from hub_trainer.away.job import follow, price_told
from hub_trainer.away.parcel import EXIT_MARK, REQUIREMENTS, round_digest, send_parcel
from hub_trainer.errors import Interrupted, TrainingError, UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.hub_jobs import Flavor, HubJob, HubJobs
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import load_recipe
from tests.cli.conftest import Cli, cli, hub  # noqa: F401 - fixtures
from tests.cli.seeded import OWNER, seed, write_recipe

A10G = Flavor("a10g-large", "Nvidia A10G - large, 12 vCPU, 46 GB", 1.5)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(allow_jobs=True) as running:
        seed(Hub(running.url, running.token), tmp_path_factory.mktemp("seed"))
        yield running


@pytest.mark.parametrize(
    ("usd_per_hour", "told"),
    [
        (1.5, "for 2.5 h at most: $1.50 an hour, so $3.75 at most."),
        (0.0, "for 2.5 h at most: costs nothing."),
        (None, "for 2.5 h at most: the Hub does not say what it costs."),
    ],
)
def test_price_when_told_then_is_of_the_whole_limit(usd_per_hour: float | None, told: str) -> None:
    assert price_told(Flavor("x", "one", usd_per_hour), 9000) == f"x (one) {told}"


def test_flavors_when_priced_by_the_minute_then_are_told_by_the_hour() -> None:
    one = SimpleNamespace(
        name="t4-small",
        pretty_name="Nvidia T4",
        cpu="4 vCPU",
        ram="15 GB",
        accelerator=SimpleNamespace(quantity="1", model="T4", vram="16 GB"),
        unit_cost_usd=0.00667,
        unit_label="minute",
    )
    fake: Any = Hub("http://127.0.0.1:1", "hf_x")
    fake._api = SimpleNamespace(list_jobs_hardware=lambda: [one])
    [found] = HubJobs(fake, "ada").flavors()
    assert found.usd_per_hour == pytest.approx(0.4, abs=0.01)
    assert found.told == "Nvidia T4, 4 vCPU, 15 GB, 1 x T4 16 GB"


def test_parcel_when_sent_then_is_private_and_holds_program_recipe_and_versions(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
) -> None:
    recipe = load_recipe(write_recipe(cli.folder / "parcel.yaml", "text"))
    (cli.folder / "ddp.yaml").write_text("num_processes: 2\n")
    parcel = send_parcel(hub, OWNER, recipe, ["train.seed=7"], cli.folder / "ddp.yaml")
    assert hub.is_private(parcel.repo)
    assert parcel.arguments[:2] == ("parcel.yaml", "train.seed=7")
    there = {file.path for file in hub.list_files(parcel.repo, parcel.commit_sha)}
    assert {
        "round/parcel.yaml",
        "round/accelerate.yaml",
        "code/hub_trainer/cli/__init__.py",
    } <= there
    needed = hub.read_file(parcel.repo, REQUIREMENTS, parcel.commit_sha).decode()
    assert "torch==" in needed
    assert "+" not in needed
    again = send_parcel(hub, OWNER, recipe, ["train.seed=7"], cli.folder / "ddp.yaml")
    assert again == parcel


def test_parcel_when_its_repo_is_public_then_nothing_is_sent(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
) -> None:
    hub.create_repo(Repo(f"{OWNER}/open-model-jobs", "dataset"), private=False)
    recipe = load_recipe(write_recipe(cli.folder / "open.yaml", "text"))
    with pytest.raises(UsageError, match="hands a round to its job is not private"):
        send_parcel(hub, OWNER, recipe, [])


def test_digest_when_overrides_differ_then_it_is_another_round(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml", "text"))
    one, two = (round_digest(recipe, [text], None) for text in ("train.seed=1", "train.seed=2"))
    assert one != two
    assert len(one) <= 100


def test_kept_round_when_restored_then_is_as_it_was_and_forgotten_at_the_end(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
) -> None:
    repo = Repo(f"{OWNER}/kept-jobs", "dataset")
    hub.create_repo(repo, private=True)
    keeper = Keeper(hub, repo)
    keeper.restore()
    assert not ROUNDS.exists()
    (ROUNDS / "r" / ".train.draft").mkdir(parents=True)
    (ROUNDS / "r" / ".train.draft" / "weights.safetensors").write_bytes(os.urandom(50_000))
    (ROUNDS / "r" / ".claim").write_text("")
    kept = (ROUNDS / "r" / ".train.draft" / "weights.safetensors").read_bytes()
    keeper.keep()
    tip = hub.resolve(repo)
    keeper.keep()
    assert hub.resolve(repo) == tip
    (cli.folder / "elsewhere").mkdir()
    os.chdir(cli.folder / "elsewhere")
    Keeper(hub, repo).restore()
    assert [path for path in ROUNDS.rglob("*") if path.is_file()] == [
        ROUNDS / "r" / ".train.draft" / "weights.safetensors"
    ]
    assert (ROUNDS / "r" / ".train.draft" / "weights.safetensors").read_bytes() == kept
    keeper.forget()
    assert not [one for one in hub.list_files(repo, "main") if one.path.startswith("kept/")]


def test_keep_when_the_hub_is_down_then_the_round_goes_on(
    cli: Cli,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_trainer.hub.MAX_ATTEMPTS", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client's waits between tries
    ROUNDS.mkdir()
    (ROUNDS / "a").write_text("a")
    Keeper(Hub("http://127.0.0.1:1", "hf_x"), Repo("a/b", "dataset")).keep()
    assert "The round could not be kept" in caplog.text


class FakeJobs:
    """A job that has said its lines and ended."""

    def __init__(self, lines: list[str], stage: str, message: str | None = None) -> None:
        self.lines, self.job = lines, HubJob("1", "http://hub/jobs/a/1", stage, message)

    def logs(self, job_id: str) -> list[str]:
        return self.lines

    def inspect(self, job_id: str) -> HubJob:
        return self.job


@pytest.mark.parametrize(
    ("lines", "stage", "code"),
    [
        (["a", f"{EXIT_MARK} 6"], "ERROR", 6),
        ([f"{EXIT_MARK} 0"], "COMPLETED", 0),
        ([], "COMPLETED", 0),
    ],
)
def test_end_when_the_round_said_its_code_then_that_is_it(
    lines: list[str], stage: str, code: int
) -> None:
    jobs: Any = FakeJobs(lines, stage)
    told: list[str] = []
    assert follow(jobs, jobs.job, tell=told.append) == code
    assert EXIT_MARK not in "".join(told)


def test_end_when_the_job_was_stopped_then_says_how_to_go_on() -> None:
    canceled: Any = FakeJobs([], "CANCELED")
    with pytest.raises(Interrupted, match="The job was canceled"):
        follow(canceled, canceled.job, tell=print)
    late: Any = FakeJobs([], "ERROR", "Job timeout")
    with pytest.raises(TrainingError, match="ended before its round did") as caught:
        follow(late, late.job, tell=print)
    assert caught.value.got == "ERROR: Job timeout"
    assert "give it more with --time" in str(caught.value.do)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "moon"], "--on names no place to run a round."),
        (["--on", "jobs:"], "--on names no place to run a round."),
        (["--time", "2h"], "--time changes nothing without --on."),
        (["--on", "slurm", "--detach"], "--detach changes nothing with --on slurm."),
        (
            ["--on", "jobs:cpu-basic", "--gpus", "1"],
            "--gpus changes nothing with --on jobs:cpu-basic.",
        ),
        (["--on", "slurm", "--fresh"], "--fresh cannot go with --on"),
        (["--on", "jobs:cpu-basic", "--round-dir", "x"], "--round-dir cannot go with --on jobs"),
        (["--on", "jobs:cpu-basik"], "Did you mean cpu-basic? It has cpu-basic."),
        (["--on", "jobs:cpu-basic", "--secret", "NO_SUCH"], "which is not set here"),
        (["--on", "jobs:cpu-basic", "--time", "soon"], "--time is no time limit."),
    ],
)
def test_command_when_it_cannot_be_carried_out_then_says_why(
    cli: Cli,  # noqa: F811
    options: list[str],
    message: str,
) -> None:
    told = cli("run", write_recipe(cli.folder / "wrong.yaml", "table"), *options)
    assert told.code == 2, told.err
    assert message in told.err


def test_command_when_there_is_no_token_then_says_so(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    told = cli("run", write_recipe(cli.folder / "r.yaml", "table"), "--on", "jobs:cpu-basic")
    assert told.code == 4
    assert "There is no token, and a job runs in somebody's name." in told.err


def test_command_when_the_hub_has_no_jobs_then_says_so(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LocalHub() as without:
        for name, value in without.environment().items():
            monkeypatch.setenv(name, value)
        told = cli("run", write_recipe(cli.folder / "r.yaml", "table"), "--on", "jobs:cpu-basic")
    assert told.code == 4
    assert "This Hub offers no jobs." in told.err
    assert "--allow-jobs" in told.err


def _job_of(cli: Cli, *options: object) -> Any:  # noqa: F811
    told = cli.run("run", *options, "--json")
    assert told.code == 0, told.err
    return told.json


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_round_when_sent_as_a_job_then_is_published_and_its_log_was_told(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
) -> None:
    recipe = write_recipe(cli.folder / "sent.yaml", "text")
    given = [
        "train.seed=7",
        "--on",
        "jobs:cpu-basic",
        "--time",
        "10m",
        "--json",
    ]
    told = cli.run("run", recipe, *given)
    assert told.code in (0, 6), told.err
    for part in ("costs nothing.", "publish     done", "Round 1: "):
        assert part in told.err
    assert str(cli.environment["HF_TOKEN"]) not in told.err
    assert told.json["stage"] == ("ERROR" if told.code else "COMPLETED")
    assert "Fetching" not in told.err
    assert hub.exists(Repo(f"{OWNER}/sent-model"))
    kept = hub.list_files(Repo(f"{OWNER}/sent-model-jobs", "dataset"), "main")
    assert not [one for one in kept if one.path.startswith("kept/")]
    again = cli.run("run", recipe, *given)
    assert again.code == 0, again.err
    assert "Nothing is new since round 1" in again.err
    assert again.json == {"start": "nothing new"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_round_when_its_job_is_canceled_then_the_same_command_finds_it_and_later_resumes(
    cli: Cli,  # noqa: F811
    hub: Hub,  # noqa: F811
    local: LocalHub,
) -> None:
    recipe = write_recipe(cli.folder / "long.yaml", "text")
    settings = ["num_train_epochs=100", "save_strategy=epoch", "eval_strategy=epoch"]
    command = [recipe, *(f"train.arguments.{one}" for one in settings)]
    command += ["--on", "jobs:cpu-basic", "--time", "20m"]
    first = _job_of(cli, *command, "--detach")
    second = cli.run("run", *command, "--detach", "--json")
    assert second.json["id"] == first["id"]
    assert "This round runs already" in second.err
    jobs = HubJobs(hub, OWNER)
    for line in jobs.logs(first["id"]):
        if "step 10" in line:
            jobs._hub._api.cancel_job(job_id=first["id"], namespace=OWNER)
            break
    while not jobs.inspect(first["id"]).has_ended:
        time.sleep(0.2)
    assert jobs.inspect(first["id"]).stage == "CANCELED"
    told = cli.run("run", *command, "--json")
    assert told.code in (0, 6), told.err
    assert "An earlier try has kept its round; this one resumes it." in told.err
    assert "resumes" in told.err
    assert told.json["id"] != first["id"]
