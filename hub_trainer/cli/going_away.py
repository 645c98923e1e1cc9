"""`hub-trainer run --on WHERE`: a round that another machine runs."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from hub_trainer.cli.output import print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub

SLURM, JOBS = "slurm", "jobs:"


@dataclass(frozen=True)
class Journey:
    """Where a round is to run, and the options that only another machine has."""

    on: str | None
    time: str | None = None
    gpus: int | None = None
    sbatch: tuple[str, ...] = ()
    detach: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def flavor(self) -> str | None:
        """The hardware of a job; None where the round does not go to one."""
        is_job = self.on is not None and self.on.startswith(JOBS)
        return str(self.on).removeprefix(JOBS) if is_job else None

    def leaves(self, *, fresh: bool, round_dir: Path | None) -> bool:
        """Whether the round goes away. Raises UsageError for options that would change nothing."""
        if self.on not in (None, SLURM) and not self.flavor:
            raise UsageError(
                "--on names no place to run a round.",
                got=self.on,
                do="Write --on slurm, or --on jobs:FLAVOR, as jobs:a10g-large.",
            )
        of_slurm = {"--gpus": self.gpus is not None, "--sbatch": bool(self.sbatch)}
        of_jobs = {"--detach": self.detach, "--secret": bool(self.secrets)}
        idle = {"--time": self.time is not None} if self.on is None else {}
        idle |= {} if self.on == SLURM else of_slurm
        idle |= {} if self.flavor else of_jobs
        if given := [name for name, is_given in idle.items() if is_given]:
            where = f"with --on {self.on}" if self.on else "without --on"
            raise UsageError(
                f"{', '.join(given)} changes nothing {where}.",
                do="Leave it out, or see --help for what it belongs to.",
            )
        if self.on and fresh:
            raise UsageError(
                "--fresh cannot go with --on: each restart would begin the round anew.",
                do="Change train.seed, or remove what is kept of the round; see docs/away.md.",
            )
        if self.flavor and round_dir:
            raise UsageError(
                "--round-dir cannot go with --on jobs: the round lies where the job runs.",
                do="Leave it out.",
            )
        return self.on is not None


def run_away(
    journey: Journey,
    recipe: Path,
    overrides: Sequence[str],
    *,
    round_dir: Path | None,
    accelerate_config: Path | None,
    as_json: bool,
) -> None:
    """Write the batch file of a round, or start its job and follow it."""
    if journey.flavor:
        _run_as_job(journey, recipe, overrides, accelerate_config, as_json=as_json)
        return
    from hub_trainer.away.slurm import Allocation, write_batch_file
    from hub_trainer.away.time_limit import time_limit
    from hub_trainer.recipe import load_recipe

    recipe_file = load_recipe(recipe, overrides)
    seconds = time_limit(journey.time, recipe_file, Hub(), accelerate_config=accelerate_config)
    file = write_batch_file(
        recipe_file,
        overrides,
        Allocation(seconds, journey.gpus, journey.sbatch),
        accelerate_config=accelerate_config,
        round_dir=round_dir,
    )
    say(f"Written, and not submitted. It may take {seconds / 3600:.4g} h and resumes by itself:")
    say(f"sbatch {shlex.quote(str(file))}")
    if as_json:
        print_json({"file": str(file), "seconds": seconds})


def _run_as_job(
    journey: Journey,
    recipe: Path,
    overrides: Sequence[str],
    accelerate_config: Path | None,
    *,
    as_json: bool,
) -> None:
    from hub_trainer.away.job import Sending, follow, start_or_find
    from hub_trainer.recipe import load_recipe

    recipe_file = load_recipe(recipe, overrides)
    sending = Sending(journey.flavor or "", journey.time, journey.secrets, accelerate_config)
    jobs, job = start_or_find(recipe_file, overrides, sending, Hub(), tell=say)
    if job is None:
        if as_json:
            print_json({"start": "nothing new"})
        return
    code = 0
    if journey.detach:
        say("It goes on by itself. The same command without --detach follows it.")
    else:
        code = follow(jobs, job, tell=say)
        job = jobs.inspect(job.id)
    if as_json:
        print_json(asdict(job))
    if code:
        raise typer.Exit(code)
