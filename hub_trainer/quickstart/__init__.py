"""The main job on the embedded Local Hub: two rounds of a community's loop, from nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_trainer.contribute import contribute
from hub_trainer.hub import Changes, Hub
from hub_trainer.lineage import read_rounds
from hub_trainer.loop import curate_ratings, run_round, start_space
from hub_trainer.quickstart import seed
from hub_trainer.quickstart import simulated_crowd as crowd
from hub_trainer.quickstart.seed import DIGITS, ORG, Parts, RunningHub
from hub_trainer.recipe import RecipeFile, load_recipe
from hub_trainer.reports import RoundResult

RECIPE = Path(__file__).with_name("recipe.yaml")
SEED = 0
FLIPPED_FRACTION = 0.2
HURRIED = ("RATINGS_PER_HOUR", "PREDICTIONS_PER_MINUTE")
"""Limits of the Space that the simulated people, who need no time to think, would reach."""
Report = Callable[[str, float, str], None]


@dataclass(frozen=True)
class People:
    """The accounts of the story, each with a Hub of its own token."""

    maintainer: Hub
    contributors: dict[str, Hub]
    raters: tuple[crowd.Rater, ...]


def run_quickstart(
    local: RunningHub, folder: Path, *, report: Report, keep_space: bool = False
) -> dict[str, Any]:
    """Two rounds, a rated Space, four pull requests; returns what the command prints as JSON.

    With `keep_space` the Space of the newest model is left running under the key "space".
    """
    started = time.monotonic()
    recipe_file = load_recipe(RECIPE)
    parts = seed.split_digits(SEED)
    people = add_people(local)
    report("seed", 0.0, "data sets, base model, people")
    seed.seed_hub(people.maintainer, parts)
    report("seed", 1.0, "done")

    first = _round(1, recipe_file, folder, people.maintainer, report)
    collect_ratings(recipe_file, folder, people, parts, report)
    open_pull_requests(people, parts, folder, report)
    reviewed = review_all(recipe_file, people.maintainer, report)
    second = _round(2, recipe_file, folder, people.maintainer, report)

    newest = folder / "round-002"
    space = start_space(recipe_file, people.maintainer, round_dir=newest) if keep_space else None
    return {
        "endpoint": local.url,
        "seconds": round(time.monotonic() - started, 1),
        "rounds": [first.to_json(), second.to_json()],
        "pull_requests": reviewed,
        "records": read_rounds(people.maintainer, recipe_file.recipe.publish.repo_id),
        "space": space,
    }


def add_people(local: RunningHub) -> People:
    """A maintainer in the community's organisation, three contributors, twelve raters."""
    maintainer = Hub(local.url, local.add_user("maintainer"))
    local.add_org(ORG, {"maintainer": "admin"})
    names = ("ada", "bob", "mallory")
    contributors = {name: Hub(local.url, local.add_user(name)) for name in names}
    raters = tuple(
        crowd.Rater(name, local.add_user(name), index < crowd.NUM_SABOTEURS)
        for index, name in enumerate(crowd.rater_names())
    )
    return People(maintainer, contributors, raters)


def collect_ratings(
    recipe_file: RecipeFile, folder: Path, people: People, parts: Parts, report: Report
) -> None:
    """Serve the published model, let the crowd rate it, and curate what they said."""
    report("serve", 0.0, "starting the Space")
    space = start_space(
        recipe_file,
        people.maintainer,
        round_dir=folder / "round-001",
        variables=dict.fromkeys(HURRIED, str(len(parts.rated.pictures))),
    )
    try:
        report("serve", 1.0, f"the Space answers at {space.url}")
        crowd.rate_pictures(
            space.url,
            parts.rated,
            people.raters,
            seed=SEED,
            progress=lambda share, doing: report("rate", share, doing),
        )
    finally:
        space.stop()
    curate_ratings(recipe_file, people.maintainer, round_dir=folder / "round-001", progress=report)


def open_pull_requests(people: People, parts: Parts, folder: Path, report: Report) -> None:
    """One good contribution, one with flipped labels, one that reaches for the reviewer's disk."""
    report("contribute", 0.0, "three pull requests")
    good = seed.write_picture_folder(parts.good, folder / "ada")
    contribute(people.contributors["ada"], DIGITS.repo_id, good)
    flipped = seed.flip_labels(parts.flipped, FLIPPED_FRACTION, SEED)
    contribute(
        people.contributors["bob"],
        DIGITS.repo_id,
        seed.write_picture_folder(flipped, folder / "bob"),
    )
    _reach_for_the_disk(people.contributors["mallory"])
    report("contribute", 1.0, "done")


def review_all(recipe_file: RecipeFile, hub: Hub, report: Report) -> list[dict[str, Any]]:
    """Review every open pull request of the data set; returns number, verdict and reasons."""
    from hub_trainer.stages.review import run

    def in_review(share: float, doing: str) -> None:
        report("review", share, doing)

    reviewed = run(hub, DIGITS.repo_id, recipe=recipe_file.recipe, progress=in_review)
    return [
        {**one.to_dict(), "reasons": [check.detail for check in one.checks if not check.passed]}
        for one in reviewed.verdicts
    ]


def _round(
    number: int, recipe_file: RecipeFile, folder: Path, hub: Hub, report: Report
) -> RoundResult:
    def in_round(stage: str, share: float, doing: str) -> None:
        report(f"{stage} {number}", share, doing)

    return run_round(recipe_file, folder / f"round-{number:03d}", hub, progress=in_round)


def _reach_for_the_disk(hub: Hub) -> None:
    """A card whose data file is an absolute path: `load_dataset` would read it and publish it."""
    card = hub.read_file(DIGITS, "README.md", hub.resolve(DIGITS))
    assert card is not None
    changed = card.decode().replace("data/train-*.parquet", "/etc/hostname")
    hub.commit(
        DIGITS,
        Changes({"README.md": changed.encode()}),
        message="Improve the card",
        run_id="quickstart-mallory",
        pull_request="Makes the data set easier to load.",
    )
