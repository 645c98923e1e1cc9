"""`hub-trainer automate`: rounds and reviews that nobody starts."""

from dataclasses import asdict
from typing import Annotated

import typer

from hub_trainer.cli.going_away import JOBS, Secrets, TimeLimit
from hub_trainer.cli.options import AccelerateConfig, AsJson, Endpoint, Overrides, RecipePath
from hub_trainer.cli.output import errors_shown, print_json, say
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, use_endpoint

Place = Annotated[
    str | None,
    typer.Option(metavar="jobs:FLAVOR", help="Where rounds run, as jobs:a10g-large."),
]


def automate(  # noqa: PLR0913 - a command line has as many options as it needs
    recipe: RecipePath,
    overrides: Overrides = None,
    on: Place = None,
    min_rows: Annotated[
        int, typer.Option(min=1, help="New training rows that are enough for a round.")
    ] = 1,
    schedule: Annotated[
        str,
        typer.Option(help="Look then as well: @daily, five fields of cron, or never."),
    ] = "@daily",
    stop: Annotated[bool, typer.Option("--stop", help="Remove what starts looks.")] = False,
    time: TimeLimit = None,
    secret: Secrets = None,
    endpoint: Endpoint = None,
    accelerate_config: AccelerateConfig = None,
    as_json: AsJson = False,
) -> None:
    """Let the Hub start review, curate, rounds and serve, when something happens to the data."""
    with errors_shown(as_json):
        use_endpoint(endpoint)
        from hub_trainer.away.automation import automate_recipe, stop_automation
        from hub_trainer.away.job import Sending
        from hub_trainer.recipe import load_recipe

        recipe_file, hub = load_recipe(recipe, overrides or []), Hub()
        if stop:
            removed = stop_automation(recipe_file.recipe, hub)
            say(f"{removed} webhooks and schedules are removed. Jobs at work go on to their end.")
            if as_json:
                print_json({"removed": removed})
            return
        flavor = (on or "").removeprefix(JOBS)
        if not (on or "").startswith(JOBS) or not flavor:
            raise UsageError(
                "--on says on which hardware of the Hub rounds run.",
                got=on,
                do="Write --on jobs:FLAVOR, as jobs:a10g-large.",
            )
        made = automate_recipe(
            recipe_file,
            overrides or [],
            Sending(flavor, time, tuple(secret or ()), accelerate_config),
            hub,
            min_rows=min_rows,
            schedule=None if schedule == "never" else schedule,
            tell=say,
        )
        say(f"Watched: {', '.join(made.watched)}; and {made.schedule or 'no schedule'}.")
        if made.replaced:
            say(f"{made.replaced} webhooks and schedules of an earlier call are replaced.")
        say(f"The first look: {made.look.url}")
        if as_json:
            print_json(asdict(made))
