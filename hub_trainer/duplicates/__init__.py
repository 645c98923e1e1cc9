"""Rows that repeat each other: exactly, once normalised, or nearly, as far as their kind allows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.duplicates import images, tables, texts

Modality = Literal["text", "image", "table"]
Row = Mapping[str, Any]


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
    """1.0 when exact; else as near's threshold counts it."""


def content_keys(rows: Sequence[Row], modality: Modality) -> list[str]:
    """Per row a sha256 that is the same for contents that are equal once normalised.

    Labels do not count. Text: Unicode form, case and white space are levelled. Images: the decoded
    pixels, upright. Tables: the features, whole numbers as floats.
    """
    prefix = modality.encode() + b"\0"
    return [hashlib.sha256(prefix + _normal(row, modality)).hexdigest() for row in rows]


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
        for member, leader, _ in _near(modality).within(_contents(firsts, modality), near):
            near_of.setdefault(leader, []).extend(groups[member])
            groups[member] = []
    return [
        DuplicateGroup(group[0], tuple(group[1:]), tuple(sorted(near_of.get(place, ()))))
        for place, group in enumerate(groups)
        if len(group) > 1 or place in near_of
    ]


def find_leakage(
    rows: Sequence[Row], reference_rows: Sequence[Row], modality: Modality, near: float | None
) -> list[Match]:
    """The rows that repeat a reference row, each with the first or most similar one."""
    reference_keys: dict[str, int] = {}
    for number, key in enumerate(content_keys(reference_rows, modality)):
        reference_keys.setdefault(key, number)
    keys = content_keys(rows, modality)
    found = [
        Match(number, reference_keys[key], "exact", 1.0)
        for number, key in enumerate(keys)
        if key in reference_keys
    ]
    if near is None or not reference_rows:
        return found
    left = [number for number, key in enumerate(keys) if key not in reference_keys]
    contents = _contents([rows[number] for number in left], modality)
    references = _contents(reference_rows, modality)
    for place, reference, similarity in _near(modality).between(contents, references, near):
        found.append(Match(left[place], reference, "near", similarity))
    return sorted(found, key=lambda match: match.row)


def _normal(row: Row, modality: Modality) -> bytes:
    if modality == "text":
        return texts.normal_text(row["text"]).encode("utf-8", "surrogatepass")
    if modality == "image":
        return images.pixels(row["image"])
    return tables.normal_row(row)


def _contents(rows: Sequence[Row], modality: Modality) -> Sequence[Any]:
    if modality == "table":
        return rows
    return [row[modality] for row in rows]


def _near(modality: Modality) -> Any:
    return {"text": texts, "image": images, "table": tables}[modality]
