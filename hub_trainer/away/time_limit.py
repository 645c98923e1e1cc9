"""Time limit of a round that runs elsewhere: asked for, or the plan's estimate with a margin."""

import re
from pathlib import Path

from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub
from hub_trainer.plan import plan_round
from hub_trainer.recipe import RecipeFile

MARGIN = 2.0
"""The estimate is of this machine and of training alone; the other stages and a slower machine
must fit into the limit too."""
SET_UP_SECONDS = 30 * 60
"""Installation, downloads, a queue of the disk: added whatever the estimate says."""
ROUND_UP_SECONDS = 15 * 60
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time_limit(text: str) -> int:
    """Seconds of `90m`, `2h`, `1.5d` or `HH:MM:SS`. Raises UsageError for anything else."""
    if clock := re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", text):
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    elif found := re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text):
        seconds = int(float(found[1]) * _UNITS[found[2]])
    else:
        seconds = 0
    if seconds < 60:
        raise UsageError(
            "--time is no time limit.", got=text, do="Write 90m, 2h, 1.5d or 02:30:00, from 1m on."
        )
    return seconds


def time_limit(
    asked: str | None, recipe_file: RecipeFile, hub: Hub, *, accelerate_config: Path | None = None
) -> int:
    """Seconds that a round may take. Without `--time` they follow from the plan's estimate.

    Raises UsageError where nobody has said a time and the plan has no estimate.
    """
    if asked is not None:
        return parse_time_limit(asked)
    plan = plan_round(recipe_file, hub, accelerate_config=accelerate_config)
    search, seen = plan.search.seconds if plan.search else 0, plan.forecast
    if seen.seconds is None or search is None:
        raise UsageError(
            "No time limit is known for this round.",
            where=str(recipe_file.path),
            got=f"no estimate: {seen.time_basis}",
            do="Say how long it may take, as --time 4h.",
        )
    return with_margin(seen.seconds + search)


def with_margin(seconds: float) -> int:
    """A limit in which an estimate of `seconds` surely fits, in whole quarters of an hour."""
    needed = seconds * MARGIN + SET_UP_SECONDS
    return int(-(-needed // ROUND_UP_SECONDS) * ROUND_UP_SECONDS)
