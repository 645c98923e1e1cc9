"""The train stage in processes of its own, as an accelerate config file asks for them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.errors import ExitCode, Interrupted, TrainingError, UsageError

EXPECTED_PROCESSES = "HUB_TRAINER_NUM_PROCESSES"


def launch_train(config_file: Path, arguments: Sequence[str]) -> None:
    """Run `hub-trainer train ARGUMENTS` under the launcher; raise when it fails."""
    command, environment = train_command(config_file, arguments)
    code = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
    if code in (ExitCode.INTERRUPTED, -15, -2):
        raise Interrupted(
            "Training was interrupted and has left a checkpoint.", do="Run the same command again."
        )
    if code != 0:
        raise TrainingError(
            "Training failed in the launched processes; their messages stand above.",
            where=str(config_file),
            got=f"exit code {code}",
        )


def train_command(
    config_file: Path, arguments: Sequence[str]
) -> tuple[list[str], Mapping[str, str]]:
    """The command line and the environment variables that start the train stage.

    accelerate starts one process only when a CPU config asks for several, without saying so, so
    such a config goes to torchrun.
    """
    config = _read_config(config_file)
    processes = int(config.get("num_processes", 1))
    target = ["-m", "hub_trainer", "train", *arguments]
    environment = {EXPECTED_PROCESSES: str(processes)}
    if config.get("use_cpu") and processes > 1:
        environment |= {"ACCELERATE_USE_CPU": "true"}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        return [*_torchrun(config, processes), *target], environment
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launcher, "--config_file", str(config_file), *target], environment


def _torchrun(config: Mapping[str, Any], processes: int) -> list[str]:
    machines = int(config.get("num_machines", 1))
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += ["--nproc_per_node", str(processes // machines), "--nnodes", str(machines)]
    if machines == 1:
        return [*command, "--standalone"]
    return [
        *command,
        *("--node_rank", str(config.get("machine_rank", 0))),
        *("--master_addr", str(config["main_process_ip"])),
        *("--master_port", str(config["main_process_port"])),
    ]


def _read_config(config_file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "There is no such accelerate config file.",
            where=str(config_file),
            do="See accelerate_configs/ for those shipped.",
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(
            "The accelerate config file is not valid YAML.", where=str(config_file), got=str(error)
        ) from None
    if not isinstance(config, dict):
        raise UsageError("The accelerate config file holds no settings.", where=str(config_file))
    return config
