"""An accelerate config file becomes the command that really starts its processes."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_trainer.errors import TrainingError, UsageError
from hub_trainer.launch import (
    assert_can_train_here,
    assert_no_search,
    launch_train,
    read_asked,
    train_command,
)
from hub_trainer.launch.config_files import KEYS
from hub_trainer.launch.here import assert_devices
from hub_trainer.ranks import Asked, Sharding, asked
from tests.tasks.factory import recipe

SHIPPED = {
    path.stem: path for path in (Path(__file__).parents[1] / "accelerate_configs").glob("*.yaml")
}
SPLIT = ("fsdp2", "hsdp")
DEEPSPEED = ("zero2", "zero3")
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


def test_configs_when_listed_then_those_of_the_design_are_shipped() -> None:
    whole = {"cpu", "single_gpu", "ddp", "multi_node"}
    assert set(SHIPPED) == {*whole, *SPLIT, *DEEPSPEED}


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    _there_are(8, 64, monkeypatch)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    _there_are(0, 2, monkeypatch)


def _there_are(gpus: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("hub_trainer.launch", "hub_trainer.launch.here"):
        monkeypatch.setattr(f"{module}.devices", lambda: (gpus, cores))


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def changed(folder: Path, name: str, **changes: Any) -> Path:
    """A copy of a shipped file with other settings, those of FSDP within it included."""
    content = yaml.safe_load(SHIPPED[name].read_text())
    for key, value in changes.items():
        (content["fsdp_config"] if key.startswith("fsdp_") else content)[key] = value
    return written(folder, content)


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {*DEEPSPEED}))
@pytest.mark.usefixtures("eight_gpus")
def test_config_when_shipped_then_accelerate_reads_it(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(SHIPPED[name]))
    command, environment = train_command(SHIPPED[name], ["recipe.yaml"])
    assert environment["HUB_TRAINER_NUM_PROCESSES"] == str(config.num_processes)
    assert asked(environment) == read_asked(SHIPPED[name])
    assert command[-4:] == ["-m", "hub_trainer", "train", "recipe.yaml"]
    assert "accelerate.commands.launch" in command


def test_config_when_it_splits_the_model_then_says_over_how_many(tmp_path: Path) -> None:
    assert read_asked(SHIPPED["fsdp2"]).sharding == Sharding(8)
    assert read_asked(SHIPPED["hsdp"]).sharding == Sharding(4, replicas=2)
    path = changed(
        tmp_path,
        "fsdp2",
        num_processes=4,
        fsdp_reshard_after_forward=False,
        fsdp_activation_checkpointing=True,
        fsdp_offload_params=True,
    )
    assert read_asked(path).sharding == Sharding(
        4, reshard_after_forward=False, activation_checkpointing=True, offload=True
    )


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("fsdp2", {"fsdp_version": 1}, ["fsdp_version: only 2"]),
        ("fsdp2", {"fsdp_reshard_after_forward": "FULL_SHARD"}, ["true or false"]),
        ("fsdp2", {"fsdp_auto_wrap_policy": "NO_WRAP"}, ["only TRANSFORMER_BASED_WRAP"]),
        ("fsdp2", {"fsdp_ignored_modules": "head"}, ["fsdp_ignored_modules: not taken"]),
        ("hsdp", {"num_processes": 6}, ["num_processes", "size 2 x", "size 4 is not 6"]),
        (
            "fsdp2",
            {"parallelism_config": {"parallelism_config_tp_size": 8}},
            ["tp_size: no tensor parallelism", "is not 8"],
        ),
    ],
)
def test_config_when_fsdp_is_asked_for_in_another_way_then_every_fault_is_told(
    name: str, changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    path = changed(tmp_path, name, **changes)
    with pytest.raises(UsageError, match="FSDP cannot be had as this file asks") as caught:
        read_asked(path)
    told = str(caught.value)
    assert [word for word in [*words, str(path), "hsdp.yaml"] if word not in told] == []


def test_config_when_a_setting_changes_nothing_here_then_says_what_happens_instead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_asked(SHIPPED["fsdp2"])
    assert not caplog.text
    read_asked(changed(tmp_path, "fsdp2", fsdp_state_dict_type="FULL_STATE_DICT"))
    assert "fsdp_state_dict_type changes nothing here: checkpoints are sharded" in caplog.text


def test_command_when_cpu_and_several_processes_then_torchrun(tmp_path: Path) -> None:
    path = written(tmp_path, {"use_cpu": True, "num_processes": 2})
    command, environment = train_command(path, ["recipe.yaml"])
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in command
    assert environment["ACCELERATE_USE_CPU"] == "true"


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("name", "warned"), [("single_gpu", True), ("ddp", True), ("cpu", False)])
def test_command_when_gpus_are_asked_for_and_there_are_none_then_says_where_it_trains(
    name: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    train_command(SHIPPED[name], [])
    assert ("asks for GPUs and there is none: training runs on the CPU" in caplog.text) is warned


def test_command_when_several_machines_then_they_are_named(tmp_path: Path) -> None:
    content = {"use_cpu": True, "num_processes": 4, "num_machines": 2, "machine_rank": 1}
    content |= {"main_process_ip": "10.0.0.1", "main_process_port": 29500}
    command = " ".join(train_command(written(tmp_path, content), [])[0])
    assert "--nproc_per_node 2 --nnodes 2 --node_rank 1 --master_addr 10.0.0.1" in command


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no such"),
        ("a: [", "is not valid YAML"),
        ("- a", "holds no settings"),
        ("task: text-classification\nuse_cpu: true", "That is no accelerate config file"),
    ],
)
def test_config_when_unusable_then_says_why(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        train_command(path, [])


def test_keys_of_config_files_when_listed_then_are_those_of_accelerate() -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    assert {field.name for field in fields(ClusterConfig)} == KEYS


@pytest.mark.parametrize("name", DEEPSPEED)
def test_config_when_deepspeed_is_to_split_the_model_then_is_refused_with_what_works(
    name: str,
) -> None:
    with pytest.raises(UsageError, match="split over devices by FSDP2 alone") as caught:
        read_asked(SHIPPED[name])
    told = str(caught.value)
    assert str(SHIPPED[name]) in told
    assert "fsdp2.yaml" in told
    assert "true splits what ZeRO-3 does, false what ZeRO-2 does" in told


@pytest.mark.usefixtures("two_cores")
def test_config_when_it_asks_for_more_than_there_is_then_says_how_many_there_are(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="GPUs are asked for and there is none") as caught:
        train_command(SHIPPED["fsdp2"], [])
    assert "8 processes, on a machine with no GPU and 2 cores" in str(caught.value)
    assert "set use_cpu: true and num_processes to 2 or less" in str(caught.value)
    with pytest.raises(UsageError, match="More processes are asked for") as caught:
        train_command(SHIPPED["multi_node"], [])
    assert "8 processes, on a machine with no GPU and 2 cores" in str(caught.value)
    assert "num_processes to 2" in str(caught.value)
    four = read_asked(written(tmp_path, {"use_cpu": True, "num_processes": 4}))
    with pytest.raises(UsageError, match="More processes") as caught:
        assert_devices(four, {})
    assert "HUB_TRAINER_OVERSUBSCRIBE=1" in str(caught.value)
    assert_devices(four, {"HUB_TRAINER_OVERSUBSCRIBE": "1"})


@pytest.mark.usefixtures("eight_gpus")
def test_config_when_it_asks_for_more_than_the_gpus_then_no_variable_allows_it(
    tmp_path: Path,
) -> None:
    nine = read_asked(changed(tmp_path, "ddp", num_processes=9))
    with pytest.raises(UsageError, match="More processes are asked for") as caught:
        assert_devices(nine, {"HUB_TRAINER_OVERSUBSCRIBE": "1"})
    assert "9 processes, on a machine with 8 GPUs" in str(caught.value)
    assert "OVERSUBSCRIBE" not in str(caught.value)


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
    path = written(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        train_command(path, [])
    assert [word for word in [*words, str(path)] if word not in str(caught.value)] == []


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the process that has started this one, to be filled in."""
    command: list[str] = []
    monkeypatch.setattr("hub_trainer.launch.here.command_of_parent", lambda: command)
    return command


