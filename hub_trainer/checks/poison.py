"""Signs of poisoned rows, looked for in a child: triggers, shifts, and rows that are there already.

Answers hold figures, names of columns, numbers of rows and a few categories, cut.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer, load_answer
from hub_trainer.checks.comparison import Signs
from hub_trainer.checks.shifts import find_shifts
from hub_trainer.checks.triggers import find_triggers
from hub_trainer.duplicates import find_duplicates, find_leakage
from hub_trainer.inputs import load_input
from hub_trainer.rows import read_rows

Row = Mapping[str, Any]

NUM_ANSWER_WORDS = 12


def find_poison(new: str, base: str, *, modality: str, answer: str) -> Signs:
    """Triggers and shifts of the new rows, and the places of those that repeat others exactly."""
    rows, known = read_rows(Path(new)), read_rows(Path(base))
    triggers = [
        one
        for labels in _labelings(rows, known, modality, load_answer(answer))
        for one in find_triggers(rows, known, modality, labels=labels)
    ]
    shifts = find_shifts(rows, known, modality, load_answer(answer))
    within = {number for group in find_duplicates(rows, modality, None) for number in group.exact}
    there = {match.row for match in find_leakage(rows, known, modality, None)}
    return Signs(tuple(triggers), tuple(shifts), tuple(sorted(within | there)))


def _labelings(
    rows: Sequence[Row], known: Sequence[Row], modality: str, answer: Answer
) -> list[list[str]]:
    """What a trigger may bring about: a label, or a group of answers; of a dialogue also the start
    of what is answered. One per new row, then one per known row."""
    values = [row[answer.column] for row in (*rows, *known)]
    labels = answer.strata(values)
    dialogue = load_input(modality).dialogue
    if dialogue is None:
        return [labels]
    answers = dialogue.answers([*rows, *known])
    return [labels, [" ".join(one.casefold().split()[:NUM_ANSWER_WORDS]) for one in answers]]
