"""A dataset's tokens and tags as the values of spans, and spans as a text that says them all."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hub_trainer.answers.tags import (
    OUTSIDE,
    form_of,
    is_tag,
    spans_of_tags,
    tags_of_spans,
    type_of,
)
from hub_trainer.answers.word_lists import joined, words_in
from hub_trainer.errors import DataError
from hub_trainer.metrics.span_metrics import Span


def tagged(words: Sequence[str], spans: Iterable[Span]) -> list[list[str]]:
    """The value of these words with these spans."""
    return [list(pair) for pair in zip(words, tags_of_spans(spans, len(words)), strict=True)]


def written(words: Sequence[str], spans: Iterable[Span]) -> str:
    """A text and its spans by characters, as JSON."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    placed = [
        {"start": starts[start], "end": starts[stop] - 1, "label": kind}
        for start, stop, kind in sorted(spans)
    ]
    return json.dumps({"text": " ".join(words), "spans": placed}, ensure_ascii=False)


def _borders(words: Sequence[str]) -> tuple[dict[int, int], dict[int, int]]:
    """Place of the first character of each word -> its number, and of the end -> the next one."""
    starts, stops, place = {}, {}, 0
    for number, word in enumerate(words):
        starts[place], stops[place + len(word)] = number, number + 1
        place += len(word) + 1
    return starts, stops


def read_text(text: str) -> list[list[str]]:
    """Words with tags, of what `written` writes. Raises ValueError for another text."""
    try:
        found = json.loads(text)
        words, spans = str(found["text"]).split(), found["spans"]
        starts, stops = _borders(words)
        placed = [(starts[s["start"]], stops[s["end"]], str(s["label"])) for s in spans]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{text!r:.60} is no text with its spans.") from None
    placed.sort()
    ends = [0, *(stop for _, stop, _ in placed)]
    fits = all(
        end <= start < stop and is_tag(f"B-{kind}")
        for end, (start, stop, kind) in zip(ends, placed, strict=False)
    )
    if not fits or " ".join(words) != found["text"]:
        raise ValueError(f"{text!r:.60} has spans that overlap or end before they begin.")
    return tagged(words, placed)


def tag_names(value: Sequence[Any], classes: Sequence[str] | None, where: str) -> list[str]:
    """The tags of one row as texts."""
    if classes is None:
        return [str(tag).strip() for tag in value]
    outside = [one for one in value if not isinstance(one, int) or not 0 <= one < len(classes)]
    if outside:
        raise DataError(
            "A tag is outside the dataset's classes.",
            where=where,
            got=f"class {outside[0]}, of {len(classes)} classes",
            do="Correct the row, or the names of the classes in the card.",
        )
    return [classes[one] for one in value]


def assert_tags(rows: Sequence[list[str] | None], good: Sequence[list[str]], where: str) -> None:
    """Raise DataError where most rows hold something else than tags."""
    odd = [tag for tags in rows for tag in tags or () if not is_tag(tag)]
    if odd and 2 * len(good) < sum(bool(tags) for tags in rows):
        numbers = odd[0].lstrip("-").isdigit()
        raise DataError(
            "The column holds other tags than those of spans.",
            where=where,
            got=f"{odd[0]!r:.40}",
            do="Name the classes of the numbers in the dataset's card."
            if numbers
            else "Write O for a word outside, B-TYPE for the first word of a span and I-TYPE for "
            "the others.",
        )


def form_notes(rows: Sequence[Sequence[str]]) -> list[str]:
    """What a person should know of the form that the tags have."""
    form = form_of(rows)
    notes = [f"the tags are {form.name}; they are learned as IOB2"] if form.name != "IOB2" else []
    if form.num_repaired:
        notes.append(
            f"{form.num_repaired:,} spans begin with a tag that only goes on, as I- without B-: "
            "they are taken to begin there"
        )
    return notes


def tagged_tokens(tokens: Sequence[Any], tags: Sequence[str]) -> list[list[str]]:
    """The value of a row; an empty one where it cannot be made."""
    if len(tokens) != len(tags):
        return []
    if not all(map(is_tag, tags)):
        return [[joined([token]), tag] for token, tag in zip(tokens, tags, strict=True)]
    regular = tags_of_spans(spans_of_tags(tags), len(tags))
    pairs = [
        (word, tag if first or tag == OUTSIDE else f"I-{type_of(tag)}")
        for token, tag in zip(tokens, regular, strict=True)
        for first, word in _marked(words_in(token))
    ]
    return tagged([word for word, _ in pairs], spans_of_tags([tag for _, tag in pairs]))


def _marked(words: Sequence[str]) -> list[tuple[bool, str]]:
    """Each word, and whether it is the first."""
    return [(number == 0, word) for number, word in enumerate(words)]
