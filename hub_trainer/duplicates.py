"""Rows that repeat each other: exactly, once normalised, or nearly, as far as their kind allows.

Two questions. Repeats among rows of one dataset are plain: the same row again, by `near` alone.
Leakage is what somebody may have disguised: altered copies of sealed rows, told from honest rows
by what chance brings.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

from hub_trainer.inputs import Altered, Near, References, load_input

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


def content_keys(rows: Sequence[Row], modality: str) -> list[str]:
    """Per row a sha256 that is the same for contents that are equal once normalised.

    Labels do not count.
    """
    prefix = load_input(modality).identity.encode() + b"\0"
    normal = _near(modality).normal
    contents = _contents(rows, modality)
    return [hashlib.sha256(prefix + normal(content)).hexdigest() for content in contents]


def preference_keys(rows: Sequence[Row], modality: str) -> list[tuple[str, str] | None]:
    """Per row keys of its preference and of the contrary one, the same for all that prefer so.

    None for a row without a preference, or whose two answers are one once normalised.
    """
    dialogue = load_input(modality).dialogue
    found: list[tuple[str, str] | None] = [None] * len(rows)
    if dialogue is None:
        return found
    pairs = {place: pair for place, row in enumerate(rows) if (pair := dialogue.both_ways(row))}
    keys = [content_keys(side, modality) for side in zip(*pairs.values(), strict=True)]
    for place, own, contrary in zip(pairs, *keys, strict=True) if pairs else ():
        found[place] = (own, contrary) if own != contrary else None
    return found


def find_duplicates(rows: Sequence[Row], modality: str, near: float | None) -> list[DuplicateGroup]:
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
        for member, leader, _ in _near(modality).within(contents, near):
            near_of.setdefault(leader, []).extend(groups[member])
            groups[member] = []
    return [
        DuplicateGroup(group[0], tuple(group[1:]), tuple(sorted(near_of.get(place, ()))))
        for place, group in enumerate(groups)
        if len(group) > 1 or place in near_of
    ]


def find_repeats(
    rows: Sequence[Row], known: Sequence[Row], modality: str, near: float | None
) -> list[Match]:
    """The rows that repeat a known row, each with the first or most similar one."""
    found, left = _split_exact(rows, _firsts(known, modality), modality)
    if near is None or not known:
        return found
    found += _near_repeats(rows, left, known, modality, near)
    return sorted(found, key=lambda match: match.row)


def find_leakage(
    rows: Sequence[Row], reference_rows: Sequence[Row], modality: str, near: float | None
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
    modality: str
    near: float | None
    """None compares exactly only, once normalised."""

    def copies_among(self, rows: Sequence[Row]) -> list[Match]:
        """The copies among the rows, each with the nearest sealed row."""
        return [match for match in self.nearest(rows) if is_copy(match)]

    def nearest(self, rows: Sequence[Row]) -> list[Match]:
        """Each row within the reach of `near` from a sealed row, copies and chance alike."""
        found, left = _split_exact(rows, self._firsts, self.modality)
        if self.near is None or not self.rows:
            return found
        contents = _contents([rows[number] for number in left], self.modality)
        places, distances = self._references.nearest(contents)
        distinct = list(self._firsts.values())
        for number, place, distance in zip(left, places, distances, strict=True):
            if distance < self.reach:
                reference = distinct[int(place)]
                remoteness = float(distance) / self.allowed if self.allowed else FAR
                found.append(Match(number, reference, "near", 1 - float(distance), remoteness))
        nearest = {match.row: match for match in found}
        if not load_input(self.modality).repeats_by_chance:
            # Rows that are near a sealed one as they are: copies even where chance comes as near.
            plain = _near_repeats(rows, left, self.rows, self.modality, self.near)
            nearest |= {match.row: replace(match, remoteness=UNALTERED) for match in plain}
        return [nearest[row] for row in sorted(nearest)]

    @property
    def reach(self) -> float:
        """Distance that `near` stands for."""
        if self.near is None:
            return 0.0
        return _altered(self.modality).REACH * (1 - self.near) / (1 - DEFAULT_NEAR)

    @cached_property
    def allowed(self) -> float:
        """Distance from which rows are no copies: the reach, or less where chance comes nearer."""
        import numpy as np

        own = np.sort(self._references.own)
        return min(self.reach, float(own[int(CHANCE_SHARE * len(own))]))

    @cached_property
    def _firsts(self) -> dict[str, int]:
        return _firsts(self.rows, self.modality)

    @cached_property
    def _references(self) -> References:
        distinct = [self.rows[number] for number in self._firsts.values()]
        return _altered(self.modality).References(_contents(distinct, self.modality))


def _firsts(rows: Sequence[Row], modality: str) -> dict[str, int]:
    """Content key -> the first of the rows that have it."""
    firsts: dict[str, int] = {}
    for number, key in enumerate(content_keys(rows, modality)):
        firsts.setdefault(key, number)
    return firsts


def _split_exact(
    rows: Sequence[Row], known: Mapping[str, int], modality: str
) -> tuple[list[Match], list[int]]:
    """The rows that repeat a known one exactly, and the numbers of all others."""
    keys = content_keys(rows, modality)
    found = [
        Match(number, known[key], "exact", 1.0) for number, key in enumerate(keys) if key in known
    ]
    return found, [number for number, key in enumerate(keys) if key not in known]


def _near_repeats(
    rows: Sequence[Row], left: Sequence[int], known: Sequence[Row], modality: str, near: float
) -> list[Match]:
    """Those of the rows in the places `left` that are near a known row as they are."""
    contents = _contents([rows[number] for number in left], modality)
    pairs = _near(modality).between(contents, _contents(known, modality), near)
    return [Match(left[place], reference, "near", share) for place, reference, share in pairs]


def _contents(rows: Sequence[Row], modality: str) -> list[Any]:
    return [load_input(modality).compared(row) for row in rows]


def _near(modality: str) -> Near:
    module: Near = import_module(load_input(modality).near)
    return module


def _altered(modality: str) -> Altered:
    module: Altered = import_module(load_input(modality).altered)
    return module
