"""The batch file of a Slurm cluster: what it says, and a round run from it with stand-ins."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hub_trainer.artifacts import find_artifact
from hub_trainer.away.slurm import Allocation, write_batch_file
from hub_trainer.errors import UsageError
from hub_trainer.recipe import load_recipe
from tests.cli.conftest import REPO, Cli, cli, hub, local  # noqa: F401 - fixtures
from tests.cli.seeded import write_recipe

CONFIGS = REPO / "accelerate_configs"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose name a shell would trip over."""
    made = tmp_path / 'it\'s $HOME; a "folder"'
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def _file(
    folder: Path, config: Path | None = None, gpus: int | None = None, options: tuple[str, ...] = ()
) -> str:
    recipe = load_recipe(write_recipe(folder / "recipe.yaml", "text"))
    wanted = Allocation(5400, gpus, options)
    file = write_batch_file(recipe, ["train.seed=7"], wanted, accelerate_config=config)
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0
    return file.read_text()


def _directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH --") for line in text.splitlines() if "#SBATCH" in line]


def test_file_when_written_then_time_signal_and_requeue_are_asked_for(folder: Path) -> None:
    text = _file(folder)
    wanted = {"time=01:30:00", "signal=TERM@120", "requeue", "nodes=1", "gpus-per-node=1"}
    assert wanted <= set(_directives(text))
    assert "train.seed=7" in text


def test_file_when_several_nodes_train_then_ranks_come_from_slurm(folder: Path) -> None:
    text = _file(folder, CONFIGS / "multi_node.yaml")
    assert {"nodes=2", "gpus-per-node=8", "ntasks-per-node=1"} <= set(_directives(text))
    for part in ("--machine_rank @RANK@", "--main_process_ip @HEAD@", "rank=$SLURM_NODEID"):
        assert part in text


def test_file_when_the_config_is_for_the_cpu_then_no_gpu_is_asked_for(folder: Path) -> None:
    text = _file(folder, CONFIGS / "cpu.yaml")
    assert not [line for line in _directives(text) if "gpu" in line]


def test_file_when_options_are_given_then_they_replace_ours(folder: Path) -> None:
    text = _file(folder, gpus=2, options=("partition=gpu", "cpus-per-task=12"))
    assert {"gpus-per-node=2", "partition=gpu", "cpus-per-task=12"} <= set(_directives(text))


def test_file_when_the_round_has_a_folder_then_lies_beside_it(folder: Path) -> None:
    recipe = load_recipe(write_recipe(folder / "r.yaml", "text"))
    file = write_batch_file(recipe, [], Allocation(60), round_dir=folder / "disk" / "round-1")
    assert file == folder / "disk" / "round-1.sbatch"
    assert shlex.quote(str(folder / "disk" / "round-1")) in file.read_text()


def test_token_when_set_then_is_not_in_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    text = _file(folder)
    assert "hf_very_secret" not in text
    assert "export HF_ENDPOINT=http://127.0.0.1:1" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partition=gpu\n#SBATCH", "--sbatch takes an option of sbatch as name=value"),
        ("-p gpu", "--sbatch takes an option of sbatch as name=value"),
        ("signal=KILL", "--sbatch cannot set signal"),
    ],
)
def test_option_when_it_cannot_be_had_then_says_so(folder: Path, option: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _file(folder, options=(option,))


STUBS = {
    # A task is started with what stands after srun's own options.
    "srun": """while case "${1:-}" in --*) true ;; *) false ;; esac; do shift; done
export SLURM_NODEID=0; exec "$@" """,
    "scontrol": """if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >>"$REQUEUED"; fi""",
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins of srun and scontrol; what asks for a requeue is written to the file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in STUBS.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("REQUEUED", str(tmp_path / "requeued"))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node1")
    return tmp_path / "requeued"


def _signal_step(process: "subprocess.Popen[str]", parent: int | None = None) -> None:
    """TERM to all processes below the batch shell, as Slurm sends it to a step."""
    parent = parent or process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in map(int, children):
        _signal_step(process, child)
        os.kill(child, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [None, 1, 2])
def test_round_when_told_to_stop_then_asks_for_a_requeue_and_the_next_start_resumes(
    cli: Cli,  # noqa: F811
    cluster: Path,
    processes: int | None,
) -> None:
    recipe = write_recipe(cli.folder / f"slurm-{processes}.yaml", "text")
    settings = ["num_train_epochs=60", "save_strategy=epoch", "eval_strategy=epoch"]
    overrides = [f"train.arguments.{one}" for one in settings]
    config = yaml.safe_load((CONFIGS / "cpu.yaml").read_text())
    (cli.folder / "several.yaml").write_text(yaml.safe_dump(config | {"num_processes": processes}))
    given = ["--accelerate-config", "several.yaml"] if processes else []
    told = cli("run", recipe, *overrides, "--on", "slurm", "--time", "1h", *given, "--json")
    assert told.code == 0, told.err
    file = told.json["file"]
    assert f"sbatch {file}" in told.err
    first = _start(file, cli.folder / "first.log")
    _wait_for("step 10", cli.folder / "first.log", first)
    _signal_step(first)
    assert first.wait(timeout=120) == 75, (cli.folder / "first.log").read_text()
    assert cluster.read_text() == "requeue 42\n"
    second = _start(file, cli.folder / "second.log")
    assert second.wait(timeout=250) in (0, 6), (cli.folder / "second.log").read_text()
    trained = find_artifact(cli.folder / f"rounds/slurm-{processes}/round-001/train")
    assert trained is not None
    assert trained.outputs["fit"]["resumed_from"] >= 5


def _start(file: str, log: Path) -> "subprocess.Popen[str]":
    with log.open("w") as out:
        return subprocess.Popen(
            ["bash", file], stdout=out, stderr=out, text=True, start_new_session=True
        )


def _wait_for(text: str, log: Path, process: "subprocess.Popen[str]") -> None:
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)


def test_python_when_named_in_the_file_then_is_the_one_that_wrote_it(folder: Path) -> None:
    assert f"{shlex.quote(sys.executable)} -m hub_trainer run" in _file(folder)
