"""Material of the curate stage: the recipe's datasets at the commits that they have now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.cards import CardLicence, card_licence
from hub_trainer.checks.inspection import ReviewContext
from hub_trainer.checks.policy import Policy, find_policy
from hub_trainer.checks.review_context import load_tip, prepare_context, whole_split
from hub_trainer.errors import UsageError
from hub_trainer.hub import Hub, Repo
from hub_trainer.inputs.language_examples import Kind
from hub_trainer.ratings import read_shards
from hub_trainer.ratings.shards import SHARDS
from hub_trainer.recipe import DatasetSource, Recipe, RepoRef
from hub_trainer.rows import RowSpec, read_rows, write_rows
from hub_trainer.rows.fetch import fetch_rows
from hub_trainer.stages.curate.agreed_file import Target
from hub_trainer.tasks import Task
from hub_trainer.tasks.outlines import pairs_alone

Shas = Mapping[tuple[str, str], str]
"""(repo_id, revision) of a dataset -> the commit at which it is read."""


@dataclass(frozen=True)
class Agreed:
    """What raters agree on."""

    examples: Sequence[dict[str, Any]]
    skipped: Mapping[str, int]
    """Reason -> rated items that bring no example."""
    kind: Kind | None = None
    """Kind of a dataset that may begin with these examples; None where there must be one."""


@dataclass(frozen=True)
class CurateContext:
    """Everything at its pinned commit."""

    recipe: Recipe
    shas: Shas
    task: Task
    hub: Hub
    scratch: Path

    @property
    def source(self) -> DatasetSource:
        """The split that gets the examples, in full where the recipe takes a slice of it."""
        source = target_source(self.recipe)
        return source.model_copy(update={"split": whole_split(source), "fraction": 1.0})

    @cached_property
    def target(self) -> Target:
        """That split at its commit."""
        repo = Repo(self.source.repo_id, "dataset")
        tip = load_tip(self.hub, repo, self.sha(self.source))
        return Target(self.source, tip, dict(self.task.columns))

    @property
    def ratings(self) -> str:
        """The ratings, for people."""
        ref = ratings_ref(self.recipe)
        return f"{ref.repo_id}@{self.sha(ref)}"

    def has(self, ref: RepoRef) -> bool:
        """Whether a dataset exists."""
        return key_of(ref) in self.shas

    def sha(self, ref: RepoRef) -> str:
        """The commit at which a dataset is read."""
        return self.shas[key_of(ref)]

    def read_ratings(self) -> list[dict[str, Any]]:
        """Every rating, oldest first."""
        ref = ratings_ref(self.recipe)
        repo, into = Repo(ref.repo_id, "dataset"), self.scratch / "ratings"
        names = (file.path for file in self.hub.list_files(repo, self.sha(ref)))
        if not any(fnmatch(name, SHARDS) for name in names):
            return []
        return read_shards(self.hub.download(repo, self.sha(ref), allow=[SHARDS], into=into))

    def ratings_licence(self) -> CardLicence | None:
        """The licence in the card of the ratings, None when it names none."""
        ref = ratings_ref(self.recipe)
        return card_licence(load_tip(self.hub, Repo(ref.repo_id, "dataset"), self.sha(ref)).card)

    @cached_property
    def policy(self) -> Policy:
        """The rules by which a review of the dataset goes."""
        return find_policy(self.hub, self.source.repo_id, self.recipe)

    @cached_property
    def stand(self) -> ReviewContext:
        """What a review compares new rows with: the dataset's rows, the sealed ones, the model."""
        return prepare_context(self.hub, self.policy, self.target.tip, self.scratch / "review")

    def dataset_rows(self) -> list[dict[str, Any]]:
        """Canonical rows of the dataset; none when it does not exist yet."""
        return read_rows(self.stand.base.path) if self.has(self.source) else []

    def sealed_rows(self) -> list[dict[str, Any]]:
        """Canonical rows of the test split, which nobody may train on."""
        path = self.sealed_file()
        return read_rows(path) if path else []

    def sealed_file(self) -> Path | None:
        """Where the sealed rows are, None when there are none."""
        if self.has(self.source):
            return self.stand.test.path if self.stand.test else None
        source = self.recipe.prepare.test_split
        return self._fetch(source) if source else None

    def _fetch(self, source: DatasetSource) -> Path:
        out = self.scratch / "test.parquet"
        if not out.exists():
            spec = RowSpec(
                modality=self.task.modality,
                kinds=dict(self.task.columns),
                columns=dict(source.columns),
                drop_columns=tuple(source.drop_columns),
                matches=pairs_alone(self.recipe),
            )
            into = self.scratch / "test"
            fetched = fetch_rows(self.hub, source, self.sha(source), spec, scratch=into)
            write_rows(out, fetched.table)
        return out


def key_of(ref: RepoRef) -> tuple[str, str]:
    """Under which a dataset's commit is kept."""
    return ref.repo_id, ref.revision


def ratings_ref(recipe: Recipe) -> RepoRef:
    """The dataset of ratings: the one that is named, else the one that the Space fills."""
    if recipe.collect.ratings is not None:
        return recipe.collect.ratings
    if recipe.serve is not None:
        return RepoRef(repo_id=recipe.serve.ratings_repo_id)
    do = "Add collect.ratings: org/name-ratings; or a section serve, whose Space collects them."
    raise UsageError("The recipe names no dataset of ratings.", where="collect.ratings", do=do)


def target_source(recipe: Recipe) -> DatasetSource:
    """The split of the recipe that gets the examples."""
    wanted = recipe.curate.repo_id
    for source in recipe.collect.datasets:
        if wanted in (None, source.repo_id):
            return source
    raise UsageError(
        "Ratings can only join a dataset that the recipe collects.",
        where="curate.repo_id",
        got=str(wanted),
        do=f"Name one of {', '.join(s.repo_id for s in recipe.collect.datasets)}, or leave it out.",
    )
