"""Accelerate's config files: what one asks for, and what of it cannot be trained."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hub_trainer.errors import UsageError
from hub_trainer.ranks import Asked, Sharding

log = logging.getLogger(__name__)

REFUSED = {"MEGATRON_LM": "Megatron-LM", "TP": "tensor parallelism", "DEEPSPEED": "DeepSpeed"}
"""Ways to split a model that this engine does not take, by accelerate's names."""
OTHER_AXES = {"tp_size": "tensor", "cp_size": "context", "sp_size": "sequence"}
AXIS = "parallelism_config_"
WITHOUT_EFFECT = {
    "fsdp_cpu_ram_efficient_loading": (True, "each process loads the whole model, then splits it"),
    "fsdp_state_dict_type": ("FULL_STATE_DICT", "checkpoints are sharded, the model is gathered"),
}
"""Settings of FSDP that change nothing here: a value that would, and what is done instead."""

KEYS = (
    frozenset({"compute_environment", "debug", "distributed_type", "gpu_ids", "use_cpu"})
    | {"num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port"}
    | {"main_training_function", "mixed_precision", "downcast_bf16", "rdzv_backend"}
    | {"same_network", "enable_cpu_affinity", "command_file", "commands"}
    | {"deepspeed_config", "fsdp_config", "parallelism_config", "megatron_lm_config"}
    | {"dynamo_config", "fp8_config", "mpirun_config"}
    | {"tpu_env", "tpu_name", "tpu_use_cluster", "tpu_use_sudo", "tpu_vm", "tpu_zone"}
)
"""Those of accelerate's config files; it refuses any other."""
SHIPPED_CONFIGS = "See accelerate_configs/ for those shipped."


def read_asked(config_file: Path) -> Asked:
    """What a config file asks for. Raises UsageError for what cannot be trained anywhere."""
    return asked_of(read_config(config_file), str(config_file))


def asked_of(config: Mapping[str, Any], where: str) -> Asked:
    """As `read_asked`, of settings that were read already."""
    processes, machines = (_count(config, key, where) for key in ("num_processes", "num_machines"))
    if processes % machines:
        raise UsageError(
            "The processes cannot be shared out evenly.",
            where=where,
            got=f"num_processes {processes} over num_machines {machines}",
            do="Give each machine the same number of processes.",
        )
    lacks = [key for key in ("main_process_ip", "main_process_port") if not config.get(key)]
    if machines > 1 and lacks:
        do = "Name the first machine there, the same on all of them."
        raise UsageError(
            "Several machines must find each other.",
            where=where,
            got=f"no {' and no '.join(lacks)}",
            do=do,
        )
    kind = str(config.get("distributed_type") or "NO").upper()
    sharding = _sharding(config, processes, where) if kind == "FSDP" else None
    if sharding is None:
        _refuse_splitting(config, kind, where)
    on_cpu = bool(config.get("use_cpu")) or kind == "MULTI_CPU"
    gpu_or_cpu = False if sharding else None
    return Asked(where, processes, machines, True if on_cpu else gpu_or_cpu, sharding)


def read_config(config_file: Path) -> dict[str, Any]:
    """The settings of a file. Raises UsageError where there are none."""
    try:
        config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "There is no such accelerate config file.",
            where=str(config_file),
            do=SHIPPED_CONFIGS,
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(
            "The accelerate config file is not valid YAML.",
            where=str(config_file),
            got=str(error),
            do=SHIPPED_CONFIGS,
        ) from None
    if not isinstance(config, dict):
        told = "The accelerate config file holds no settings."
        raise UsageError(told, where=str(config_file), do=SHIPPED_CONFIGS)
    unknown = [str(key) for key in config if key not in KEYS]
    if unknown:
        raise UsageError(
            "That is no accelerate config file.",
            where=str(config_file),
            got=f"keys that accelerate does not know: {', '.join(unknown[:5])}",
            do=f"Take them out, or name another file. {SHIPPED_CONFIGS}",
        )
    return config


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


def _refuse_splitting(config: Mapping[str, Any], kind: str, where: str) -> None:
    by = REFUSED.get(kind) or ("a parallelism_config" if config.get("parallelism_config") else None)
    if by is None:
        return
    do = "Use accelerate_configs/fsdp2.yaml, which splits a model without it"
    if kind == "DEEPSPEED":
        do += ": fsdp_reshard_after_forward true splits what ZeRO-3 does, false what ZeRO-2 does"
    raise UsageError(
        "Models are split over devices by FSDP2 alone.", where=where, got=by, do=f"{do}."
    )


def _sharding(config: Mapping[str, Any], processes: int, where: str) -> Sharding:
    """How FSDP is to split the model; all that it cannot do in one error."""
    fsdp = dict(config.get("fsdp_config") or {})
    axes = _axes(config)
    shards, replicas = axes.get("dp_shard_size", 1), axes.get("dp_replicate_size", 1)
    if not axes:
        shards = processes
    faults = _faults(fsdp)
    faults += [
        f"{AXIS}{key}: no {name} parallelism"
        for key, name in OTHER_AXES.items()
        if axes.get(key, 1) > 1
    ]
    if shards * replicas != processes:
        sizes = f"{AXIS}dp_replicate_size {replicas} x {AXIS}dp_shard_size {shards}"
        faults.append(f"num_processes: {sizes} is not {processes}")
    if faults:
        raise UsageError(
            "FSDP cannot be had as this file asks for it.",
            where=where,
            got="; ".join(faults),
            do="See accelerate_configs/fsdp2.yaml and hsdp.yaml for what works.",
        )
    for key, (value, instead) in WITHOUT_EFFECT.items():
        if fsdp.get(key) == value:
            log.warning("%s: %s changes nothing here: %s.", where, key, instead)
    return Sharding(
        shards,
        replicas,
        reshard_after_forward=bool(fsdp.get("fsdp_reshard_after_forward", True)),
        activation_checkpointing=bool(fsdp.get("fsdp_activation_checkpointing")),
        offload=bool(fsdp.get("fsdp_offload_params")),
    )


def _axes(config: Mapping[str, Any]) -> dict[str, int]:
    found = dict(config.get("parallelism_config") or {})
    return {
        key.removeprefix(AXIS): int(value)
        for key, value in found.items()
        if key.endswith("_size") and str(value).isdigit()
    }


def _faults(fsdp: Mapping[str, Any]) -> list[str]:
    faults = []
    if int(fsdp.get("fsdp_version", 1)) != 2:
        faults.append("fsdp_version: only 2")
    if not isinstance(fsdp.get("fsdp_reshard_after_forward", True), bool):
        faults.append("fsdp_reshard_after_forward: true or false")
    wrap = fsdp.get("fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")
    if wrap != "TRANSFORMER_BASED_WRAP":
        faults.append("fsdp_auto_wrap_policy: only TRANSFORMER_BASED_WRAP, by the model's blocks")
    for key in ("fsdp_transformer_layer_cls_to_wrap", "fsdp_ignored_modules"):
        if fsdp.get(key):
            faults.append(f"{key}: not taken, the blocks are found in the model itself")
    return faults
