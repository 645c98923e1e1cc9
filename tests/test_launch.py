"""An accelerate config file becomes the command that really starts its processes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.errors import Interrupted, TrainingError, UsageError
from hub_trainer.launch import (
    assert_can_train_here,
    assert_no_search,
    launch_train,
    train_command,
)
from tests.tasks.factory import recipe

SHIPPED = sorted((Path(__file__).parents[1] / "accelerate_configs").glob("*.yaml"))


def test_configs_when_listed_then_those_of_the_design_are_shipped() -> None:
    names = {path.stem for path in SHIPPED}
    assert names == {"cpu", "single_gpu", "ddp", "fsdp2", "zero2", "zero3", "multi_node"}


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub_trainer.launch._devices", lambda: (8, 64))


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub_trainer.launch._devices", lambda: (0, 2))


WHOLE = [path for path in SHIPPED if path.stem not in ("fsdp2", "zero2", "zero3")]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
@pytest.mark.usefixtures("eight_gpus")
def test_config_when_shipped_then_accelerate_reads_it(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    command, environment = train_command(path, ["recipe.yaml"])
    assert environment["HUB_TRAINER_NUM_PROCESSES"] == str(config.num_processes)
    assert command[-4:] == ["-m", "hub_trainer", "train", "recipe.yaml"]
    assert "accelerate.commands.launch" in command


def test_command_when_cpu_and_several_processes_then_torchrun(tmp_path: Path) -> None:
    path = tmp_path / "cpu2.yaml"
    path.write_text(yaml.safe_dump({"use_cpu": True, "num_processes": 2}))
    command, environment = train_command(path, ["recipe.yaml"])
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in command
    assert environment["ACCELERATE_USE_CPU"] == "true"


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("name", "warned"), [("single_gpu", True), ("cpu", False)])
def test_command_when_gpus_are_asked_for_and_there_are_none_then_says_where_it_trains(
    name: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    [path] = [path for path in SHIPPED if path.stem == name]
    train_command(path, [])
    assert ("asks for GPUs and there is none: training runs on the CPU" in caplog.text) is warned


def test_command_when_several_machines_then_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    content = {"use_cpu": True, "num_processes": 4, "num_machines": 2, "machine_rank": 1}
    content |= {"main_process_ip": "10.0.0.1", "main_process_port": 29500}
    path.write_text(yaml.safe_dump(content))
    command = " ".join(train_command(path, [])[0])
    assert "--nproc_per_node 2 --nnodes 2 --node_rank 1 --master_addr 10.0.0.1" in command


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "There is no such"), ("a: [", "is not valid YAML"), ("- a", "holds no settings")],
)
def test_config_when_unusable_then_says_why(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        train_command(path, [])


@pytest.mark.parametrize("name", ["fsdp2", "zero2", "zero3"])
@pytest.mark.parametrize("devices", ["two_cores", "eight_gpus"])
def test_config_when_it_splits_the_model_then_is_refused_with_what_works(
    name: str, devices: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(devices)
    [path] = [path for path in SHIPPED if path.stem == name]
    with pytest.raises(UsageError) as caught:
        train_command(path, [])
    told = str(caught.value)
    assert "split over devices cannot be trained yet" in told
    assert str(path) in told
    assert "accelerate_configs/ddp.yaml" in told
    assert ("8 GPUs" if devices == "eight_gpus" else "no GPU and 2 cores") in told


@pytest.mark.usefixtures("two_cores")
def test_config_when_it_asks_for_more_than_there_is_then_says_how_many_there_are(
    tmp_path: Path,
) -> None:
    by_name = {path.stem: path for path in SHIPPED}
    assert "--config_file" in train_command(by_name["ddp"], [])[0]
    with pytest.raises(UsageError, match="More processes are asked for") as caught:
        train_command(by_name["multi_node"], [])
    assert "8 processes, on a machine with no GPU and 2 cores" in str(caught.value)
    assert "num_processes to 2" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"num_processes": "two"}, ["num_processes", "'two'", "whole number"]),
        ({"num_processes": 0}, ["num_processes", "0"]),
        ({"num_processes": 3, "num_machines": 2}, ["evenly", "num_processes 3"]),
        ({"num_processes": 2, "num_machines": 2, "use_cpu": True}, ["no main_process_ip"]),
        ({"distributed_type": "MEGATRON_LM"}, ["Megatron-LM"]),
        ({"parallelism_config": {"parallelism_config_tp_size": 2}}, ["parallelism_config"]),
    ],
)
def test_config_when_it_cannot_be_carried_out_then_says_why(
    tmp_path: Path, content: dict[str, Any], words: list[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as caught:
        train_command(path, [])
    assert [word for word in [*words, str(path)] if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "LOCAL_WORLD_SIZE": "8"}, "FSDP"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"LOCAL_WORLD_SIZE": "8"}, "8 processes"),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_process_when_launched_by_accelerate_then_it_refuses_too(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        assert_can_train_here(environment)
    assert message in str(caught.value)
    assert_can_train_here({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"})
    assert_can_train_here({"LOCAL_WORLD_SIZE": "8", "ACCELERATE_USE_CPU": "True"})


def test_search_when_several_processes_train_then_it_is_refused() -> None:
    searched = {"trials": 5, "search": {"train.last_n": {"low": 1, "high": 2}}}
    with pytest.raises(UsageError, match="A search tries settings") as caught:
        assert_no_search(recipe("text-classification", tune=searched), 2, "ddp.yaml")
    assert caught.value.got == "tune.trials 5 and 2 processes"
    assert "set tune.trials: 0" in str(caught.value.do)
    assert_no_search(recipe("text-classification", tune=searched), 1, "cpu.yaml")
    assert_no_search(recipe("text-classification"), 2, "ddp.yaml")


@pytest.mark.parametrize(("code", "error"), [(75, Interrupted), (1, TrainingError)])
def test_launch_when_the_processes_fail_then_the_error_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    monkeypatch.setattr("hub_trainer.launch.train_command", lambda *a: (command, {}))
    with pytest.raises(error):
        launch_train(tmp_path / "x.yaml", [])
