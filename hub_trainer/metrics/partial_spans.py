"""Spans that are nearly right: four ways of matching them, as SemEval 2013 and nervaluate have it.

Each found span is matched with one of the reference's that no other was matched with.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from hub_trainer.metrics.span_metrics import Span

Matches = Callable[[Span, Span], bool]


def _same_words(one: Span, other: Span) -> bool:
    return one[:2] == other[:2]


def _same_type_nearby(one: Span, other: Span) -> bool:
    return one[2] == other[2] and _overlap(one, other)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


WAYS: Mapping[str, tuple[Matches, str]] = {
    "strict": (lambda one, other: one == other, "incorrect"),
    "exact": (_same_words, "incorrect"),
    "partial": (_same_words, "partial"),
    "type": (_same_type_nearby, "incorrect"),
}
"""Way of matching -> when a span is right, and what one is that only shares words with another."""

MEANINGS: Mapping[str, str] = {
    "strict": "the words and the type are those of the reference",
    "exact": "the words are, whatever the type",
    "partial": "as exact, and a span that only shares words counts half",
    "type": "the type is, and a word is shared",
}
"""When a span is right, in words."""


def partial_matches(
    truth: Sequence[Iterable[Span]], given: Sequence[Iterable[Span]]
) -> dict[str, dict[str, float]]:
    """Way of matching -> counts, precision, recall and f1 over all rows of spans together."""
    pairs = [(sorted(one), sorted(other)) for one, other in zip(truth, given, strict=True)]
    found = {}
    for way in WAYS:
        counts: Counter[str] = Counter()
        for reference, said in pairs:
            counts += _matched(reference, said, way)
        found[way] = _figures(counts)
    return found


def _matched(reference: Sequence[Span], given: Sequence[Span], way: str) -> Counter[str]:
    """What became of each span of one row."""
    is_right, otherwise = WAYS[way]
    left, counts = list(reference), Counter[str]()
    for span in given:
        right = [one for one in left if is_right(span, one)]
        near = [one for one in left if _overlap(span, one)]
        if right:
            counts["correct"] += 1
            left.remove(min(right, key=lambda one: abs(span[0] - one[0]) + abs(span[1] - one[1])))
        elif near:
            counts[otherwise] += 1
            left.remove(near[0])
        else:
            counts["spurious"] += 1
    counts["missed"] += len(left)
    return counts


def _figures(counts: Counter[str]) -> dict[str, float]:
    outcomes = ("correct", "incorrect", "partial", "missed", "spurious")
    of = {name: counts[name] for name in outcomes}
    right = of["correct"] + of["partial"] / 2
    matched = of["correct"] + of["incorrect"] + of["partial"]
    precision = right / max(matched + of["spurious"], 1)
    recall = right / max(matched + of["missed"], 1)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {**of, "precision": precision, "recall": recall, "f1": f1}
