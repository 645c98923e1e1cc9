"""Rows held back as a test: chosen by their content, so that a row keeps its side."""

from collections.abc import Sequence
from typing import Any

from hub_trainer.duplicates import content_keys
from hub_trainer.inputs import load_input

Row = dict[str, Any]


def hold_back_test(
    rows: Sequence[Row], modality: str, fraction: float
) -> tuple[list[Row], list[Row]]:
    """(train, test): a row is a test row when the hash of its content says so.

    Later rounds bring more rows and move none, and copies of a row share its side, as do all
    answers to the same prompt.
    """
    train: list[Row] = []
    test: list[Row] = []
    dialogue = load_input(modality).dialogue
    keys = content_keys(dialogue.questions(rows) if dialogue else rows, modality)
    for row, key in zip(rows, keys, strict=True):
        (test if int(key[:16], 16) / 2**64 < fraction else train).append(row)
    return train, test
