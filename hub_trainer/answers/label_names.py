"""Labels as people write them: white space and Unicode levelled, numbers in their own order."""

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WHOLE_FRACTION = re.compile(r"^([+-]?\d+)\.0*$")
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?$")
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Characters that nobody sees: soft hyphens, widths of zero, directions of writing."""
_JOINERS = re.compile("[\u200c\u200d]")
"""Unseen too, but some scripts and emoji need them."""
MAX_NAMED = 5
MAX_SINGLE = 3
NUM_NAMED = 12
"""Names in a sentence before the rest is counted."""


def plain_label(value: Any) -> str | None:
    """The name that a value stands for: NFC, without white space around it; None when empty or
    not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return unicodedata.normalize("NFC", _UNSEEN.sub("", str(value))).strip() or None


def whole_number(text: str) -> str:
    """The text of a number without a fraction of zeros, which a column with gaps gives to all."""
    found = _WHOLE_FRACTION.match(text.strip())
    return str(int(found[1])) if found else text


def truth_value(text: str) -> str:
    """True and False in the one way that Python writes them; other texts as they are."""
    return text.capitalize() if text.lower() in ("true", "false") else text


def in_order(labels: Iterable[str]) -> list[str]:
    """Numbers by their size (2 before 10), then all other labels by their characters."""
    return sorted(labels, key=_place)


def alike_labels(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that differ only in case, Unicode form or white space, or in how one
    number is written.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        level = repr(float(label)) if _NUMBER.match(label) else _levelled(label)
        groups.setdefault(level, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def is_alike(one: str, other: str) -> bool:
    """Whether two labels differ at most in case, Unicode form or white space."""
    return _levelled(one) == _levelled(other)


def nearest_label(name: str, known: Iterable[str]) -> str | None:
    """The known label that is nearest to a misspelt one, if any is."""
    levels = {_levelled(label): label for label in known}
    close = difflib.get_close_matches(_levelled(name), list(levels), n=1)
    return levels[close[0]] if close else None


def nearest_told(name: str, known: Iterable[str]) -> str:
    """`, nearest to 'x'`, or nothing."""
    close = nearest_label(name, known)
    return f", nearest to {close!r:.40}" if close else ""


def labels_named(names: Sequence[str]) -> str:
    """How many labels there are, and the first of them."""
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} label{plural}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


def named(names: Sequence[str]) -> str:
    """Names in a sentence, the rest counted."""
    shown, more = list(names[:NUM_NAMED]), len(names) - NUM_NAMED
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _levelled(label: str) -> str:
    plain = _JOINERS.sub("", unicodedata.normalize("NFKC", label))
    return " ".join(plain.casefold().split())


def alike_notes(counts: Mapping[str, int]) -> list[str]:
    """What to say of labels that are probably the same; they stay apart."""
    return [
        f"labels that {_difference(group)}: "
        f"{', '.join(f'{name!r} ({counts[name]:,} rows)' for name in group)}; they are "
        "learned as different ones, so write them alike if they are the same"
        for group in alike_labels(counts)[:MAX_NAMED]
    ]


def single_notes(counts: Mapping[str, int]) -> list[str]:
    """What to say of labels that one row alone has."""
    single = [name for name in in_order(counts) if counts[name] == 1]
    if not single:
        return []
    shown = ", ".join(f"{name!r:.40}" for name in single[:MAX_SINGLE])
    many = f"{len(single):,} labels have a single row each, as {shown}"
    told = f"the label {shown} has a single row" if len(single) == 1 else many
    return [
        f"{told}: nothing can be both learned and measured of it; bring more rows, or write it as "
        "another label"
    ]


def _difference(group: Iterable[str]) -> str:
    if all(map(_NUMBER.match, group)):
        return "are one number written in several ways"
    return "differ only in case or white space"


def _place(label: str) -> tuple[int, float, str]:
    return (0, float(label), label) if _NUMBER.match(label) else (1, 0.0, label)
