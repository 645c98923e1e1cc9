"""A round that is cut off by a signal, a full disk or a Hub that goes: run again, it goes on."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from hub_trainer.artifacts import find_artifact
from hub_trainer.hub import Hub, Repo
from tests.cli.conftest import REPO, Cli
from tests.cli.seeded import OWNER, seed, write_recipe

pytestmark = pytest.mark.slow
PUBLISHING = ("/repos/create", "/preupload/", "/commit/main", "/tag/")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_training_when_signalled_then_75_and_the_same_command_goes_on(
    cli: Cli, hub: Hub, number: signal.Signals
) -> None:
    name = f"stopped-{number.name.lower()}"
    arguments = {"num_train_epochs": 100, "save_strategy": "epoch", "eval_strategy": "epoch"}
    recipe = write_recipe(cli.folder / f"{name}.yaml", "text")
    command = ["run", recipe, *(f"train.arguments.{k}={v}" for k, v in arguments.items())]
    process = cli.start(*command)
    assert process.stderr is not None
    said = list(_until("step 10", process.stderr))
    process.send_signal(number)
    said.append(process.communicate(timeout=120)[1])
    assert process.returncode == 75, "".join(said)
    assert "Traceback" not in "".join(said)
    assert "again" in said[-1]
    assert not hub.exists(Repo(f"{OWNER}/{name}-model"))
    again = cli.run(*command, "--json")
    assert again.code in (0, 6), again.err
    trained = find_artifact(cli.folder / again.json["round_dir"] / "train")
    assert trained is not None
    assert trained.outputs["fit"]["resumed_from"] >= 5


def test_disk_when_full_then_5_and_with_room_the_same_command_goes_on(cli: Cli, hub: Hub) -> None:
    recipe = write_recipe(cli.folder / "full.yaml", "text")
    command = ["run", recipe, "--round-dir", cli.folder / "disk" / "round", "--json"]
    with small_disk(cli.folder / "disk", "300k") as grow:
        told = cli.run(*command)
        assert told.code == 5, told.err
        assert "There is not enough disk space for a checkpoint." in told.err
        assert "Traceback" not in told.err
        assert told.json["exit_code"] == 5
        assert not hub.exists(Repo(f"{OWNER}/full-model"))
        grow("300m")
        again = cli.run(*command)
        assert again.code in (0, 6), again.err


def test_file_when_it_may_not_grow_then_5(cli: Cli) -> None:
    recipe = write_recipe(cli.folder / "short.yaml", "table")
    limit = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
    limit += "runpy.run_module('hub_trainer', run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", limit, "run", str(recipe)],
        env={**cli.environment, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=cli.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert ended.returncode == 5, ended.stderr
    assert "The disk is full." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_hub_when_gone_in_mid_publish_then_4_and_the_round_is_published_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ServedHub(tmp_path / "hub-data")
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", served.token)
    hub = Hub(served.url, served.token)
    seed(hub, tmp_path / "seed")
    recipe = write_recipe(cli.folder / "gone.yaml", "table")
    try:
        for fragment in PUBLISHING:
            with before_request(fragment, served.kill):
                told = cli("run", recipe)
            assert told.code == 4, f"{fragment}: {told.err}"
            assert "does not answer" in told.err
            assert "goes on" in told.err
            served.start()
        last = cli("run", recipe, "--json")
        assert last.code == 0, last.err
        repo = Repo(f"{OWNER}/gone-model")
        rounds = [entry for entry in hub.history(repo) if "Hub-Trainer-Run" in entry.message]
        assert [entry.commit_sha for entry in rounds] == [last.json["model"]["commit_sha"]]
        assert hub.tags(repo) == {"round-1": last.json["model"]["commit_sha"]}
        assert last.json["round"] == 1
    finally:
        served.kill()


class ServedHub:
    """`hub-trainer hub serve` as a process that can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data, self.url, self.token = data, "", ""
        self.start()

    def start(self) -> None:
        port = self.url.rsplit(":", 1)[-1] or "0"
        command = [sys.executable, "-m", "hub_trainer", "hub", "serve", "--port", port]
        self.process = subprocess.Popen(
            [*command, "--data", str(self.data)],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        with self.process.stdout as told:
            line = json.loads(told.readline())
        self.url, self.token = line["url"], line["token"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def before_request(fragment: str, act: Any) -> Iterator[None]:
    """Do something before the first request whose path holds `fragment`."""
    met = []

    def hook(request: httpx.Request) -> None:
        if fragment in request.url.path and not met:
            met.append(request.url.path)
            act()

    def factory() -> httpx.Client:
        client = default_client_factory()
        client.event_hooks = {**client.event_hooks, "request": [hook]}
        return client

    set_client_factory(factory)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)
    assert met, f"no request to {fragment}"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Any]:
    """A tmpfs of this size; yields a function that gives it another."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")

    def grow(new: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={new}", str(folder)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _until(word: str, stream: Any) -> Iterator[str]:
    for line in stream:
        yield line
        if word in line:
            return
