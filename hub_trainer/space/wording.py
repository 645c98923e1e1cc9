"""Wording of a Space: its title, what the model does, and the terms of rating in short."""

from hub_trainer.inputs import load_input
from hub_trainer.space.settings import SpaceSettings

MAX_SHORT = 60
"""Characters that the Hub shows of a Space's short description."""


def space_title(settings: SpaceSettings) -> str:
    """The heading: the recipe's, or what there is to do."""
    if settings.title:
        return settings.title
    if settings.rival:
        return "Which answer is better?"
    name = settings.model_repo_id.split("/")[-1]
    return name if settings.generation is None else f"Chat with {name}"


def space_description(settings: SpaceSettings, modality: str) -> str:
    """One sentence on what the model does."""
    if settings.description:
        return settings.description
    if settings.rival:
        return (
            "Two models answer each message, each time on sides that are drawn anew, and nobody is "
            "told which is which."
        )
    if settings.generation is not None:
        return "A language model that answers your messages."
    shown, names = load_input(modality), list(settings.columns.values())
    what = f"{len(names)} {shown.plural}, {' and '.join(names)}," if names else shown.noun
    return f"The model reads {what} and {settings.predicted.describe(settings.label_names)}."


def short_description(settings: SpaceSettings) -> str:
    """What the Hub shows under the Space's thumbnail."""
    if settings.description and len(settings.description) <= MAX_SHORT:
        return settings.description
    if settings.rival:
        return "Two models answer; say which answer is better"
    if settings.generation is not None:
        return "Chat with the model and rate its answers"
    return "Try the model and say whether it is right"


def consent_line(settings: SpaceSettings) -> str:
    """The terms of rating in one line; the whole text is behind it."""
    terms = f" under {settings.license}" if settings.license else ""
    return f"What you rate is kept under a pseudonym and may be published{terms}."
