"""An accelerate config file becomes the command that really starts its processes."""

import sys
from pathlib import Path

import pytest
import yaml

from hub_trainer.errors import Interrupted, TrainingError, UsageError
from hub_trainer.launch import launch_train, train_command

SHIPPED = sorted((Path(__file__).parents[1] / "accelerate_configs").glob("*.yaml"))


def test_configs_when_listed_then_those_of_the_design_are_shipped() -> None:
    names = {path.stem for path in SHIPPED}
    assert names == {"cpu", "single_gpu", "ddp", "fsdp2", "zero2", "zero3", "multi_node"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
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


@pytest.mark.parametrize(("code", "error"), [(75, Interrupted), (1, TrainingError)])
def test_launch_when_the_processes_fail_then_the_error_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    monkeypatch.setattr("hub_trainer.launch.train_command", lambda *a: (command, {}))
    with pytest.raises(error):
        launch_train(tmp_path / "x.yaml", [])
