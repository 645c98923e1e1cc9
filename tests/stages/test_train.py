import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hub_trainer.answers import load_answer
from hub_trainer.artifacts import Artifact
from hub_trainer.errors import DataError, Interrupted, TrainingError
from hub_trainer.hub import Hub
from hub_trainer.lineage import PinnedRepo
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import train
from hub_trainer.tasks import ModelFolders, load_task
from tests.stages.prepared import prepare_round, push_model
from tests.tasks.factory import recipe, table_rows, text_base, text_rows

ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 3, "per_device_train_batch_size": 16}


def text_recipe(repo_id: str, **changes: Any) -> Recipe:
    settings = {"base_model": repo_id, "train__arguments": ARGUMENTS, **changes}
    return recipe("text-classification", **settings)


def table_recipe(**changes: Any) -> Recipe:
    return recipe("tabular-classification", base_model=None, **changes)


def weights(artifact: Artifact) -> bytes:
    return (artifact.folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def base(hub: Hub, local: LocalHub, tmp_path: Path) -> PinnedRepo:
    name = f"{local.user}/{tmp_path.name.lower()}"
    return push_model(hub, name, text_base(tmp_path / "base"))


@pytest.fixture
def text_round(base: PinnedRepo, tmp_path: Path) -> Path:
    return prepare_round(tmp_path / "round", text_rows(80), text_rows(9, seed=7), base_model=base)


def test_run_when_done_then_leaves_the_model_and_what_it_took(
    text_round: Path, base: PinnedRepo, hub: Hub
) -> None:
    said: list[tuple[float, str]] = []

    def progress(share: float, doing: str) -> None:
        said.append((share, doing))

    made = train.run(
        text_recipe(base.repo_id, train__arguments={**ARGUMENTS, "report_to": "tensorboard"}),
        text_round,
        hub,
        progress=progress,
    )
    names = {path.name for path in made.folder.iterdir()}
    assert names == {"model", "fit.json", "curve.png", "logs", "manifest.json"}
    fit = json.loads((made.folder / "fit.json").read_text())
    assert fit["method"] == "full"
    assert [entry["eval_accuracy"] for entry in fit["history"] if "eval_accuracy" in entry]
    assert made.outputs["fit"] == {k: v for k, v in fit.items() if k != "history"}
    assert (made.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert load_task("text-classification").predict(
        ModelFolders(made.folder / "model"), text_rows(2)
    )
    assert said[0] == (0.0, "downloading the base model")
    assert said[-1][0] == 1.0
    assert "step 12 of 12" in said[-1][1]
    logs = EventAccumulator(str(made.folder / "logs"))
    logs.Reload()
    assert "eval/accuracy" in logs.Tags()["scalars"]
    assert str(text_round) not in (made.folder / "manifest.json").read_text()


def test_run_when_inputs_are_the_same_then_does_nothing(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare_round(tmp_path, table_rows(60), [])
    first = train.run(table_recipe(), folder, hub)
    before = (first.folder / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(train, "task_of", lambda recipe: pytest.fail("trained again"))
    assert train.run(table_recipe(), folder, hub) == first
    assert (first.folder / "manifest.json").stat().st_mtime_ns == before


def test_run_when_a_setting_changes_then_trains_anew(tmp_path: Path, hub: Hub) -> None:
    folder = prepare_round(tmp_path, table_rows(60), [])
    first = train.run(table_recipe(), folder, hub)
    second = train.run(table_recipe(train__estimator="logistic_regression"), folder, hub)
    assert first.digest != second.digest
    config = json.loads((second.folder / "model" / "config.json").read_text())
    assert config["estimator"] == "logistic_regression"


def test_run_when_it_was_interrupted_then_goes_on_to_the_same_weights(
    text_round: Path, base: PinnedRepo, hub: Hub, tmp_path: Path
) -> None:
    chosen = text_recipe(base.repo_id)
    whole = weights(train.run(chosen, text_round, hub))

    def stop(share: float, doing: str) -> None:
        if doing.startswith("step 6 "):
            raise Interrupted("stopped")

    again = prepare_round(tmp_path / "2", text_rows(80), text_rows(9, seed=7), base_model=base)
    with pytest.raises(Interrupted):
        train.run(chosen, again, hub, progress=stop)
    assert not (again / "train").exists()
    resumed = train.run(chosen, again, hub)
    assert resumed.outputs["fit"]["resumed_from"] == 4
    assert weights(resumed) == whole


def test_run_when_from_scratch_then_fetches_no_weights(
    text_round: Path, base: PinnedRepo, hub: Hub, tmp_path: Path
) -> None:
    train.run(text_recipe(base.repo_id, train__method="scratch"), text_round, hub)
    fetched = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert "config.json" in fetched
    assert not any(name.endswith(".safetensors") for name in fetched)


def test_run_when_the_base_asks_for_code_then_refuses(
    hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    folder = text_base(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    pinned = push_model(hub, f"{local.user}/evil", folder)
    prepare_round(tmp_path, text_rows(30), [], base_model=pinned)
    with pytest.raises(TrainingError, match="such code is never run") as caught:
        train.run(text_recipe(pinned.repo_id), tmp_path, hub)
    assert caught.value.got == "config.json names code of its repo in auto_map"
    assert not list((tmp_path / "cache").rglob("*.py"))


def test_run_when_the_base_has_no_safetensors_then_says_so(
    hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    folder = text_base(tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    pinned = push_model(hub, f"{local.user}/pickled", folder)
    prepare_round(tmp_path, text_rows(30), [], base_model=pinned)
    with pytest.raises(TrainingError, match="no weights as safetensors") as caught:
        train.run(text_recipe(pinned.repo_id), tmp_path, hub)
    assert "config.json" in str(caught.value.got)


def test_run_when_nothing_is_prepared_then_says_what_to_do(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(DataError, match="no prepared rows") as caught:
        train.run(table_recipe(), tmp_path, hub)
    assert "hub-trainer prepare" in str(caught.value.do)


def test_run_when_fewer_processes_run_than_asked_for_then_stops(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_round(tmp_path, table_rows(60), [])
    monkeypatch.setenv(train.EXPECTED_PROCESSES, "2")
    with pytest.raises(TrainingError, match="2 processes were asked for") as caught:
        train.run(table_recipe(), tmp_path, hub)
    assert caught.value.got == "1 running"


def out_of_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def no_memory() -> None:
    raise MemoryError


def full_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (out_of_memory, "not enough memory"),
        (no_memory, "not enough memory"),
        (full_disk, "disk is full"),
    ],
)
def test_run_when_the_machine_is_too_small_then_says_so(
    fail: Callable[[], None],
    message: str,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare_round(tmp_path, table_rows(60), [])
    task = SimpleNamespace(
        fit=lambda *args, **options: fail(),
        answer=load_answer("label"),
    )
    monkeypatch.setattr(train, "task_of", lambda recipe: task)
    with pytest.raises(TrainingError, match=message):
        train.run(table_recipe(), tmp_path, hub)
    assert not (tmp_path / "train").exists()


def test_run_when_the_first_process_never_writes_then_the_others_give_up(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_round(tmp_path, table_rows(60), [])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(train, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(train, "POLL_SECONDS", 0.01)
    with pytest.raises(TrainingError, match="has not written the base model") as caught:
        train.run(table_recipe(), tmp_path, hub)
    assert "same round folder" in str(caught.value.do)


WORKER = """
import sys
from pathlib import Path
from hub_trainer.hub import Hub
from hub_trainer.recipe import Recipe
from hub_trainer.stages import train
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
made = train.run(recipe, Path(sys.argv[2]), Hub(sys.argv[3], sys.argv[4]))
print(made.outputs["fit"]["num_processes"])
"""


@pytest.mark.slow
def test_run_when_there_are_two_processes_then_they_train_one_model(
    text_round: Path, base: PinnedRepo, hub: Hub, local: LocalHub, tmp_path: Path
) -> None:
    chosen = text_recipe(base.repo_id, train__arguments={**ARGUMENTS, "use_cpu": True})
    (tmp_path / "recipe.json").write_text(chosen.model_dump_json())
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(tmp_path / "worker.py"), str(tmp_path / "recipe.json")]
    environment = {**os.environ, train.EXPECTED_PROCESSES: "2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(text_round), local.url, local.token],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2"]
    assert [path.name for path in text_round.glob(".train*")] == []
    assert load_task("text-classification").predict(
        ModelFolders(text_round / "train" / "model"), text_rows(2)
    )
