"""What a Space is told: space.json beside the app, and the environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_trainer.errors import UsageError

SETTINGS_FILE = "space.json"


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
    label_names: list[str] = Field(min_length=1)
    license: str | None = None
    """Licence of the ratings dataset."""
    ratings_per_hour: int = Field(60, gt=0)
    """Ratings that one rater may send within an hour."""
    flush_seconds: float = Field(30.0, gt=0)
    """Pause between two commits of ratings."""


def load_settings(folder: Path, environment: Mapping[str, str] = os.environ) -> SpaceSettings:
    """Settings from space.json; RATINGS_PER_HOUR and FLUSH_SECONDS of the environment go first."""
    path = folder / SETTINGS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("ratings_per_hour", "flush_seconds"):
            if name.upper() in environment:
                values[name] = environment[name.upper()]
        return SpaceSettings.model_validate(values)
    except FileNotFoundError:
        raise UsageError(
            f"There is no {SETTINGS_FILE}.", where=str(folder), do="Push it: hub-trainer serve"
        ) from None
    except (ValidationError, json.JSONDecodeError, TypeError) as error:
        raise UsageError(
            f"{SETTINGS_FILE} or the environment is wrong.", where=str(path), got=_faults(error)
        ) from None


def ratings_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """RATINGS_DIR; else /data, which outlives a restart of a Space that has it; else here."""
    if environment.get("RATINGS_DIR"):
        return Path(environment["RATINGS_DIR"])
    return (Path("/data") if os.access("/data", os.W_OK) else Path.cwd()) / "ratings"


def consent_text(settings: SpaceSettings) -> str:
    """What a rater agrees to by rating; its digest is kept with each rating."""
    license_name = f" under the licence {settings.license}" if settings.license else ""
    return (
        "By rating you agree that your input, your rating and the model's answer are kept under a "
        f"pseudonym and may be published in {settings.ratings_repo_id}{license_name}. Enter "
        "nothing private. You can try the model without rating: an input that is not rated is "
        "deleted within two days. To have ratings removed, open a discussion on that dataset."
    )


def _faults(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return "; ".join(faults)
