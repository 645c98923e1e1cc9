"""Orders of an automation: what every look of it goes by, sent along as one JSON argument."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hub_trainer.away.parcel import Parcel
from hub_trainer.hub import Repo
from hub_trainer.recipe import Recipe, RecipeFile, load_recipe

LOOK_LABEL = "hub-trainer-look"
ORDERS = "HUB_TRAINER_ORDERS"
"""Variable of a round's job: the orders of the automation that has started it."""


@dataclass(frozen=True)
class Orders:
    """What one look needs to know; no secret is among it."""

    repo_id: str
    """Of the parcel, a private dataset."""
    commit_sha: str
    arguments: tuple[str, ...]
    """Of `run`: the recipe's name, overrides, and the accelerate config."""
    digest: str
    """Label of the rounds, the same as that of `run --on jobs`."""
    flavor: str
    seconds: int
    """Time limit of a round."""
    secrets: tuple[str, ...]
    """Names of variables that a round's job gets, beside the token."""
    min_rows: int
    """New training rows that are enough for a round."""

    def to_text(self) -> str:
        """As an argument or a variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Orders":
        """Back from `to_text`."""
        found = json.loads(text)
        lists = {key: tuple(found[key]) for key in ("arguments", "secrets")}
        return cls(**{**found, **lists})

    @property
    def parcel(self) -> Parcel:
        """The program and the recipe, where every job of the automation finds them."""
        return Parcel(Repo(self.repo_id, "dataset"), self.commit_sha, self.arguments)

    def recipe_file(self) -> RecipeFile:
        """The recipe in this folder, with its overrides."""
        name, *rest = self.arguments
        return load_recipe(Path(name), list(_overrides(rest)))


def look_labels(recipe: Recipe) -> dict[str, str]:
    """The label of all looks of one model's automation."""
    digest = hashlib.sha256(recipe.publish.repo_id.encode()).hexdigest()
    return {LOOK_LABEL: digest[:32]}


def _overrides(rest: Sequence[str]) -> Sequence[str]:
    return rest[: rest.index("--accelerate-config")] if "--accelerate-config" in rest else rest
