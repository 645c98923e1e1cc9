"""Facts that a card may state: the outputs of a round's stages, gathered as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.answers import Answer, load_answer
from hub_trainer.cards.licences import LicenceDecision
from hub_trainer.hub import PUBLIC_ENDPOINT
from hub_trainer.recipe import Recipe, TrainSection
from hub_trainer.recipe.search import with_settings
from hub_trainer.reports import (
    CollectReport,
    DatasetReport,
    FitReport,
    PrepareReport,
    Results,
    TuneReport,
)

Relation = Literal["finetune", "adapter"]


@dataclass(frozen=True)
class BaseModel:
    """The model that was changed, at its commit; no relation when only its shape was taken."""

    repo_id: str
    commit_sha: str
    relation: Relation | None
    origin: str | None
    """What the Hub lists as its base: no model is its own, so of a round that goes on from an
    earlier one it is the model that the first of them began with."""


@dataclass(frozen=True)
class Presentation:
    """What the task, the Hub and the proof of reloading add to the stages' outputs."""

    endpoint: str
    library_name: str
    usage: str
    tags: Sequence[str]
    languages: Sequence[str]
    contributors: Sequence[str]
    """Names of accounts that wrote the data."""
    reload: Mapping[str, Any]
    """rows, max_difference, and how the folder was loaded."""
    machine_annotated: Sequence[str] = ()
    """Datasets whose annotations, by their cards, were made by machines."""
    estimator: str | None = None
    """For a table's model, the estimator of scikit-learn that was fitted."""


@dataclass(frozen=True)
class Thumbnails:
    """The picture of a few training rows, or why there is none."""

    groups: Sequence[str] = ()
    """Names of the groups of rows, such as labels, in the order in which they are drawn."""
    num_groups: int = 0
    """Groups that there are; not all of them may be drawn."""
    rows_each: int = 0
    """Rows of each group at most."""
    left_out: str | None = None
    """Why none is drawn, as what follows `because`."""


@dataclass(frozen=True)
class CardFacts:
    """Everything that a card is made from."""

    recipe: Recipe
    round_index: int
    parent: str | None
    base_model: BaseModel | None
    collected: CollectReport
    prepared: PrepareReport
    fit: FitReport
    results: Results
    versions: Mapping[str, str]
    licence: LicenceDecision
    presentation: Presentation
    has_curve: bool = False
    """Whether a picture of the training curve goes with the card."""
    tune: TuneReport | None = None
    """The search over settings; None where there was none."""
    thumbnails: Thumbnails | None = None
    """None for rows that are nothing to look at."""

    @property
    def repo_id(self) -> str:
        """The model repo."""
        return self.recipe.publish.repo_id

    @property
    def train(self) -> TrainSection:
        """The settings that the model was trained with, with what a search chose."""
        train = self.recipe.train
        return with_settings(train, self.tune.chosen) if self.tune else train

    @property
    def answer(self) -> Answer:
        """What the model predicts."""
        return load_answer(self.results.answer)

    @property
    def positive_metrics(self) -> list[str]:
        """The measured metrics that are of the label `evaluate.positive`, where it is named."""
        if self.recipe.evaluate.positive is None:
            return []
        return [one for one in self.results.metrics if one in self.answer.positive_metrics]

    @property
    def verdict(self) -> str:
        """promote, hold or reject."""
        return self.results.verdict

    @property
    def revision(self) -> str:
        """What a reader should load: the round's tag, or main for one that has none."""
        return f"round-{self.round_index}" if self.verdict == "promote" else "main"

    @property
    def datasets(self) -> Sequence[DatasetReport]:
        """The data that went in, one per split."""
        return self.collected.datasets

    @property
    def test_sources(self) -> list[DatasetReport]:
        """Where the sealed examples come from: the test splits, or else held back training rows."""
        sealed = [one for one in self.datasets if one.role == "test"]
        return sealed or [one for one in self.datasets if one.role == "train"]

    def link(self, path: str) -> str:
        """A page of the Hub: a full address on the public one, a path within any other."""
        base = PUBLIC_ENDPOINT if self.presentation.endpoint == PUBLIC_ENDPOINT else ""
        return f"{base}/{path}"
