"""Inside a process that a launcher has started: what was asked for, held against what there is."""

import logging
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.errors import UsageError
from hub_trainer.launch.config_files import AXIS, asked_of, read_config
from hub_trainer.ranks import Asked, asked

log = logging.getLogger(__name__)

FEW_PROCESSES = 2
"""So many may share a processor that has fewer cores."""
OVERSUBSCRIBE = "HUB_TRAINER_OVERSUBSCRIBE"
"""Set to 1 to start more processes than there are cores."""
TAKEN_OVER = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_PARALLELISM_CONFIG")
"""What accelerate and transformers would do by themselves, where this engine does it."""
KINDS = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "TP")


def assert_can_train_here(environment: MutableMapping[str, str] = os.environ) -> None:
    """Whether this process can train as it was asked to; what was asked is kept for the engine.

    Raises UsageError in every process alike, before any of them has done anything.
    """
    wanted = asked(environment) or _asked_of_launcher(environment)
    if wanted is None:
        return
    running = int(environment.get("WORLD_SIZE", "1"))
    if running != wanted.processes:
        raise UsageError(
            "Another number of processes runs than was asked for.",
            where=wanted.where,
            got=f"num_processes {wanted.processes}, {running} running",
            do="Start it with `hub-trainer run RECIPE --accelerate-config FILE`, or with torchrun:"
            " accelerate launch starts one process where several on the CPU are asked for.",
        )
    assert_devices(wanted, environment)
    for name in TAKEN_OVER:
        environment.pop(name, None)
    wanted.write(environment)


def assert_devices(wanted: Asked, environment: Mapping[str, str] = os.environ) -> None:
    """Each process needs a GPU of its own or, on the CPU, a core. Raises UsageError."""
    gpus, cores = devices()
    processes = wanted.processes // wanted.machines
    if wanted.on_cpu is False and not gpus:
        raise UsageError(
            "GPUs are asked for and there is none.",
            where=wanted.where,
            got=f"{processes} processes, {_told(gpus, cores)}",
            do="Run it where the GPUs are, or set use_cpu: true and num_processes to"
            f" {max(cores, FEW_PROCESSES)} or less to try it on the CPU.",
        )
    on_gpus = bool(gpus) and not wanted.on_cpu
    most = gpus if on_gpus else max(cores, FEW_PROCESSES)
    if processes <= most or (not on_gpus and environment.get(OVERSUBSCRIBE) == "1"):
        return
    do = f"Set num_processes to {most} or less."
    raise UsageError(
        "More processes are asked for than this machine has devices.",
        where=wanted.where,
        got=f"{processes} processes, {_told(gpus, cores)}",
        do=do if on_gpus else f"{do} To share the cores all the same, set {OVERSUBSCRIBE}=1.",
    )


def devices() -> tuple[int, int]:
    """GPUs and cores that this process may use."""
    import torch

    gpus = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    return gpus, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _told(gpus: int, cores: int) -> str:
    has = f"{gpus} GPU{'s' if gpus != 1 else ''}" if gpus else f"no GPU and {cores} cores"
    return f"on a machine with {has}"


def _asked_of_launcher(environment: Mapping[str, str]) -> Asked | None:
    """By the file of the `accelerate launch` that started this process, or what it has set here."""
    found = _launched_with(command_of_parent())
    if found is not None:
        return asked_of(*found)
    if "LOCAL_WORLD_SIZE" not in environment and not _kind(environment):
        return None
    return asked_of(_config_of(environment), "the variables of the launcher")


def command_of_parent() -> list[str]:
    """The command line of the process that started this one; empty where nobody can say."""
    try:
        raw = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0") if part]


def _launched_with(command: Sequence[str]) -> tuple[dict[str, Any], str] | None:
    """The settings and the file of an `accelerate launch`, with what its options change of them."""
    starts = [
        index + 1
        for index, part in enumerate(command)
        if part.endswith(("accelerate.commands.launch", "commands/launch.py"))
        or (part == "launch" and index and Path(command[index - 1]).name == "accelerate")
    ]
    if not starts:
        return None
    from accelerate.commands.config.config_args import default_config_file
    from accelerate.commands.launch import launch_command_parser

    options, _ = launch_command_parser().parse_known_args(list(command[starts[0] :]))
    file = Path(options.config_file or default_config_file)
    config = read_config(file) if options.config_file or file.is_file() else {}
    for key in ("num_processes", "num_machines"):
        if getattr(options, key) is not None:
            config[key] = getattr(options, key)
    if options.cpu:
        config["use_cpu"] = True
    for name, kind in (("use_fsdp", "FSDP"), ("use_deepspeed", "DEEPSPEED")):
        if getattr(options, name):
            config["distributed_type"] = kind
            config |= _fsdp_options(options) if kind == "FSDP" else {}
    return config, str(file) if config else "the options of accelerate launch"


def _fsdp_options(options: Any) -> dict[str, Any]:
    config = {key: value for key, value in vars(options).items() if key.startswith("fsdp_")}
    config["fsdp_reshard_after_forward"] = _read(config["fsdp_reshard_after_forward"])
    return {"fsdp_config": {key: _read(value) for key, value in config.items()}}


def _kind(environment: Mapping[str, str]) -> str | None:
    return next((kind for kind in KINDS if _is_on(environment, f"USE_{kind}")), None)


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(f"ACCELERATE_{name}", "").lower() == "true"


def _config_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a launcher has put into variables, as its file would say them."""
    kind = _kind(environment)
    fsdp = {
        name.lower(): _read(value)
        for name, value in environment.items()
        if name.startswith("FSDP_")
    }
    axes = {
        name.lower(): _read(value)
        for name, value in environment.items()
        if name.startswith(AXIS.upper())
    }
    used = _is_on(environment, "USE_PARALLELISM_CONFIG")
    return {
        "distributed_type": kind,
        "num_processes": int(environment.get("WORLD_SIZE", "1")),
        "use_cpu": _is_on(environment, "USE_CPU"),
        "fsdp_config": fsdp if kind == "FSDP" else None,
        "parallelism_config": axes if used else None,
    }


def _read(value: Any) -> Any:
    """A variable's text as YAML would read it."""
    if not isinstance(value, str):
        return value
    return {"true": True, "false": False}.get(
        value.lower(), int(value) if value.isdigit() else value
    )
