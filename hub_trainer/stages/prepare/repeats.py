"""Repeats among the rows of a split, and rows of one split that repeat those of another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.answers import Answer
from hub_trainer.duplicates import DuplicateGroup, find_duplicates, preference_keys
from hub_trainer.inputs import load_input
from hub_trainer.rows.leakage import find_sealed

Row = dict[str, Any]

EXACT, NEAR, CONFLICT = "exact duplicate", "near duplicate", "conflicting label"
CONTRARY = "conflicting preference"


@dataclass(frozen=True)
class Repeats:
    """What was found among the rows of one split."""

    groups: int
    exact: int
    """Rows that repeat an earlier one exactly, once normalised."""
    near: int
    """Rows that nearly repeat an earlier one of the same label."""
    conflicting: int
    """Rows whose content has another label elsewhere in the split."""


def without_repeats(
    rows: Sequence[Row], modality: str, near: float | None, answer: Answer
) -> tuple[list[Row], Repeats, dict[int, str]]:
    """The rows without repeats, what was found, and why which rows were dropped.

    Contents with several answers keep what those come to, as the label of the majority; where they
    contradict each other, all their rows go. Contents that repeat by chance, as in tables, may well
    have several answers: only rows of the same one are repeats. A near duplicate under another
    answer is an example of its own.
    """
    groups, column = find_duplicates(rows, modality, near), answer.column
    reasons: dict[int, str] = {}
    found = Counter(exact=sum(len(group.exact) for group in groups))
    for group in groups:
        found["conflicting"] += _settle(rows, group, modality, reasons, answer)
        for number in group.near:
            if answer.same(rows[number][column], rows[group.first][column]):
                reasons.setdefault(number, NEAR)
    found["near"] = sum(reason == NEAR for reason in reasons.values())
    kept = [row for number, row in enumerate(rows) if number not in reasons]
    counts = Repeats(len(groups), found["exact"], found["near"], found["conflicting"])
    return kept, counts, reasons


def without_contradictions(
    rows: Sequence[Row], modality: str
) -> tuple[list[Row], list[tuple[Row, str]]]:
    """The rows whose preference no other turns round, and the others with the reason.

    Where more rows prefer the one answer than the other, theirs stay, as the label of the majority
    does.
    """
    keys = preference_keys(rows, modality)
    counts = Counter(pair[0] for pair in keys if pair)
    gone = {
        id(row)
        for row, pair in zip(rows, keys, strict=True)
        if pair and pair[1] in counts and counts[pair[1]] >= counts[pair[0]]
    }
    kept = [row for row in rows if id(row) not in gone]
    return kept, [(row, CONTRARY) for row in rows if id(row) in gone]


@dataclass(frozen=True)
class Copy:
    """A row that repeats a sealed one."""

    row: Row
    sealed: Row
    kind: Literal["exact", "near"]


def without_leakage(
    rows: Sequence[Row], sealed: Sequence[Row], modality: str, near: float | None
) -> tuple[list[Row], list[Copy], dict[str, int]]:
    """Rows that repeat no sealed row; those that do, exactly or nearly; and their numbers."""
    matches = find_sealed(rows, sealed, modality, near)
    leaked = {match.row for match in matches}
    kept = [row for number, row in enumerate(rows) if number not in leaked]
    return (
        kept,
        [Copy(rows[match.row], sealed[match.reference], match.kind) for match in matches],
        {
            "exact": sum(match.kind == "exact" for match in matches),
            "near": sum(match.kind == "near" for match in matches),
            "sealed_rows": len({match.reference for match in matches}),
        },
    )


def _settle(
    rows: Sequence[Row],
    group: DuplicateGroup,
    modality: str,
    reasons: dict[int, str],
    answer: Answer,
) -> int:
    """Note which rows of a group's exact content go; returns how many have a disputed answer."""
    members = [group.first, *group.exact]
    values = {number: rows[number][answer.column] for number in members}
    first = values[group.first]
    agree = all(answer.same(value, first) for value in values.values())
    if load_input(modality).repeats_by_chance or agree:
        kept: list[Any] = []
        for number, value in values.items():
            if any(answer.same(value, other) for other in kept):
                reasons[number] = EXACT
            else:
                kept.append(value)
        return 0 if agree else len(members)
    settled = answer.settle(list(values.values()))
    agreed = [
        number
        for number, value in values.items()
        if settled is not None and answer.same(value, settled)
    ]
    for number in members:
        reasons[number] = EXACT if number in agreed else CONFLICT
    if agreed:
        del reasons[agreed[0]]
    return len(members)