@pytest.mark.usefixtures("two_cores")
def test_process_when_another_number_runs_than_the_file_says_then_it_stops(
    parent: list[str],
) -> None:
    parent += [*ACCELERATE, "--config_file", str(SHIPPED["ddp"]), "-m", "hub_trainer", "train"]
    with pytest.raises(UsageError, match="Another number of processes runs") as caught:
        assert_can_train_here({})
    assert "num_processes 2, 1 running" in str(caught.value)
    assert str(SHIPPED["ddp"]) in str(caught.value)
    environment = {"WORLD_SIZE": "2"}
    assert_can_train_here(environment)
    assert asked(environment) == read_asked(SHIPPED["ddp"])


@pytest.mark.usefixtures("two_cores")
def test_process_when_options_of_the_launcher_change_the_file_then_they_count(
    parent: list[str],
) -> None:
    parent += ["/usr/bin/python3", "/venv/bin/accelerate", "launch", "--cpu"]
    parent += ["--num_processes=3", f"--config_file={SHIPPED['multi_node']}", "--num_machines=1"]
    parent += ["-m", "hub_trainer", "train", "recipe.yaml"]
    environment = {"WORLD_SIZE": "3", "HUB_TRAINER_OVERSUBSCRIBE": "1"}
    assert_can_train_here(environment)
    wanted = asked(environment)
    assert wanted is not None
    assert (wanted.processes, wanted.machines, wanted.on_cpu) == (3, 1, True)


