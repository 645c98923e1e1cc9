"""Policy of a review: a recipe given by hand or found with the dataset owner's own model.

Nothing here is read from the pull request, nor from a model of anybody but the dataset's owner.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from hub_trainer.checks.card_changes import card_metadata
from hub_trainer.errors import DataError, HubError
from hub_trainer.hub import Hub, Repo
from hub_trainer.lineage import (
    Memory,
    ModelRepo,
    RoundRecord,
    assert_continuous,
    read_model_repo,
)
from hub_trainer.recipe import DatasetSource, Recipe, ReviewSection
from hub_trainer.rows.card import CARD
from hub_trainer.tasks.declared import Declared, declared_in
from hub_trainer.tasks.outlines import answer_of, beside_of


@dataclass(frozen=True)
class PinnedModel:
    """A published model at a commit, and the order of its labels."""

    repo_id: str
    commit_sha: str
    label_names: tuple[str, ...]

    @classmethod
    def of(cls, repo_id: str, record: RoundRecord) -> "PinnedModel":
        """The model of a round on main."""
        return cls(repo_id, str(record.commit_sha), tuple(record.label_names))


@dataclass(frozen=True)
class Policy:
    """The rules for pull requests on one dataset."""

    source: DatasetSource
    """The reviewed dataset: config, split, and how its columns are named."""
    review: ReviewSection
    origin: str
    """Where the rules come from, for people."""
    task: str | None = None
    """None infers the columns from the dataset."""
    answer: str | None = None
    """Name of what the task predicts; None is its usual answer."""
    beside: tuple[str, ...] = ()
    """Optional columns that the task's rows have."""
    test_split: DatasetSource | None = None
    """The sealed test rows; None takes the dataset's own test split, if it has one."""
    near: float | None = 0.85
    model: PinnedModel | None = None
    is_of_card: bool = False
    """Whether the dataset's card says how its columns are read."""


def find_policy(hub: Hub, dataset_id: str, recipe: Recipe | None = None) -> Policy:
    """The rules of a recipe, else of the owner's newest model trained on the dataset, else the
    usual ones, with the columns that the card of the dataset's main declares.

    A model whose repo is not what its rounds made of it judges nothing. Rules are not read from
    such a repo: raises HubError when they would be. Raises DataError for a declaration that cannot
    be used.
    """
    if recipe is not None:
        return _policy_of_recipe(hub, dataset_id, recipe)
    owner = dataset_id.split("/")[0]
    for repo_id in hub.models_trained_on(dataset_id, author=owner):
        repo = read_model_repo(hub, repo_id)
        record = _newest(repo)
        found = record and _recipe_naming(record, dataset_id)
        if record and found:
            fault = _fault(hub, _without_vouching(found), repo)
            if fault:
                do = "Put its main right, or give the rules: hub-trainer review ... --recipe FILE"
                raise HubError(
                    f"The rules of the review would come from {repo_id}. {fault.what}",
                    where=fault.where, got=fault.got, do=do,
                )  # fmt: skip
            model = PinnedModel.of(repo_id, record)
            origin = f"round {record.round} of {repo_id}"
            return policy_of(found, dataset_id, origin=origin, model=model)
    return _policy_of_card(dataset_id, declared_by(hub, dataset_id))


def open_policy(hub: Hub, dataset_id: str) -> Policy:
    """The rules that review will go by, where a contributor may read them.

    Raises DataError for a card whose declaration cannot be used: review would say the same.
    """
    try:
        return find_policy(hub, dataset_id)
    except (DataError, HubError):
        return _policy_of_card(dataset_id, declared_by(hub, dataset_id))


def declared_by(hub: Hub, dataset_id: str) -> Declared | None:
    """How the card on a dataset's main says that its rows are read; None where it does not.

    Raises DataError for a declaration that cannot be used.
    """
    repo = Repo(dataset_id, "dataset")
    if not hub.exists(repo):
        return None
    card = card_metadata(hub.read_file(repo, CARD, hub.resolve(repo)))
    return declared_in(card, where=f"{hub.url}/datasets/{dataset_id}")


def _policy_of_card(dataset_id: str, declared: Declared | None) -> Policy:
    if declared is None:
        source = DatasetSource(repo_id=dataset_id)
        return Policy(source, ReviewSection(), "the dataset itself; no recipe and no model name it")
    columns, dropped = dict(declared.columns), list(declared.drop_columns)
    return Policy(
        DatasetSource(repo_id=dataset_id, columns=columns, drop_columns=dropped),
        ReviewSection(),
        "the dataset's own card",
        task=declared.task,
        answer=declared.answer,
        beside=declared.beside,
        is_of_card=True,
    )


def _policy_of_recipe(hub: Hub, dataset_id: str, recipe: Recipe) -> Policy:
    repo = read_model_repo(hub, recipe.publish.repo_id)
    record = _newest(repo)
    fault = _fault(hub, recipe, repo) if record else None
    model = PinnedModel.of(recipe.publish.repo_id, record) if record and not fault else None
    policy = policy_of(recipe, dataset_id, origin="the recipe", model=model)
    if fault is None:
        return policy
    return replace(policy, origin=f"the recipe; its published model is not asked: {fault.what}")


def policy_of(recipe: Recipe, dataset_id: str, *, origin: str, model: PinnedModel | None) -> Policy:
    """The rules that a recipe sets for one of its datasets. Raises DataError for any other."""
    sources = [source for source in recipe.collect.datasets if source.repo_id == dataset_id]
    if not sources:
        known = ", ".join(source.repo_id for source in recipe.collect.datasets)
        raise DataError(
            f"The recipe does not use the dataset {dataset_id}.",
            where="collect.datasets",
            got=known,
            do="Review one of these, or give the recipe that uses the dataset.",
        )
    deduplicate = recipe.prepare.deduplicate
    return Policy(
        source=sources[0],
        review=recipe.review,
        origin=origin,
        task=recipe.task,
        answer=answer_of(recipe),
        beside=beside_of(recipe),
        test_split=recipe.prepare.test_split,
        near=deduplicate.near if deduplicate else None,
        model=model,
    )


def _newest(repo: ModelRepo | None) -> RoundRecord | None:
    """The round that main of a model repo holds."""
    return repo.promoted[-1] if repo and repo.promoted else None


def _fault(hub: Hub, recipe: Recipe, repo: ModelRepo | None) -> HubError | None:
    """What main of a model repo holds that its rounds did not make of it."""
    try:
        assert_continuous(hub, recipe, repo, Memory(Path()))
    except HubError as error:
        return error
    return None


def _without_vouching(recipe: Recipe) -> Recipe:
    """A recipe read from the repo itself: it cannot vouch for what is there."""
    publish = recipe.publish.model_copy(update={"accept_commit": None})
    return recipe.model_copy(update={"publish": publish})


def _recipe_naming(record: RoundRecord, dataset_id: str) -> Recipe | None:
    """The recipe of a round, when it trained on the dataset."""
    try:
        recipe = Recipe.model_validate(record.recipe)
    except ValidationError:
        return None
    used = {source.repo_id for source in recipe.collect.datasets}
    return recipe if dataset_id in used else None
