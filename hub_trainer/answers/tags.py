"""Tags of words and the spans that they stand for, in every usual form of writing them.

A tag is O, or a prefix and a type, as B-Disease. IOB2 begins every span with B-; IOB1 only one that
follows another of its type; BIOES and BILOU also mark ends (E, L) and single words (S, U).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub_trainer.metrics.span_metrics import Span

OUTSIDE, BEGIN, INSIDE = "O", "B", "I"
PREFIXES = "BIESLU"
OPENING = "BSU"
"""Prefixes that always begin a span."""
CLOSING = "ELSU"
"""Prefixes after which no span goes on."""


def is_tag(tag: str) -> bool:
    """Whether a text is O, or a known prefix with a type."""
    return tag == OUTSIDE or (len(tag) > 2 and tag[0] in PREFIXES and tag[1] == "-")


def type_of(tag: str) -> str | None:
    """The type of a tag; None for O."""
    return None if tag == OUTSIDE else tag[2:]


def span_tags(types: Iterable[str]) -> list[str]:
    """The tags of IOB2 for these types, O first."""
    return [OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in (BEGIN, INSIDE))]


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """The spans of a row of tags in whatever form, as seqeval (and conlleval) reads them.

    A tag that goes on where there is nothing to go on with begins a span.
    """
    return [(start, stop, kind) for start, stop, kind, _ in _read(tags)]


def tags_of_spans(spans: Iterable[Span], num_words: int) -> list[str]:
    """IOB2."""
    tags = [OUTSIDE] * num_words
    for start, stop, kind in spans:
        tags[start:stop] = [f"{BEGIN}-{kind}", *[f"{INSIDE}-{kind}"] * (stop - start - 1)]
    return tags


@dataclass(frozen=True)
class Form:
    """How the tags of a column are written."""

    name: str
    num_repaired: int
    """Spans that begin with a tag that goes on, which this form does not allow."""


def form_of(rows: Sequence[Sequence[str]]) -> Form:
    """The form of all rows of a column together."""
    found = [(tags, _read(tags)) for tags in rows]
    loose = sum(tags[start][0] not in OPENING for tags, spans in found for start, _, _, _ in spans)
    prefixes = {tag[0] for tags in rows for tag in tags if tag != OUTSIDE}
    if prefixes & {"L", "U"}:
        return Form("BILOU", loose)
    if prefixes & {"E", "S"}:
        return Form("BIOES", loose)
    # In IOB1 a B- stands nowhere but right behind another span of the same type.
    begun = [behind for tags, spans in found for start, _, _, behind in spans
             if tags[start][0] == BEGIN]  # fmt: skip
    if loose and all(begun):
        return Form("IOB1", 0)
    return Form("IOB2", loose)


def _read(tags: Sequence[str]) -> list[tuple[int, int, str, bool]]:
    """(first, after the last, type, whether it is right behind another of its type)."""
    found: list[tuple[int, int, str, bool]] = []
    before = OUTSIDE
    for place, tag in enumerate(tags):
        kind = type_of(tag)
        goes_on = (
            kind is not None
            and type_of(before) == kind
            and tag[0] not in OPENING
            and before[0] not in CLOSING
        )
        if goes_on:
            start, _, _, behind = found[-1]
            found[-1] = (start, place + 1, str(kind), behind)
        elif kind is not None:
            found.append((place, place + 1, kind, type_of(before) == kind))
        before = tag
    return found
