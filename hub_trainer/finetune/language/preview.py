"""An example as the model will read it, for people: text, and whether it is learned."""

from itertools import groupby
from typing import Any


def preview(row: dict[str, Any], tokenizer: Any) -> list[list[tuple[str, bool]]]:
    """Each answer of an encoded row after its prompt, as (text, learned) segments."""
    parts = zip(row["answers"], row["trained"], strict=True)
    return [_segments(tokenizer, row["prompt"], ids, learned) for ids, learned in parts]


def _segments(
    tokenizer: Any, prompt: list[int], ids: list[int], learned: list[bool]
) -> list[tuple[str, bool]]:
    whole, marks = prompt + ids, [False] * len(prompt) + learned
    segments, start = [], 0
    for mark, run in groupby(marks):
        end = start + len(list(run))
        # Decoded up to here and after, so that a token keeps the space it begins with.
        before, after = tokenizer.decode(whole[:start]), tokenizer.decode(whole[:end])
        segments.append((after[len(before) :], mark))
        start = end
    return segments
