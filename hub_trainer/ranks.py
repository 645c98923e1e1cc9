"""Ranks: what a launcher says of this process, in variables of its environment."""

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any

EXPECTED_PROCESSES = "HUB_TRAINER_NUM_PROCESSES"
"""How many processes `run --accelerate-config` has asked for; set in those that it starts."""
ASKED = "HUB_TRAINER_ASKED"
"""What the accelerate file asks for, as JSON; set in each process of a launcher."""


@dataclass(frozen=True)
class Sharding:
    """How FSDP2 splits a model over the devices."""

    shards: int
    """Devices that hold one copy of the model together."""
    replicas: int = 1
    """Copies of the model; more than one is HSDP."""
    reshard_after_forward: bool = True
    """Weights are gathered anew for the backward pass (as ZeRO-3), or kept for it (as ZeRO-2)."""
    activation_checkpointing: bool = False
    """Activations of a block are computed again in the backward pass."""
    offload: bool = False
    """Shards wait in the memory of the CPU."""


@dataclass(frozen=True)
class Asked:
    """What an accelerate file asks for, to hold against what runs."""

    where: str
    """The file, or whoever else asked."""
    processes: int
    machines: int = 1
    on_cpu: bool | None = None
    """None: on a GPU if there is one."""
    sharding: Sharding | None = None
    """None: each process has the whole model."""

    def write(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Keep it for the rest of this process, and for those it starts."""
        environment[ASKED] = json.dumps(asdict(self))


def asked(environment: Mapping[str, str] = os.environ) -> Asked | None:
    """What was asked for; None where no launcher has started this process."""
    if ASKED not in environment:
        return None
    found: dict[str, Any] = json.loads(environment[ASKED])
    sharding = found.pop("sharding")
    return Asked(**found, sharding=Sharding(**sharding) if sharding else None)


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is rank 0, which alone speaks to people."""
    return environment.get("RANK", "0") == "0"


def is_part_of_a_run(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a `run` has started this process and tells of the round itself."""
    return EXPECTED_PROCESSES in environment
