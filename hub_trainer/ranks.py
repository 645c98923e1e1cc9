"""Ranks: what a launcher says of this process, in variables of its environment."""

import os
from collections.abc import Mapping

EXPECTED_PROCESSES = "HUB_TRAINER_NUM_PROCESSES"
"""How many processes `run --accelerate-config` has asked for; set in those that it starts."""


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is rank 0, which alone speaks to people."""
    return environment.get("RANK", "0") == "0"


def is_part_of_a_run(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a `run` has started this process and tells of the round itself."""
    return EXPECTED_PROCESSES in environment
