"""Many raters' labels for an example become one label, with how far each rater can be trusted.

Two ways. `majority_labels` needs nothing but raters, and stands up to slips and a few saboteurs.
`dawid_skene_labels` (its own file) learns each rater's confusion of labels and weighs the votes by
it; it stands up to a coalition with half the votes, and for that it starts from gold: examples with
known labels among those that raters see. Started from the majority it would take the coalition's
word for the truth. Raters without enough gold answers have no say. Against a coalition that can
tell the gold from the rest nothing here helps but the cap on votes per rater, and the gate.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Annotation(NamedTuple):
    """One rater's label for one example; a later one for the same example replaces it."""

    example_id: str
    rater_id: str
    label: str


@dataclass(frozen=True)
class AggregatedLabel:
    """What the raters together say about one example."""

    example_id: str
    label: str | None
    """The likeliest label; `None` when no rater with a say rated it or the first two tie."""
    confidence: float
    """Share of the votes (majority) or posterior probability (Dawid-Skene) of the label."""
    num_raters: int
    """Raters whose votes counted."""
    decided: bool
    """Enough raters and enough confidence to be used as a label."""


@dataclass(frozen=True)
class RaterSummary:
    """How much one rater said, and how far it can be trusted."""

    rater_id: str
    num_ratings: int
    num_counted: int
    """Ratings within the cap; 0 when excluded."""
    accuracy: float | None
    """Estimated probability of a right answer; `None` when there is nothing to judge by."""
    excluded: str | None
    """Why none of the ratings counted."""


@dataclass(frozen=True)
class Aggregation:
    """Labels in order of example id, raters in order of rater id."""

    labels: tuple[AggregatedLabel, ...]
    raters: tuple[RaterSummary, ...]

    @property
    def decided(self) -> dict[str, str]:
        """Example id to label, for those that are decided."""
        return {one.example_id: one.label for one in self.labels if one.decided and one.label}

    @property
    def flip_fraction(self) -> float:
        """Expected share of wrong labels among the decided ones."""
        doubts = [1 - one.confidence for one in self.labels if one.decided]
        return sum(doubts) / len(doubts) if doubts else 0.0

    @property
    def num_effective_raters(self) -> float:
        """As many raters with equal say would be this concentrated: (sum v)^2 / sum v^2."""
        votes = np.array([rater.num_counted for rater in self.raters], dtype=np.float64)
        return float(votes.sum() ** 2 / np.sum(votes**2)) if votes.any() else 0.0


def latest_annotations(annotations: Iterable[tuple[str, str, str]]) -> list[Annotation]:
    """One vote per rater and example, the last one, in the order in which they first came."""
    votes = {(example_id, rater_id): label for example_id, rater_id, label in annotations}
    return [Annotation(*key, label) for key, label in votes.items()]


def majority_labels(
    annotations: Iterable[tuple[str, str, str]],
    *,
    min_raters: int = 3,
) -> Aggregation:
    """The label that more than half of at least `min_raters` raters gave; otherwise undecided.

    annotations: (example_id, rater_id, label), oldest first.
    A rater's accuracy is the share of agreement with the other raters' majority.
    """
    latest = latest_annotations(annotations)
    votes: dict[str, Counter[str]] = {one.example_id: Counter() for one in latest}
    for one in latest:
        votes[one.example_id][one.label] += 1
    labels = tuple(_majority(key, votes[key], min_raters) for key in sorted(votes))
    agreements: dict[str, list[bool]] = {}
    for one in latest:
        others = votes[one.example_id] - Counter([one.label])
        if others and (label := _majority("", others, 1)).decided:
            agreements.setdefault(one.rater_id, []).append(label.label == one.label)
    accuracy = {rater: sum(agreed) / len(agreed) for rater, agreed in agreements.items()}
    return Aggregation(labels, summarise_raters(latest, latest, accuracy, {}))


def _majority(example_id: str, votes: Counter[str], min_raters: int) -> AggregatedLabel:
    num_raters = votes.total()
    ranked = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return AggregatedLabel(example_id, None, 0.0, num_raters, decided=False)
    label, count = ranked[0]
    decided = num_raters >= min_raters and 2 * count > num_raters
    return AggregatedLabel(example_id, label, count / num_raters, num_raters, decided)


def summarise_raters(
    latest: list[Annotation],
    counted: list[Annotation],
    accuracy: Mapping[str, float],
    excluded: Mapping[str, str],
) -> tuple[RaterSummary, ...]:
    """What each rater said, how much of it counted, and the given trust in it."""
    num_ratings = Counter(one.rater_id for one in latest)
    num_counted = Counter(one.rater_id for one in counted)
    return tuple(
        RaterSummary(
            rater, num_ratings[rater], num_counted[rater], accuracy.get(rater), excluded.get(rater)
        )
        for rater in sorted(num_ratings)
    )
