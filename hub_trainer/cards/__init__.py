"""The model card and what goes with it: metadata, evidence in words and pictures, licence."""

from collections.abc import Sequence

from hub_trainer.cards.body import render_body
from hub_trainer.cards.facts import BaseModel, CardFacts, Presentation, Thumbnails
from hub_trainer.cards.licences import (
    CardLicence,
    LicenceDecision,
    LicensedWork,
    card_licence,
    decide_licence,
    licensed_work,
    recorded_licence,
    sharing_problem,
)
from hub_trainer.cards.metadata import (
    draft_front_matter,
    eval_results,
    front_matter,
    to_yaml,
)
from hub_trainer.cards.results import CURVE_FIGURE, EXAMPLES_FIGURE, FIGURES, results_section
from hub_trainer.recipe import Recipe

__all__ = [
    "FIGURES",
    "CURVE_FIGURE",
    "EXAMPLES_FIGURE",
    "BaseModel",
    "CardFacts",
    "CardLicence",
    "LicenceDecision",
    "LicensedWork",
    "Presentation",
    "Thumbnails",
    "card_licence",
    "decide_licence",
    "draft_card",
    "eval_results",
    "licensed_work",
    "recorded_licence",
    "render_card",
    "results_section",
    "sharing_problem",
]


def render_card(facts: CardFacts) -> str:
    """The README.md of the model repo."""
    return f"---\n{to_yaml(front_matter(facts))}---\n\n{render_body(facts)}"


def draft_card(recipe: Recipe, licence: CardLicence, tags: Sequence[str]) -> str:
    """A card with the metadata that is known before training, to ask the Hub about it."""
    return f"---\n{to_yaml(draft_front_matter(recipe, licence, tags))}---\n"
