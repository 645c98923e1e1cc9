"""Rows that repeat what is sealed: by their content, and in language data by what they ask."""

from collections.abc import Sequence

from hub_trainer.duplicates import Match, Modality, Row, find_leakage
from hub_trainer.rows.examples import as_prompts


def find_sealed(
    rows: Sequence[Row], sealed: Sequence[Row], modality: Modality, near: float | None
) -> list[Match]:
    """Rows that repeat a sealed row, or give another answer to its prompt, each once.

    Prompts are compared exactly: those written by one pattern are all nearly the same.
    """
    matches = find_leakage(rows, sealed, modality, near)
    if not any(row.get("prompt") for row in sealed):
        return matches
    whole = {match.row for match in matches}
    asked = find_leakage(as_prompts(rows), as_prompts(sealed), modality, None)
    return matches + [match for match in asked if match.row not in whole]
