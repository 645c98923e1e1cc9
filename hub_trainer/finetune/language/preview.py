"""An example as the model will read it, for people: text, and whether it is learned."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from hub_trainer.finetune.language.encode import Encoded, encode, sizes
from hub_trainer.finetune.language.fit import LanguageFit, plan_of, reading_of
from hub_trainer.finetune.language.refusals import refused_rows
from hub_trainer.finetune.language.tune import loss_of
from hub_trainer.inputs.language_examples import Row, example_of
from hub_trainer.rows.language_rows import examples_of

Segments = list[tuple[str, bool]]


def read_rows(rows: Sequence[Row], fit: LanguageFit) -> tuple[Encoded, list[Segments]]:
    """Rows in tokens as training would have them, refused where it would, and the first shown.

    Rows that the chat template does not take are left out, as prepare leaves them out.
    """
    refused = refused_rows(rows, fit)
    taken = [row for row, refusal in zip(rows, refused, strict=True) if refusal is None]
    if rows and not taken:
        raise next(filter(None, refused))
    tokenizer = fit.tokenizer()
    reading = reading_of(fit, tokenizer)
    known, examples = examples_of(taken)
    encoded = encode(examples, tokenizer, known, reading)
    loss_of(encoded, plan_of(fit, reading.max_length))
    encoded = replace(encoded, num_dropped=encoded.num_dropped + len(rows) - len(taken))
    return encoded, preview(encoded.rows[0], tokenizer)


def row_sizes(rows: Sequence[Row], fit: LanguageFit) -> tuple[list[int], int]:
    """Tokens of each row's prompt with its longest answer, and how many training takes."""
    tokenizer = fit.tokenizer()
    reading = reading_of(fit, tokenizer)
    return sizes([example_of(row) for row in rows], tokenizer, reading), reading.max_length


def preview(row: dict[str, Any], tokenizer: Any) -> list[Segments]:
    """Each answer of an encoded row after its prompt, as (text, learned) segments."""
    parts = zip(row["answers"], row["trained"], strict=True)
    return [_segments(tokenizer, row["prompt"], ids, learned) for ids, learned in parts]


def _segments(tokenizer: Any, prompt: list[int], ids: list[int], learned: list[bool]) -> Segments:
    whole, marks = prompt + ids, [False] * len(prompt) + learned
    segments, start = [], 0
    for mark, run in groupby(marks):
        end = start + len(list(run))
        # Decoded up to here and after, so that a token keeps the space it begins with.
        before, after = tokenizer.decode(whole[:start]), tokenizer.decode(whole[:end])
        segments.append((after[len(before) :], mark))
        start = end
    return segments
