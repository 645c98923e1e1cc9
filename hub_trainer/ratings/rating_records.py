"""Records of a prediction and of a rating of it, and the reasons for refusing one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.errors import HubTrainerError

Kind = Literal["right", "wrong", "up", "down", "edit", "report", "prefer", "tie"]
"""What is said: of a label, of an answer, and at last of a pair of answers."""
Side = Literal["left", "right"]
RaterTier = Literal["account", "anonymous"]
Reason = Literal["expired", "unknown", "invalid", "rater", "limit", "busy", "storage"]


def facet_of(kind: str) -> Literal["opinion", "edit"]:
    """What a rating replaces an earlier one in: an edit leaves a thumb as it is."""
    return "edit" if kind == "edit" else "opinion"


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
    sampling: Mapping[str, Any] | None = None
    """How an answer was written, with its seed; None for a label."""


@dataclass(frozen=True)
class Pair:
    """Two generations that were shown side by side for one prompt."""

    pair_id: str
    left_id: str
    right_id: str


@dataclass(frozen=True)
class NewRating:
    """What a rater says of a generation, checked but not yet kept."""

    rating_id: str
    generation_id: str
    rater: str
    rater_tier: RaterTier
    kind: Kind
    answer: str
    """The right label (the prediction itself when it is right), the edited answer, the reason of a
    report, or nothing."""
    consent: str
    """Version of the consent text that was shown."""
    created: float
    pair_id: str | None = None
    """The pair that is rated; `generation_id` is then the preferred side, and of a tie the left."""
    source: str | None = None
    """Pseudonym, for a day, of the network that an anonymous rating came from."""

    @property
    def subject(self) -> str:
        """What the rater saw as one: the pair, else the generation."""
        return self.pair_id or self.generation_id


@dataclass(frozen=True)
class RatedGeneration:
    """A kept rating with the generation it is about; `seq` orders the ratings of one store."""

    seq: int
    rating: NewRating
    generation: Generation
    rival: Generation | None = None
    """The other side of a pair."""
    rival_side: Side | None = None
    """Where the other side was shown."""


class RatingRefused(HubTrainerError):
    """A rating that is not kept, and why."""

    def __init__(self, what: str, *, reason: Reason, do: str | None = None) -> None:
        super().__init__(what, do=do)
        self.reason = reason
