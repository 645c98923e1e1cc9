"""The cards that serving writes, those of the Space and of its ratings, tried before a round."""

from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.cards import CardLicence, card_licence, recorded_licence
from hub_trainer.errors import HubError, Problem
from hub_trainer.hub import Hub, Repo
from hub_trainer.inputs import load_input
from hub_trainer.lineage import RoundRecord
from hub_trainer.ratings import ratings_card
from hub_trainer.recipe import GenerationSection, Recipe
from hub_trainer.recipe.columns import is_answer
from hub_trainer.reports import DatasetReport
from hub_trainer.space.readme import space_readme
from hub_trainer.space.settings import RivalModel, SpaceSettings, consent_text
from hub_trainer.tasks import outline_for

NO_COMMIT = "0" * 40


def ratings_licence(record: RoundRecord, hub: Hub) -> CardLicence | None:
    """The licence of the training data, which ratings are to join; None where that is not one."""
    found = {}
    for dataset in record.datasets:
        if dataset.role == "train":
            licence = recorded_licence(dataset.license, _card(dataset, hub))
            found[str(licence)] = licence
    return found.popitem()[1] if len(found) == 1 else None


def inputs_named(recipe: Recipe) -> dict[str, str]:
    """What the dataset calls the columns of the input, where there are several to tell apart."""
    theirs = recipe.collect.datasets[0].columns
    names = [name for name in outline_for(recipe).columns if not is_answer(name)]
    return {name: theirs.get(name, name) for name in names} if len(names) > 1 else {}


def card_of_ratings(settings: SpaceSettings, licence: CardLicence | None) -> str:
    """README.md of the ratings dataset."""
    return ratings_card(
        task=settings.task,
        space=settings.space_repo_id,
        licence=licence.front_matter() if licence else {},
        consent=consent_text(settings),
        dialogues=settings.generation is not None,
    )


def card_problems(recipe: Recipe, hub: Hub) -> list[Problem]:
    """What the Hub would refuse in the cards that serving this recipe will write.

    Datasets that cannot be read are left to the checks of collect.
    """
    if recipe.serve is None:
        return []
    licence = _expected_licence(recipe, hub)
    settings = _expected_settings(recipe, licence)
    readme = space_readme(
        settings, endpoint=hub.url, hardware=recipe.serve.hardware, preload=[f"a/b c {NO_COMMIT}"]
    )
    return [
        *_refused(hub.card_problems(readme, "space"), "serve.repo_id"),
        *_refused(
            hub.card_problems(card_of_ratings(settings, licence), "dataset"),
            "serve.ratings_repo_id",
        ),
    ]


def _refused(faults: Sequence[str], key: str) -> list[Problem]:
    return [Problem(key, f"{key}: the Hub refuses the card: {fault}") for fault in faults]


def _expected_licence(recipe: Recipe, hub: Hub) -> CardLicence | None:
    found = {}
    for source in recipe.collect.datasets:
        repo = Repo(source.repo_id, "dataset")
        try:
            licence = card_licence(hub.card_data(repo, hub.resolve(repo, source.revision)))
        except HubError:
            continue
        found[str(licence)] = licence
    return found.popitem()[1] if len(found) == 1 else None


def _expected_settings(recipe: Recipe, licence: CardLicence | None) -> SpaceSettings:
    """The settings of the Space, as far as they are known before there is a model."""
    section = recipe.serve
    assert section is not None
    known = outline_for(recipe)
    writes = load_input(known.modality).dialogue is not None
    rival = section.rival
    return SpaceSettings(
        space_repo_id=section.repo_id,
        task=recipe.task,
        model_repo_id=recipe.publish.repo_id,
        commit_sha=NO_COMMIT,
        ratings_repo_id=section.ratings_repo_id,
        answer=None if writes else known.answer,
        columns=inputs_named(recipe),
        label_names=[] if writes else ["label"],
        generation=GenerationSection() if writes else None,
        rival=RivalModel(repo_id=rival.repo_id, commit_sha=NO_COMMIT) if rival and writes else None,
        license=str(licence) if licence else None,
        title=section.title,
        description=section.description,
        notice=recipe.publish.notice,
    )


def _card(dataset: DatasetReport, hub: Hub) -> Mapping[str, Any]:
    """The dataset's card as it was, for what a record does not keep; empty when it is gone."""
    try:
        return hub.card_data(Repo(dataset.repo_id, "dataset"), dataset.commit_sha)
    except HubError:
        return {}
