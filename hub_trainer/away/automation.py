"""Automation of a recipe: webhooks and a schedule start a look, which starts what is due."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hub_trainer.away.job import (
    Sending,
    Tell,
    assert_token,
    find_flavor,
    order_of,
    price_told,
    secrets_by_name,
)
from hub_trainer.away.orders import Orders, look_labels
from hub_trainer.away.parcel import round_digest, send_parcel
from hub_trainer.away.time_limit import time_limit
from hub_trainer.hub import Hub, Repo
from hub_trainer.hub_jobs import HubJob, HubJobs
from hub_trainer.recipe import Recipe, RecipeFile

LOOK_FLAVOR = "cpu-basic"
"""A look reads, compares and reviews; a round's job has the hardware that it needs."""
LOOK_SECONDS = 3600


@dataclass(frozen=True)
class Automated:
    """What watches a recipe from now on."""

    look: HubJob
    """The first look, which every webhook repeats."""
    watched: tuple[str, ...]
    """Repos whose events start a look, as type and id."""
    schedule: str | None
    replaced: int
    """Webhooks and schedules of an earlier automation, which are gone."""


def automate_recipe(  # noqa: PLR0913 - what somebody asks for
    recipe_file: RecipeFile,
    overrides: Sequence[str],
    sending: Sending,
    hub: Hub,
    *,
    min_rows: int,
    schedule: str | None,
    tell: Tell,
) -> Automated:
    """Send the recipe, look once, and look again at each event and by the schedule.

    What an earlier call has set up for the same model is replaced. Raises UsageError and HubError
    as `start_or_find` does.
    """
    assert_token(hub)
    secrets = secrets_by_name(sending.secrets, hub)
    jobs = HubJobs(hub, str(hub.user()["name"]))
    flavors = jobs.flavors()
    flavor, of_look = (find_flavor(flavors, one) for one in (sending.flavor, LOOK_FLAVOR))
    config = sending.accelerate_config
    seconds = time_limit(sending.time, recipe_file, hub, accelerate_config=config)
    tell(f"A round: {price_told(flavor, seconds)}")
    tell(f"A look: {price_told(of_look, LOOK_SECONDS)}")
    parcel = send_parcel(hub, jobs.namespace, recipe_file, overrides, config)
    orders = Orders(
        repo_id=parcel.repo.repo_id,
        commit_sha=parcel.commit_sha,
        arguments=parcel.arguments,
        digest=round_digest(recipe_file, overrides, config),
        flavor=flavor.name,
        seconds=seconds,
        secrets=sending.secrets,
        min_rows=min_rows,
    )
    labels = look_labels(recipe_file.recipe)
    order = order_of(
        parcel, "look", [orders.to_text()], hub, flavor=of_look.name, seconds=LOOK_SECONDS
    )
    order = replace(order, labels=labels, secrets=secrets)
    replaced = jobs.start_no_more(labels)
    look = jobs.start(order)
    repos = watched_repos(recipe_file.recipe)
    jobs.start_at_events(look, repos, secrets)
    if schedule is not None:
        jobs.start_by_schedule(order, schedule)
    told = tuple(f"{repo.repo_type} {repo.repo_id}" for repo in repos)
    return Automated(look, told, schedule, replaced)


def stop_automation(recipe: Recipe, hub: Hub) -> int:
    """Remove what starts looks; how many webhooks and schedules that were. Jobs at work go on."""
    assert_token(hub)
    return HubJobs(hub, str(hub.user()["name"])).start_no_more(look_labels(recipe))


def watched_repos(recipe: Recipe) -> list[Repo]:
    """Repos in which something may happen that a round learns from."""
    names = [source.repo_id for source in recipe.collect.datasets]
    if recipe.serve is not None:
        names.append(recipe.serve.ratings_repo_id)
    return [Repo(name, "dataset") for name in dict.fromkeys(names)]


def secrets_here(names: Sequence[str], hub: Hub) -> dict[str, str]:
    """Secrets of a look, handed on to the round that it starts; without those that are gone."""
    return secrets_by_name([name for name in names if os.environ.get(name)], hub)
