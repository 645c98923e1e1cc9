"""Raters' transcripts of one clip become one: the median text, the nearest to all the others.

Two people seldom write a sentence down alike to the letter, so texts are not counted: of those that
raters gave the one with the fewest weighted edits to the others is taken, and it stands where most
of the weight is near it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub_trainer.metrics.transcripts import edit_counts
from hub_trainer.stats import AggregatedLabel, Aggregation, RaterSummary

NEAR = 0.2
"""Share of characters in which two transcripts of one clip may differ and say nearly the same."""

Votes = Mapping[tuple[str, str], str]
"""(row, rater) -> transcript."""


@dataclass(frozen=True)
class Trust:
    """How much each rater's word weighs, and who is not heard at all."""

    weights: Mapping[str, float]
    unheard: Mapping[str, str]
    """Rater -> why."""


def agreed_transcripts(votes: Votes, trust: Trust, *, min_raters: int) -> Aggregation:
    """One transcript per row; undecided with fewer raters, or where most are not near it."""
    heard: dict[str, dict[str, str]] = defaultdict(dict)
    for (key, rater), text in votes.items():
        if rater not in trust.unheard:
            heard[key][rater] = text
    labels, near = [], defaultdict[str, list[bool]](list)
    for key in sorted(heard):
        texts, weights = heard[key], [trust.weights[rater] for rater in heard[key]]
        median = _median(list(texts.values()), weights)
        for rater, text in texts.items():
            if len(texts) > 1:
                near[rater].append(distance(median, text) <= NEAR)
        agreeing = [distance(median, text) <= NEAR for text in texts.values()]
        weight = sum(w for w, is_near in zip(weights, agreeing, strict=True) if is_near)
        share = weight / sum(weights)
        decided = len(texts) >= min_raters and share > 0.5
        labels.append(AggregatedLabel(key, median if decided else None, share, len(texts), decided))
    return Aggregation(tuple(labels), _summaries(votes, trust, near))


def trust_all(votes: Votes) -> Trust:
    """Every rater's word weighs the same."""
    return Trust({rater: 1.0 for _, rater in votes}, {})


def trust_by_gold(votes: Votes, gold: Mapping[str, str], needed: int) -> Trust:
    """By transcripts of rows whose own is known: the share of their characters that was right.

    Not heard are raters of fewer such rows, or with most of them wrong.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    for (key, rater), text in votes.items():
        if key in gold:
            errors[rater].append(distance(gold[key], text))
    raters = sorted({rater for _, rater in votes})
    unheard = {
        rater: "too few transcripts of known rows, or most of them wrong"
        for rater in raters
        if len(errors[rater]) < needed
        or 2 * sum(error <= NEAR for error in errors[rater]) <= len(errors[rater])
    }
    weights = {
        rater: 1 - sum(errors[rater]) / len(errors[rater])
        for rater in raters
        if rater not in unheard
    }
    return Trust(weights, unheard)


def distance(one: str, other: str) -> float:
    """Edits of characters, of those of the longer text; case and punctuation do not count."""
    [(edits, length)] = edit_counts("cer", [one], [other]).tolist()
    [(_, others)] = edit_counts("cer", [other], [one]).tolist()
    return float(edits / max(length, others, 1))


def _median(texts: Sequence[str], weights: Sequence[float]) -> str:
    """The text with the least weighted distance to all; of equals that which most wrote so."""
    written = Counter(texts)

    def cost(text: str) -> tuple[float, int, str]:
        far = sum(w * distance(text, t) for t, w in zip(texts, weights, strict=True))
        return round(far, 12), -written[text], text

    return min(written, key=cost)


def _summaries(
    votes: Votes, trust: Trust, near: Mapping[str, Sequence[bool]]
) -> tuple[RaterSummary, ...]:
    """What each rater wrote, and how often it was near what came of it."""
    count = Counter(rater for _, rater in votes)
    return tuple(
        RaterSummary(
            rater,
            count[rater],
            0 if rater in trust.unheard else count[rater],
            sum(near[rater]) / len(near[rater]) if near.get(rater) else None,
            trust.unheard.get(rater),
        )
        for rater in sorted(count)
    )
