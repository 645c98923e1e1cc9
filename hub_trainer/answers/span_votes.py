"""Spans of many raters become one set per row, span by span.

Each span that any rater gave a row is an example of its own, on which every rater of the row said
yes or no. Spans that most raters gave cannot overlap: one rater would have given both.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hub_trainer.metrics.span_metrics import Span
from hub_trainer.stats import (
    AggregatedLabel,
    Aggregation,
    RaterSummary,
    dawid_skene_labels,
    majority_labels,
)

YES, NO = "yes", "no"
Votes = Sequence[tuple[str, str, frozenset[Span]]]
"""(row, rater, spans)."""


@dataclass(frozen=True)
class AgreedSpans:
    """What was found of each span."""

    asked: Mapping[str, tuple[str, Span | None]]
    """Example -> the row, and the span that was asked about; None for the row itself."""
    found: Aggregation
    num_rows: Mapping[str, int]
    """Rater -> rows."""
    unheard: Mapping[str, str]
    """Rater -> why none of the spans counted."""

    def joined(self, written: Callable[[str, list[Span]], str]) -> Aggregation:
        """One answer per row, as `written` writes the row's spans."""
        rows: dict[str, list[tuple[Span | None, AggregatedLabel]]] = defaultdict(list)
        for one in self.found.labels:
            key, span = self.asked[one.example_id]
            rows[key].append((span, one))
        labels = []
        for key in sorted(rows):
            parts = [one for _, one in rows[key]]
            decided = all(one.decided for one in parts)
            chosen = [span for span, one in rows[key] if span is not None and one.label == YES]
            labels.append(
                AggregatedLabel(
                    key,
                    written(key, sorted(chosen)) if decided else None,
                    min(one.confidence for one in parts),
                    max(one.num_raters for one in parts),
                    decided,
                )
            )
        raters = [
            replace(
                one,
                num_ratings=self.num_rows[one.rater_id],
                num_counted=self.num_rows[one.rater_id] if one.num_counted else 0,
            )
            for one in self.found.raters
        ]
        raters += [
            RaterSummary(rater, self.num_rows[rater], 0, None, why)
            for rater, why in self.unheard.items()
        ]
        return Aggregation(tuple(labels), tuple(sorted(raters, key=lambda one: one.rater_id)))


def agreed_spans(
    votes: Votes,
    gold: Mapping[str, frozenset[Span]],
    *,
    rule: str,
    min_raters: int,
    min_gold: int,
) -> AgreedSpans:
    """Whether rows have the spans that raters gave them."""
    unheard = {} if rule == "majority" else _short_of_gold(votes, gold, min_gold)
    given: dict[str, set[Span]] = {key: set(gold.get(key, ())) for key, _, _ in votes}
    for key, _, spans in votes:
        given[key] |= spans
    asked: dict[str, tuple[str, Span | None]] = {}
    for key, candidates in given.items():
        # A row that nobody gave a span stands for itself: everyone says no.
        for number, span in enumerate(sorted(candidates) or [None]):
            asked[f"{key}\n{number:06d}"] = (key, span)
    of_row: dict[str, list[str]] = defaultdict(list)
    for name, (key, _) in asked.items():
        of_row[key].append(name)
    marks = [
        (name, rater, YES if asked[name][1] in spans else NO)
        for key, rater, spans in votes
        if rater not in unheard
        for name in of_row[key]
    ]
    known = {
        name: YES if span in gold[key] else NO for name, (key, span) in asked.items() if key in gold
    }
    if rule == "majority" or (known and not marks):
        found = majority_labels(marks, min_raters=min_raters)
    else:
        found = dawid_skene_labels(marks, known, min_raters=min_raters, min_gold=0)
    return AgreedSpans(asked, found, Counter(rater for _, rater, _ in votes), unheard)


def _short_of_gold(
    votes: Votes, gold: Mapping[str, frozenset[Span]], needed: int
) -> dict[str, str]:
    """Raters of too few rows whose spans are known; one row counts once, whatever it holds."""
    asked = Counter(rater for key, rater, _ in votes if key in gold)
    return {
        rater: f"{asked[rater]} gold answers, {needed} needed"
        for rater in sorted({rater for _, rater, _ in votes})
        if asked[rater] < needed
    }
