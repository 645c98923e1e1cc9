"""A round on a Slurm cluster: its batch file, which resumes by itself; nothing is submitted."""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hub_trainer.artifacts import write_durably
from hub_trainer.errors import ExitCode, UsageError
from hub_trainer.hub import PUBLIC_ENDPOINT, endpoint
from hub_trainer.launch import assert_no_search, read_asked
from hub_trainer.loop.start import rounds_folder
from hub_trainer.ranks import ASKED, Asked
from hub_trainer.recipe import RecipeFile

WARNING_SECONDS = 120
"""So long before the end of its time a round is told to write a checkpoint."""
CORES_PER_GPU = 4
"""Reading rows and pictures needs more than the one core that Slurm gives by itself."""
MAX_RESTARTS = 50
PORT = 29500
HANDED_ON = ("HF_HOME", "PYTHONPATH")
"""Variables that hold no secret and that the nodes need as they are here."""

_HEAD = """\
#!/bin/bash
# A round of {name}. Written by `hub-trainer run --on slurm`, which overwrites it.
# Submit it from any folder:  sbatch {file}
{directives}
# Why this signal: TERM without `B:` goes to every process of the running step, and so to the
# processes that train, which finish their step, write a checkpoint and exit with {interrupted}.
# With `B:` only this shell would get it, and an srun that is sent TERM ends its step instead of
# passing it on. Preemption, scancel and node maintenance send the same signal in the same way.
set -u
# The token is HF_TOKEN of the job's environment, or the login that `hf auth login` saved on the
# node. It is never in this file.
cd {cwd} || exit 1
{exports}
"""

_TASK = """\
# In a task: the launcher must outlive the processes that it has started, as only they act on TERM;
# it would exit at once (accelerate) or kill them after 30 s (torchrun).
task='
told=
trap "told=1" TERM
(trap "" TERM; exec "$@") &
child=$!
code=0; wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done
if [ -n "$told" ] && [ "$code" -ne 0 ]; then exit {interrupted}; fi
exit "$code"
'

# This shell stays, whoever sends TERM to all: it is what asks for the next start.
trap : TERM

ended() {{
  # {interrupted}: a checkpoint is written. The queued job resumes from it, here or on other nodes.
  if [ "$1" -eq {interrupted} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$1"
}}
"""

_ONE_PROCESS = """
srun --ntasks=1 bash -c "$task" task \\
  {run}
ended $?
"""

_SEVERAL = """
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Rows are fetched and prepared once, before processes of the training wait for each other.
srun --nodes=1 --ntasks=1 bash -c "$task" task \\
  {prepare} || ended $?

# SLURM_NODEID is of each task, so it is read there and not here.
srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=1 \\
  bash -c 'task=$1; shift; head=$1; shift; rank=$SLURM_NODEID
    for part; do shift; part=${{part//@HEAD@/$head}}; set -- "$@" "${{part//@RANK@/$rank}}"; done
    exec bash -c "$task" task "$@"' launch "$task" "$head" \\
  {train} || ended $?

# The other stages run in one process, and find the training done.
srun --nodes=1 --ntasks=1 bash -c "$task" task \\
  {run}
ended $?
"""


@dataclass(frozen=True)
class Allocation:
    """What a cluster is asked for."""

    seconds: int
    """Time limit of one start."""
    gpus: int | None = None
    """Of one node; None: as the accelerate config says, or one."""
    options: tuple[str, ...] = ()
    """Of sbatch, as `partition=gpu`; they replace ours."""


