"""Settings of a Space: space.json beside the app, and the environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hub_trainer.answers import ANSWERS, RatedAnswer, load_answer
from hub_trainer.errors import UsageError
from hub_trainer.ratings import FLUSH_SECONDS
from hub_trainer.recipe import GenerationSection
from hub_trainer.recipe.value_faults import faults_of

SETTINGS_FILE = "space.json"
FROM_ENVIRONMENT = (
    "ratings_per_hour",
    "predictions_per_minute",
    "predictions_per_day",
    "flush_seconds",
)


class RivalModel(BaseModel):
    """The model that is shown beside the Space's own in blind pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo_id: str
    commit_sha: str = Field(pattern=r"^[0-9a-f]{40}$")


class SpaceSettings(BaseModel):
    """Which model a Space shows, and where what people say of it goes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    space_repo_id: str
    task: str
    """The Hub's pipeline tag."""
    model_repo_id: str
    commit_sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    """The model is loaded at exactly this commit."""
    ratings_repo_id: str
    answer: str | None = None
    """Name of what the model predicts; None is a label, where there are label_names."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Canonical column of what the model reads -> what the dataset calls it; none where there is
    only one."""
    label_names: list[str] = Field(default_factory=list)
    """What a model of labels chooses from; none for numbers and language."""
    generation: GenerationSection | None = None
    """How a language model's answers are written; None for a model of labels."""
    rival: RivalModel | None = None
    """A language model that answers too, in blind pairs."""
    license: str | None = None
    """Licence of the ratings dataset, as people call it."""
    title: str | None = None
    """Heading of the page; None is the model's name."""
    description: str | None = None
    """A sentence on what the model does and for whom."""
    notice: str | None = None
    """What everybody must know who uses the model; shown beside every answer."""
    ratings_per_hour: int = Field(60, gt=0)
    """Ratings that one rater may send within an hour."""
    predictions_per_minute: int = Field(60, gt=0)
    """Questions that one account, or one network without sign-in, may ask within a minute."""
    predictions_per_day: int = Field(2_000, gt=0)
    """The same within a day."""
    flush_seconds: float = Field(FLUSH_SECONDS, gt=0)
    """Pause between two commits of ratings."""

    @model_validator(mode="after")
    def _chooses_or_writes(self) -> "SpaceSettings":
        if self.answer is not None and self.answer not in ANSWERS:
            raise ValueError(f"answer is one of {', '.join(ANSWERS)}")
        if self.predicts == (self.generation is not None):
            raise ValueError("a Space has either label_names, or answer, or generation")
        if self.rival is not None and self.generation is None:
            raise ValueError("rival goes with generation")
        return self

    @property
    def predicts(self) -> bool:
        """Whether the model predicts a label or the like, and does not write."""
        return bool(self.label_names) or self.answer is not None

    @property
    def predicted(self) -> RatedAnswer:
        """What it predicts."""
        return load_answer(self.answer or "label")


def load_settings(folder: Path, environment: Mapping[str, str] = os.environ) -> SpaceSettings:
    """Settings from space.json; RATINGS_PER_HOUR and the like of the environment go first."""
    path = folder / SETTINGS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in FROM_ENVIRONMENT:
            if name.upper() in environment:
                values[name] = environment[name.upper()]
        return SpaceSettings.model_validate(values)
    except FileNotFoundError:
        raise UsageError(
            f"There is no {SETTINGS_FILE}.", where=str(folder), do="Push it: hub-trainer serve"
        ) from None
    except (ValidationError, json.JSONDecodeError, TypeError) as error:
        raise UsageError(
            f"{SETTINGS_FILE} or the environment is wrong.",
            where=str(path),
            got=_faults(error),
            do="Push the Space again: hub-trainer serve RECIPE; or correct "
            f"{', '.join(name.upper() for name in FROM_ENVIRONMENT)} in its settings.",
        ) from None


def is_on_the_hub(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the Hub runs this Space, behind its proxy."""
    return bool(environment.get("SPACE_ID"))


def ratings_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """RATINGS_DIR; else /data, which outlives a restart of a Space that has it; else here."""
    if environment.get("RATINGS_DIR"):
        return Path(environment["RATINGS_DIR"])
    return (Path("/data") if os.access("/data", os.W_OK) else Path.cwd()) / "ratings"


def consent_text(settings: SpaceSettings) -> str:
    """What a rater agrees to by rating; its digest is kept with each rating."""
    license_name = f" under the licence {settings.license}" if settings.license else ""
    return (
        f"By rating you agree that {_what_is_kept(settings)} are kept under a pseudonym and may be "
        f"published in {settings.ratings_repo_id}{license_name}. Enter nothing private. You can "
        "try the model without rating: an input that is not rated is deleted within two days. To "
        "have ratings removed, open a discussion on that dataset."
    )


def _what_is_kept(settings: SpaceSettings) -> str:
    if settings.generation is None:
        return "your input, your rating and the model's answer"
    answers = "both answers" if settings.rival else "the model's answer"
    return f"your prompt with the turns before it, {answers}, your rating and what you write of it"


def _faults(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    faults = faults_of(error, SpaceSettings)
    return "; ".join(one.sentence + (f", got {one.got}" if one.got else "") for one in faults)
