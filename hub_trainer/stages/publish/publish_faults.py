"""Faults that would keep a round from being published, found before anything is trained."""

from hub_trainer.cards import decide_licence, draft_card
from hub_trainer.cards.licences import HUB_LICENCES
from hub_trainer.cards.notices import notice_problem
from hub_trainer.errors import HubError, Problem
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import PinnedRepo
from hub_trainer.recipe import Recipe
from hub_trainer.stages.publish.sources import licence_problems, licensed_works


def publish_problems(recipe: Recipe, hub: Hub) -> list[Problem]:
    """Missing write permission, a licence that the sources forbid, metadata that the Hub refuses.

    Repos that cannot be read are left to the checks of collect and of the base model.
    """
    problems = _permission_problems(recipe, hub)
    try:
        works = licensed_works(hub, *_sources(recipe, hub))
    except HubError:
        return problems
    section = recipe.publish
    if section.license and section.license.lower() not in HUB_LICENCES:
        key = "publish.license"
        told = f"{key}: {section.license!r} is no licence that the Hub knows; write license: other,"
        return [*problems, Problem(key, f"{told} and its name in publish.license_name")]
    decision = decide_licence(
        section.license, works, name=section.license_name, link=section.license_link
    )
    problems += _notice_problems(recipe, hub)
    refused = hub.card_problems(draft_card(recipe, decision.in_card, ()))
    problems += licence_problems(decision)
    problems += [Problem("publish", f"publish: the Hub refuses the card: {r}") for r in refused]
    return problems


def _notice_problems(recipe: Recipe, hub: Hub) -> list[Problem]:
    _, datasets = _sources(recipe, hub)
    cards = [
        (one.repo_id, hub.card_data(Repo(one.repo_id, "dataset"), one.commit_sha))
        for one in datasets
    ]
    missing = notice_problem(recipe.publish.notice, cards)
    return [missing] if missing else []


def _permission_problems(recipe: Recipe, hub: Hub) -> list[Problem]:
    try:
        hub.assert_can_write(Repo(recipe.publish.repo_id))
    except HubError as error:
        return [Problem.of(error, "publish.repo_id")]
    return []


def _sources(recipe: Recipe, hub: Hub) -> tuple[PinnedRepo | None, list[PinnedRepo]]:
    """The base model and the training data at what their revisions name now."""
    base = None
    if recipe.base_model:
        ref = recipe.base_model
        sha = hub.resolve(Repo(ref.repo_id), ref.revision)
        base = PinnedRepo(ref.repo_id, "model", ref.revision, sha)
    datasets = []
    for source in recipe.collect.datasets:
        sha = hub.resolve(Repo(source.repo_id, "dataset"), source.revision)
        datasets.append(PinnedRepo(source.repo_id, "dataset", source.revision, sha))
    return base, datasets
