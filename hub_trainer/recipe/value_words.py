"""Words for values of a recipe: how one is written, what kind it is, which kinds are taken."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

KINDS: Mapping[type | None, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    None: "null",
}
"""Type of a value -> what a setting takes that takes such values."""
READ_AS_BOOLEAN = "YAML reads yes, no, on and off without quotes as true and false"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MAX_SHOWN = 80


def written(value: Any) -> str:
    """A value as YAML has it, text in quotes, cut where it is long."""
    if isinstance(value, str):
        return cut(repr(value))
    return cut(json.dumps(value, ensure_ascii=False, default=str))


def cut(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def written_number(text: str) -> float | str:
    """The number that a text is, as `2e-4`, which YAML reads as text; any other text as it is."""
    return float(text) if NUMBER.fullmatch(text) else text


def either(words: Sequence[str]) -> str:
    """`a, b or c`, each word once; a number says that whole ones will do as well."""
    once = list(dict.fromkeys(words))
    if KINDS[float] in once and KINDS[int] in once:
        once.remove(KINDS[int])
    return " or ".join([", ".join(once[:-1]), once[-1]] if once[1:] else once)
