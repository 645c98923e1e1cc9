"""Split names and slices as `datasets` writes them: `train`, `train[:500]`, `train+test[10%:]`."""

import re
from collections.abc import Mapping

from hub_trainer.errors import DataError

_PART = re.compile(r"^\s*(?P<name>\w+(?:\.\w+)*)(?:\[[^\]]*\])?\s*$")
_FIRST_ROWS = re.compile(r"^\s*\w+(?:\.\w+)*\[(?:\d+)?:(?P<stop>\d+)\]\s*$")


def split_names(split: str, *, where: str) -> list[str]:
    """The splits that an expression reads, in order, each once."""
    names = []
    for part in split.split("+"):
        found = _PART.match(part)
        if found is None:
            raise _not_a_split(split, where)
        names.append(found["name"])
    return list(dict.fromkeys(names))


def rows_needed(split: str) -> int | None:
    """How many rows from the start are enough for this expression; None when all are."""
    found = _FIRST_ROWS.match(split)
    return int(found["stop"]) if found else None


def row_ranges(split: str, lengths: Mapping[str, int], *, where: str) -> list[tuple[str, int, int]]:
    """(split, first row, row after the last) for each part of the expression, in order."""
    from datasets import ReadInstruction

    try:
        parts = ReadInstruction.from_spec(split).to_absolute(dict(lengths))
    except (ValueError, AssertionError, TypeError) as error:
        raise _not_a_split(split, where, str(error)) from None
    return [(p.splitname, p.from_ or 0, _end(p.to, lengths[p.splitname])) for p in parts]


def _end(stop: int | None, length: int) -> int:
    return length if stop is None else min(stop, length)


def _not_a_split(split: str, where: str, reason: str = "") -> DataError:
    got = f"{split!r}: {reason}" if reason else repr(split)
    do = "Write a split as in train, or a slice of one as in train[:500] or train[10%:20%]."
    return DataError("That is not a split.", where=where, got=got, do=do)
