"""The train stage in processes of its own, as an accelerate config file asks for them.

What this machine or this engine cannot do is refused before any process starts.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.errors import ExitCode, Interrupted, TrainingError, UsageError
from hub_trainer.ranks import EXPECTED_PROCESSES
from hub_trainer.recipe import Recipe

log = logging.getLogger(__name__)


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


def num_processes(config_file: Path) -> int:
    """How many processes a config starts. Raises UsageError for what cannot be trained here."""
    return _assert_can_run(_read_config(config_file), str(config_file))


def assert_no_search(recipe: Recipe, processes: int, where: str) -> None:
    """Raise UsageError for a search that would choose settings for other batches.

    A trial runs in one process, and several processes take batches several times as large.
    """
    if recipe.tune.is_on and processes > 1:
        raise UsageError(
            "A search tries settings in one process each; its choice would not suit several.",
            where=where,
            got=f"tune.trials {recipe.tune.trials or 'null'} and {processes} processes",
            do="Search on one process, write what it chose into the recipe, set tune.trials: 0.",
        )


def train_command(
    config_file: Path, arguments: Sequence[str]
) -> tuple[list[str], Mapping[str, str]]:
    """The command line and the environment variables that start the train stage.

    accelerate starts one process only when a CPU config asks for several, without saying so, so
    such a config goes to torchrun.
    """
    config = _read_config(config_file)
    processes = _assert_can_run(config, str(config_file))
    if not config.get("use_cpu") and not _devices()[0]:
        log.warning("%s asks for GPUs and there is none: training runs on the CPU.", config_file)
    target = ["-m", "hub_trainer", "train", *arguments]
    environment = {EXPECTED_PROCESSES: str(processes)}
    if config.get("use_cpu") and processes > 1:
        environment |= {"ACCELERATE_USE_CPU": "true"}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
        return [*_torchrun(config, processes), *target], environment
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launcher, "--config_file", str(config_file), *target], environment


def assert_can_train_here(environment: Mapping[str, str] = os.environ) -> None:
    """In a process that a launcher has started: whether it can train as it was asked to.

    Raises UsageError in every process alike, before any of them has done anything.
    """
    used = [
        name for name in SHARDED if environment.get(f"ACCELERATE_USE_{name}", "").lower() == "true"
    ]
    if used:
        raise _refused(SHARDED[used[0]], "the config of accelerate launch")
    processes = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if processes > 1 and not _is_on(environment, "CPU"):
        _assert_devices(processes, "the config of accelerate launch")


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(f"ACCELERATE_USE_{name}", "").lower() == "true"


SHARDED = {
    "FSDP": "FSDP",
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "TP": "tensor parallelism",
    "PARALLELISM_CONFIG": "a parallelism_config",
}
"""Ways to split a model over devices, by their names in accelerate's files and variables."""
FEW_PROCESSES = 2
"""So many may share a processor that has fewer cores."""


def _assert_can_run(config: Mapping[str, Any], where: str) -> int:
    """How many processes it starts. Raises UsageError for what cannot be trained here."""
    processes, machines = (_count(config, key, where) for key in ("num_processes", "num_machines"))
    if processes % machines:
        raise UsageError(
            "The processes cannot be shared out evenly.",
            where=where,
            got=f"num_processes {processes} over num_machines {machines}",
            do="Give each machine the same number of processes.",
        )
    kind = str(config.get("distributed_type") or "NO").upper()
    named = [kind] + [key.upper() for key in ("parallelism_config",) if config.get(key)]
    used = [name for name in named if name in SHARDED]
    if used:
        raise _refused(SHARDED[used[0]], where)
    lacks = [key for key in ("main_process_ip", "main_process_port") if not config.get(key)]
    if machines > 1 and lacks:
        do = "Name the first machine there, the same on all of them."
        raise UsageError(
            "Several machines must find each other.",
            where=where,
            got=f"no {' and no '.join(lacks)}",
            do=do,
        )
    if processes > 1 and not config.get("use_cpu"):
        _assert_devices(processes // machines, where)
    return processes


def _count(config: Mapping[str, Any], key: str, where: str) -> int:
    value = config.get(key, 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"{key} is no number of processes or machines.",
            where=where,
            got=repr(value),
            do="Write a whole number from 1 on.",
        )
    return value


def _refused(by: str, where: str) -> UsageError:
    return UsageError(
        "Models that are split over devices cannot be trained yet: a checkpoint of theirs could not"
        " be resumed exactly.",
        where=where,
        got=f"{by}, {_told(*_devices())}",
        do="Use accelerate_configs/ddp.yaml, which gives each device the whole model, with method"
        " lora or qlora where memory is short; both work today.",
    )


def _assert_devices(processes: int, where: str) -> None:
    """Each process needs a GPU of its own or, where there is none, a core."""
    gpus, cores = _devices()
    most = gpus or max(cores, FEW_PROCESSES)
    if processes > most:
        raise UsageError(
            "More processes are asked for than this machine has devices.",
            where=where,
            got=f"{processes} processes, {_told(gpus, cores)}",
            do=f"Set num_processes to {most} or less.",
        )


def _devices() -> tuple[int, int]:
    """GPUs and cores that this process may use."""
    import torch

    gpus = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    return gpus, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _told(gpus: int, cores: int) -> str:
    has = f"{gpus} GPU{'s' if gpus != 1 else ''}" if gpus else f"no GPU and {cores} cores"
    return f"on a machine with {has}"


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
