"""The train stage in processes of its own, as an accelerate config file asks for them.

What this machine or this engine cannot do is refused before any process starts.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hub_trainer.errors import Interrupted, TrainingError, UsageError
from hub_trainer.launch.config_files import read_asked, read_config
from hub_trainer.launch.here import assert_can_train_here, assert_devices, devices
from hub_trainer.launch.run_link import STOP_SECONDS, linked_to_run, run_launcher
from hub_trainer.ranks import ASKED, EXPECTED_PROCESSES
from hub_trainer.recipe import Recipe

__all__ = [
    "assert_can_train_here",
    "assert_no_search",
    "launch_train",
    "linked_to_run",
    "read_asked",
    "train_command",
]

log = logging.getLogger(__name__)


def launch_train(config_file: Path, arguments: Sequence[str]) -> None:
    """Run `hub-trainer train ARGUMENTS` under the launcher; raise when it fails.

    SIGTERM or SIGINT to this process stops all of them at one step. Raises Interrupted then, with
    what they say of their checkpoint.
    """
    command, environment = train_command(config_file, arguments)
    ending = run_launcher(command, environment)
    if ending.by_force:
        raise Interrupted(
            "The training processes were ended before they had stopped.",
            where=str(config_file),
            got=f"no checkpoint within {STOP_SECONDS:.0f} s, or a second Ctrl-C",
            do="Run the same command again: it goes on from the last checkpoint.",
        )
    if ending.stopped:
        raise ending.stopped[0]
    if ending.code != 0:
        raise TrainingError(
            "Training failed in the launched processes; their messages stand above.",
            where=str(config_file),
            got=f"exit code {ending.code}",
            do="Mend what they name, then run the same command again.",
        )
    if ending.was_told:
        raise Interrupted(
            "Interrupted when training had ended.", do="Run the same command again to go on."
        )


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
    config, wanted = read_config(config_file), read_asked(config_file)
    assert_devices(wanted)
    if wanted.on_cpu is None and not devices()[0]:
        log.warning("%s asks for GPUs and there is none: training runs on the CPU.", config_file)
    target = ["-m", "hub_trainer", "train", *arguments]
    environment = {
        EXPECTED_PROCESSES: str(wanted.processes),
        ASKED: json.dumps(asdict(wanted)),
    }
    if wanted.on_cpu and wanted.processes > 1:
        each = max(1, (os.cpu_count() or 1) * wanted.machines // wanted.processes)
        environment |= {"ACCELERATE_USE_CPU": "true"}
        if "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(each)
        return [*_torchrun(config, wanted.processes), *target], environment
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    # Quiet: of a process that failed, what it said itself stands there, and no traceback of ours.
    return [*launcher, "--quiet", "--config_file", str(config_file), *target], environment


def _torchrun(config: Mapping[str, object], processes: int) -> list[str]:
    machines = int(str(config.get("num_machines", 1)))
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
