"""Answers to other prompts, by which KTO estimates how far a model has moved from its reference."""

from collections.abc import Sequence
from typing import Any

from hub_trainer.errors import DataError


def with_mismatched(
    rows: Sequence[dict[str, Any]], *, block: int, max_length: int
) -> list[dict[str, Any]]:
    """Each row with the answer of another row of its block, to another prompt."""
    chosen = mismatch([tuple(row["prompt"]) for row in rows], block)
    return [
        {**row, "mismatched": rows[j]["answers"][0][: max_length - len(row["prompt"])]}
        for row, j in zip(rows, chosen, strict=True)
    ]


def mismatch(prompts: Sequence[object], block: int) -> list[int]:
    """For each row another row: the one before it in its block, in turn, as TRL's rotation.

    A neighbour with the same prompt would not be mismatched, so it is passed over; a block of one
    prompt only borrows from the others.
    """
    return [_before(prompts, i, _around(i, block, len(prompts))) for i in range(len(prompts))]


def _around(index: int, block: int, total: int) -> range:
    start = index - index % block
    return range(start, min(start + block, total))


def _before(prompts: Sequence[object], index: int, block: range) -> int:
    for rows in (block, range(len(prompts))):
        for shift in range(1, len(rows)):
            other = rows[(index - rows.start - shift) % len(rows)]
            if prompts[other] != prompts[index]:
                return other
    raise DataError(
        "KTO needs answers to more than one prompt: an answer to another prompt is how it"
        " estimates how far the model has moved.",
        got=f"{len(prompts)} ratings of one prompt",
        do="collect ratings of other prompts too, or use the loss apo_zero_unpaired",
    )
