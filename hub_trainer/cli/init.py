"""`hub-trainer init`: from one's own file to a dataset on the Hub and a recipe."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from hub_trainer.cli.output import say
from hub_trainer.contribute.creation import Beginning, begin
from hub_trainer.hub import Hub


def init_from(hub: Hub, wanted: Beginning) -> dict[str, Any]:
    """Begin, say what was made and which command is next, and give what `--json` shows.

    Somebody at a terminal is asked about labels that are probably the same before the dataset is
    made.
    """
    begun = begin(hub, wanted, agrees=_agrees if sys.stdin.isatty() else lambda notes: True)
    if begun is None:
        say("Nothing was made.")
        return {"dataset": None, "recipe": None, "next": []}
    for note in begun.notes:
        say(f"note: {note}", style="yellow")
    if begun.dropped:
        reasons = ", ".join(f"{count:,} with {why}" for why, count in begun.dropped.items())
        count = sum(begun.dropped.values())
        rows = "1 row was" if count == 1 else f"{count:,} rows were"
        say(f"{rows} left out: {reasons}", style="yellow")
    rows = ", ".join(f"{count:,} {name} rows" for name, count in begun.rows.items())
    say(f"The dataset is made: {begun.url} ({'private' if wanted.private else 'public'}; {rows})")
    for ours, theirs in begun.columns.items():
        say(f"  {theirs} is the {ours}")
    if not wanted.license:
        say("  it has no licence yet: add one to its card before others use it")
    say(f"The recipe is written: {begun.recipe}")
    say(f"Next: hub-trainer check {begun.recipe}")
    say(f"Then: hub-trainer run {begun.recipe}")
    next_commands = [f"hub-trainer {verb} {begun.recipe}" for verb in ("check", "run")]
    return {**begun.to_dict(), "next": next_commands}


def _agrees(notes: Sequence[str]) -> bool:
    for note in notes:
        say(f"note: {note}", style="yellow")
    return bool(typer.confirm("Make the dataset all the same?", default=False, err=True))


def default_out(data: Path) -> Path:
    """The recipe's file, beside where the command is given."""
    return Path(f"{data.resolve().stem}.yaml")
