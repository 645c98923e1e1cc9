"""What is kept of a prediction and of what a rater says about it, and why a rating is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.errors import HubTrainerError

Kind = Literal["right", "wrong"]
RaterTier = Literal["account", "anonymous"]
Reason = Literal["expired", "unknown", "invalid", "rater", "limit", "busy", "storage"]


@dataclass(frozen=True)
class Generation:
    """One prediction as the server made it; whatever is rated is looked up here."""

    generation_id: str
    row: Mapping[str, Any]
    """The canonical row: JSON values, and bytes in one column at most."""
    row_id: str
    """sha256 of the row's content, the same for the same content everywhere."""
    model: str
    """repo_id@commit_sha."""
    prediction: str
    scores: Mapping[str, float]
    rater: str
    """Pseudonym of who asked."""
    created: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class NewRating:
    """What a rater says of a generation, checked but not yet kept."""

    rating_id: str
    generation_id: str
    rater: str
    rater_tier: RaterTier
    kind: Kind
    answer: str
    """The right label: the prediction itself when it is right."""
    consent: str
    """Version of the consent text that was shown."""
    created: float


@dataclass(frozen=True)
class RatedGeneration:
    """A kept rating with the generation it is about; `seq` orders the ratings of one store."""

    seq: int
    rating: NewRating
    generation: Generation


class RatingRefused(HubTrainerError):
    """A rating that is not kept, and why."""

    def __init__(self, what: str, *, reason: Reason, do: str | None = None) -> None:
        super().__init__(what, do=do)
        self.reason = reason
