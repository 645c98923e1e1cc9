"""Rows that repeat each other: exactly, once normalised, or nearly, as far as their kind allows.

Two questions. Repeats among rows of one dataset are plain: the same row again, by `near` alone.
Leakage is what somebody may have disguised: altered copies of sealed rows, told from honest rows
by what chance brings.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from hub_trainer.inputs import References, load_input

Modality = Literal["text", "image", "table"]
Row = Mapping[str, Any]

DEFAULT_NEAR = 0.85
"""The recipe's `near` at which an altered copy may be as far away as its kind says (`REACH`)."""
CHANCE_SHARE = 0.04
"""Share of the sealed rows that may lie so near to another one that they would count as its copy.
Where chance brings more, only nearer rows count."""
FAR, UNALTERED = 1e9, 0.5


@dataclass(frozen=True)
class DuplicateGroup:
    """Rows that count as one, by their place in the list: the first of them, and its repeats."""

    first: int
    exact: tuple[int, ...]
    """Repeats with the same content once normalised."""
    near: tuple[int, ...]
    """Repeats that are only similar."""


@dataclass(frozen=True)
class Match:
    """A row that repeats a reference row."""

    row: int
    reference: int
    kind: Literal["exact", "near"]
    similarity: float
    """1.0 when exact; else as near's threshold counts it, or 1 less the distance of a copy."""
    remoteness: float = 0.0
    """Distance of an altered copy over the allowed one: from 1.0 on it may be chance."""


def content_keys(rows: Sequence[Row], modality: Modality) -> list[str]:
    """Per row a sha256 that is the same for contents that are equal once normalised.

    Labels do not count.
    """
    prefix, normal = modality.encode() + b"\0", load_input(modality).normal
    return [hashlib.sha256(prefix + normal(row)).hexdigest() for row in rows]


def find_duplicates(
    rows: Sequence[Row], modality: Modality, near: float | None
) -> list[DuplicateGroup]:
    """Groups of rows that count as one, in the order of their first rows.

    A group's rows resemble its first row, so that similarity does not creep along a chain.
    """
    by_key: dict[str, list[int]] = {}
    for number, key in enumerate(content_keys(rows, modality)):
        by_key.setdefault(key, []).append(number)
    groups = list(by_key.values())
    near_of: dict[int, list[int]] = {}
    if near is not None:
        firsts = [rows[group[0]] for group in groups]
        contents = _contents(firsts, modality)
        for member, leader, _ in load_input(modality).near.within(contents, near):
            near_of.setdefault(leader, []).extend(groups[member])
            groups[member] = []
    return [
        DuplicateGroup(group[0], tuple(group[1:]), tuple(sorted(near_of.get(place, ()))))
        for place, group in enumerate(groups)
        if len(group) > 1 or place in near_of
    ]


def find_repeats(
    rows: Sequence[Row], known: Sequence[Row], modality: Modality, near: float | None
) -> list[Match]:
    """The rows that repeat a known row, each with the first or most similar one."""
    found, left = _split_exact(rows, known, modality)
    if near is None or not known:
        return found
    contents = _contents([rows[number] for number in left], modality)
    references = _contents(known, modality)
    near_ones = load_input(modality).near.between(contents, references, near)
    for place, reference, similarity in near_ones:
        found.append(Match(left[place], reference, "near", similarity))
    return sorted(found, key=lambda match: match.row)


def find_leakage(
    rows: Sequence[Row], reference_rows: Sequence[Row], modality: Modality, near: float | None
) -> list[Match]:
    """The rows that are copies of a reference row, altered ones too, each with the nearest."""
    return SealedRows(reference_rows, modality, near).copies_among(rows)


def is_copy(match: Match) -> bool:
    """Whether a row is nearer to a sealed one than chance often brings honest rows."""
    return match.remoteness < 1


@dataclass(frozen=True)
class SealedRows:
    """Rows of which no other row may be a copy, made ready to be compared with many."""

    rows: Sequence[Row]
    modality: Modality
    near: float | None
    """None compares exactly only, once normalised."""

    def copies_among(self, rows: Sequence[Row]) -> list[Match]:
        """The copies among the rows, each with the nearest sealed row."""
        return [match for match in self.nearest(rows) if is_copy(match)]

    def nearest(self, rows: Sequence[Row]) -> list[Match]:
        """Each row within the reach of `near` from a sealed row, copies and chance alike."""
        found, left = _split_exact(rows, self.rows, self.modality)
        if self.near is None or not self.rows:
            return found
        contents = _contents([rows[number] for number in left], self.modality)
        places, distances = self._references.nearest(contents)
        for number, place, distance in zip(left, places, distances, strict=True):
            if distance < self.reach:
                reference = self._distinct[int(place)]
                remoteness = float(distance) / self.allowed if self.allowed else FAR
                found.append(Match(number, reference, "near", 1 - float(distance), remoteness))
        nearest = {match.row: match for match in found} | self._plain_repeats(rows, left)
        return [nearest[row] for row in sorted(nearest)]

    def _plain_repeats(self, rows: Sequence[Row], left: Sequence[int]) -> dict[int, Match]:
        """Rows that are near a sealed one as they are: copies even where chance comes as near."""
        if load_input(self.modality).repeats_by_chance:
            return {}
        repeats = find_repeats([rows[n] for n in left], self.rows, self.modality, self.near)
        return {left[m.row]: replace(m, row=left[m.row], remoteness=UNALTERED) for m in repeats}

    @property
    def reach(self) -> float:
        """Distance that `near` stands for."""
        if self.near is None:
            return 0.0
        return load_input(self.modality).altered.REACH * (1 - self.near) / (1 - DEFAULT_NEAR)

    @cached_property
    def allowed(self) -> float:
        """Distance from which rows are no copies: the reach, or less where chance comes nearer."""
        import numpy as np

        own = np.sort(self._references.own)
        return min(self.reach, float(own[int(CHANCE_SHARE * len(own))]))

    @cached_property
    def _distinct(self) -> list[int]:
        """The first of the rows with each content."""
        firsts: dict[str, int] = {}
        for number, key in enumerate(content_keys(self.rows, self.modality)):
            firsts.setdefault(key, number)
        return list(firsts.values())

    @cached_property
    def _references(self) -> References:
        distinct = [self.rows[number] for number in self._distinct]
        return load_input(self.modality).altered.References(_contents(distinct, self.modality))


def _split_exact(
    rows: Sequence[Row], known: Sequence[Row], modality: Modality
) -> tuple[list[Match], list[int]]:
    """The rows that repeat a known row exactly, and the numbers of all others."""
    known_keys: dict[str, int] = {}
    for number, key in enumerate(content_keys(known, modality)):
        known_keys.setdefault(key, number)
    keys = content_keys(rows, modality)
    found = [
        Match(number, known_keys[key], "exact", 1.0)
        for number, key in enumerate(keys)
        if key in known_keys
    ]
    return found, [number for number, key in enumerate(keys) if key not in known_keys]


def _contents(rows: Sequence[Row], modality: Modality) -> list[Any]:
    return [load_input(modality).compared(row) for row in rows]