@pytest.mark.usefixtures("eight_gpus")
def test_process_when_fsdp_is_asked_for_then_accelerate_does_not_do_it_too(
    parent: list[str],
) -> None:
    parent += [*ACCELERATE, "--config_file", str(SHIPPED["hsdp"]), "-m", "hub_trainer"]
    environment = {"WORLD_SIZE": "8", "ACCELERATE_USE_FSDP": "true"}
    environment["ACCELERATE_USE_PARALLELISM_CONFIG"] = "true"
    assert_can_train_here(environment)
    assert set(environment) == {"WORLD_SIZE", "HUB_TRAINER_ASKED"}
    wanted = asked(environment)
    assert wanted is not None
    assert wanted.sharding == Sharding(4, replicas=2)


@pytest.mark.usefixtures("eight_gpus")
def test_process_when_options_alone_ask_for_fsdp_then_it_is_read_from_them(
    parent: list[str],
) -> None:
    parent += [*ACCELERATE, "--use_fsdp", "--num_processes", "8", "-m", "hub_trainer"]
    with pytest.raises(UsageError, match="fsdp_version: only 2"):
        assert_can_train_here({"WORLD_SIZE": "8"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "8", "FSDP_VERSION": "2"}, "GPUs are asked"),
        ({"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "8"}, "fsdp_version: only 2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "by FSDP2 alone"),
        ({"LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "8"}, "8 processes"),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_process_when_no_file_is_known_then_the_variables_of_the_launcher_count(
    environment: dict[str, str], message: str, parent: list[str]
) -> None:
    del parent
    with pytest.raises(UsageError) as caught:
        assert_can_train_here(environment)
    assert message in str(caught.value)
    assert_can_train_here({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"})
    alone: dict[str, str] = {}
    assert_can_train_here(alone)
    assert not alone


def test_asked_when_written_into_the_environment_then_is_read_back() -> None:
    environment: dict[str, str] = {}
    assert asked(environment) is None
    for wanted in (Asked("x", 2), Asked("x", 8, 2, False, Sharding(4, 2, offload=True))):
        wanted.write(environment)
        assert asked(environment) == wanted


def test_search_when_several_processes_train_then_it_is_refused() -> None:
    searched = {"trials": 5, "search": {"train.last_n": {"low": 1, "high": 2}}}
    with pytest.raises(UsageError, match="A search tries settings") as caught:
        assert_no_search(recipe("text-classification", tune=searched), 2, "ddp.yaml")
    assert caught.value.got == "tune.trials 5 and 2 processes"
    assert "set tune.trials: 0" in str(caught.value.do)
    assert_no_search(recipe("text-classification", tune=searched), 1, "cpu.yaml")
    assert_no_search(recipe("text-classification"), 2, "ddp.yaml")


def test_launch_when_the_processes_fail_then_the_error_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr("hub_trainer.launch.train_command", lambda *a: (command, {}))
    with pytest.raises(TrainingError, match="their messages stand above") as caught:
        launch_train(tmp_path / "x.yaml", [])
    assert caught.value.got == "exit code 3"