def write_batch_file(
    recipe_file: RecipeFile,
    overrides: Sequence[str],
    wanted: Allocation,
    *,
    accelerate_config: Path | None = None,
    round_dir: Path | None = None,
) -> Path:
    """Write the batch file beside the round and give back where it is."""
    asked = read_asked(accelerate_config) if accelerate_config else None
    if asked is not None:
        assert_no_search(recipe_file.recipe, asked.processes, str(accelerate_config))
    if round_dir:
        file = round_dir.absolute().with_name(f"{round_dir.name}.sbatch")
    else:
        file = rounds_folder(recipe_file).absolute() / "slurm.sbatch"
    directives = _directives(recipe_file.name, asked, wanted)
    directives |= dict(_option(text) for text in wanted.options)
    arguments = [str(recipe_file.path.absolute()), *overrides]
    arguments += ["--round-dir", str(round_dir.absolute())] if round_dir else []
    text = _HEAD.format(
        name=_plain(recipe_file.name),
        file=shlex.quote(str(file)).replace("\n", " "),
        directives="\n".join(
            f"#SBATCH --{key}" + (f"={value}" if value else "") for key, value in directives.items()
        ),
        interrupted=int(ExitCode.INTERRUPTED),
        cwd=shlex.quote(str(Path.cwd())),
        exports="\n".join(_exports(os.environ)),
    )
    text += _TASK.format(interrupted=int(ExitCode.INTERRUPTED), restarts=MAX_RESTARTS)
    run = _command("run", arguments)
    if asked is None or accelerate_config is None:
        text += _ONE_PROCESS.format(run=run)
    else:
        launcher = _launcher(asked, accelerate_config.absolute())
        train = shlex.join([*launcher, "-m", "hub_trainer", "train", *arguments])
        prepare = _command("prepare", arguments)
        text += _SEVERAL.format(nodes=asked.machines, prepare=prepare, train=train, run=run)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, text.encode())
    return file


def _directives(name: str, asked: Asked | None, wanted: Allocation) -> dict[str, str]:
    nodes = asked.machines if asked else 1
    processes = asked.processes // nodes if asked else 1
    gpus = wanted.gpus
    if gpus is None:
        gpus = 0 if asked and asked.on_cpu else processes
    minutes, rest = divmod(wanted.seconds, 60)
    found = {
        "job-name": f"hub-trainer-{_plain(name)}",
        "nodes": str(nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(CORES_PER_GPU * gpus or processes),
        "gpus-per-node": str(gpus),
        "time": f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}",
        "signal": f"TERM@{WARNING_SECONDS}",
        "requeue": "",
        "open-mode": "append",
        "output": "hub-trainer-%j.log",
    }
    if gpus == 0:
        del found["gpus-per-node"]
    return found


def _option(text: str) -> tuple[str, str]:
    """An option of sbatch; it stands in a comment line, so it may hold no line of its own."""
    key, _, value = text.partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", key) or not re.fullmatch(r"[\w.,:;@%+/=*-]*", value):
        raise UsageError(
            "--sbatch takes an option of sbatch as name=value, without blanks.",
            got=repr(text),
            do="Write --sbatch partition=gpu, once for each option.",
        )
    if key in ("signal", "requeue", "no-requeue", "export", "wrap", "ntasks-per-node"):
        raise UsageError(
            f"--sbatch cannot set {key}: the file depends on what it says there.",
            got=repr(text),
            do="Leave it out, or edit the file that is written.",
        )
    return key, value


def _exports(environment: Mapping[str, str]) -> list[str]:
    found = {key: environment[key] for key in HANDED_ON if environment.get(key)}
    if endpoint() != PUBLIC_ENDPOINT:
        found["HF_ENDPOINT"] = endpoint()
    return [f"export {key}={shlex.quote(value)}" for key, value in found.items()]


def _command(stage: str, arguments: Sequence[str]) -> str:
    return shlex.join([sys.executable, "-m", "hub_trainer", stage, *arguments])


def _launcher(asked: Asked, config: Path) -> list[str]:
    """The launcher on each node; @HEAD@ is the first node's name and @RANK@ the node's number.

    accelerate starts one process only where several on the CPU are asked for, so those go to
    torchrun. PET_SIGNALS_TO_HANDLE is torchrun's own: it must leave TERM to its processes.
    """
    given = ["env", "PET_SIGNALS_TO_HANDLE=SIGQUIT", f"{ASKED}={json.dumps(asdict(asked))}"]
    if asked.on_cpu and asked.processes > 1:
        each = str(asked.processes // asked.machines)
        return [
            *given,
            "ACCELERATE_USE_CPU=true",
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--nproc_per_node", each, "--nnodes", str(asked.machines), "--node_rank", "@RANK@"),
            *("--master_addr", "@HEAD@", "--master_port", str(PORT)),
        ]
    return [
        *given,
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)),
        *("--num_machines", str(asked.machines), "--num_processes", str(asked.processes)),
        *("--machine_rank", "@RANK@", "--main_process_ip", "@HEAD@"),
        *("--main_process_port", str(PORT)),
    ]


def _plain(text: str) -> str:
    """A name that may stand in a comment and in a directive."""
    return re.sub(r"[^\w.-]+", "-", text)
