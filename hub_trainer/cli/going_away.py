"""`hub-trainer run --on WHERE`: a round that another machine runs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_trainer.cli.output import print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub


@dataclass(frozen=True)
class Journey:
    """Where a round is to run, and the options that only another machine has."""

    on: str | None
    time: str | None = None
    gpus: int | None = None
    sbatch: tuple[str, ...] = ()

    def assert_sound(self, *, fresh: bool) -> bool:
        """Whether the round goes away. Raises UsageError for options that would change nothing."""
        given = {"--time": self.time is not None}
        given |= {"--gpus": self.gpus is not None, "--sbatch": bool(self.sbatch)}
        idle = [name for name, is_given in given.items() if is_given]
        if self.on is None:
            if idle:
                raise UsageError(
                    f"{', '.join(idle)} changes nothing without --on.",
                    do="Add --on slurm, or leave it out.",
                )
            return False
        if self.on != "slurm":
            raise UsageError(
                "--on names no place to run a round.", got=self.on, do="Write --on slurm."
            )
        if fresh:
            raise UsageError(
                "--fresh cannot go with --on: each restart would begin the round anew.",
                do="Remove the round's folder, then run without --fresh.",
            )
        return True


def run_away(
    journey: Journey,
    recipe: Path,
    overrides: Sequence[str],
    *,
    round_dir: Path | None,
    accelerate_config: Path | None,
    as_json: bool,
) -> None:
    """Write the batch file of a round and say how to submit it."""
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
    say(f"Written, and not submitted. It may take {seconds / 3600:.2g} h and resumes by itself:")
    say(f"sbatch {shlex.quote(str(file))}")
    if as_json:
        print_json({"file": str(file), "seconds": seconds})
