"""Faults of values in words: what a setting takes, what it was given, and what to write instead."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hub_trainer.recipe.arguments import nearest
from hub_trainer.recipe.section import members
from hub_trainer.recipe.value_words import KINDS, READ_AS_BOOLEAN, either, written, written_number

KEYS = "takes keys that are text"
LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("must be above {gt}", "Write a larger number."),
    "greater_than_equal": ("must be {ge} or more", "Write a larger number."),
    "less_than": ("must be below {lt}", "Write a smaller number."),
    "less_than_equal": ("must be {le} or less", "Write a smaller number."),
    "too_short": ("must name {min_length} or more", "Add what is missing to the list."),
    "string_too_short": ("must not be empty", "Write a text, or leave the key out."),
    "string_too_long": ("must have {max_length} characters or fewer", "Shorten it."),
    "string_pattern_mismatch": (
        "must look like {pattern}",
        "Leave out the characters that the pattern does not allow.",
    ),
}
"""Fault, by pydantic's name -> what is said of it, with the limit in it, and what to do."""


@dataclass(frozen=True)
class Fault:
    """What is wrong at one key."""

    path: tuple[str, ...]
    """The parts of the key, as they stand in the file."""
    what: str
    got: str | None = None
    do: str | None = None
    of_kind: bool = False
    """Whether the value is of another kind than the setting takes."""
    is_unknown: bool = False
    """Whether there is no such key."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.path)

    @property
    def sentence(self) -> str:
        """The key and what is wrong there."""
        join = "" if not self.path else " " if self.what.startswith(("is ", "takes ")) else ": "
        return f"{self.key}{join}{self.what}"


def faults_of(error: ValidationError, model: type) -> list[Fault]:
    """Every fault that validation of `model`, or of a dataclass, found; each key once."""
    found = [one for raw in error.errors() for one in _faults(raw, _place(raw["loc"], model))]
    # Where text or a list will do, a list of wrong things is told at those, and not as no text.
    deeper = {one.path[:end] for one in found for end in range(len(one.path))}
    kept = {(o.path, o.what): o for o in found if not (o.of_kind and o.path in deeper)}
    return list(kept.values())


def takes(annotation: Any) -> str:
    """What a setting of this type takes, in words."""
    return either([word for one in members(annotation) for word in _words(one)])


def _words(kind: Any) -> list[str]:
    plain = get_origin(kind) or kind
    if plain is Literal:
        return [str(one) for one in get_args(kind)]
    if plain is type(None):
        return [KINDS[None]]
    in_text = getattr(plain, "in_text", None)
    if is_dataclass(plain) or issubclass(plain, BaseModel | Mapping):
        return [*([in_text] if in_text else []), KINDS[dict]]
    if issubclass(plain, Sequence) and plain is not str:
        return [KINDS[list]]
    return [KINDS.get(plain, "another kind of value")]


@dataclass(frozen=True)
class _Place:
    """Where pydantic found a fault, without its own names for the members of a union."""

    path: tuple[str, ...]
    annotation: Any
    field: FieldInfo | None
    """None for what stands in a list or under a key of the user's own."""
    is_key: bool = False
    """Whether the fault is of the key itself."""


def _place(location: Sequence[int | str], model: type) -> _Place:
    path: list[str] = []
    annotation: Any = model
    member: Any = None  # of a union, the one that pydantic has tried
    field: FieldInfo | None = None
    for part in location:
        kinds = [one for one in members(annotation) if one is not type(None)]
        named = [one for one in kinds if part in (str(one), one.__name__)]
        if part == "[key]":
            return _Place(tuple(path[:-1]), annotation, None, is_key=True)
        if len(kinds) > 1 and named and member is None:
            member = named[0]
            continue
        path.append(str(part))
        holder, member = member or kinds[0], None
        if isinstance(holder, type) and issubclass(holder, BaseModel):
            field = holder.model_fields.get(str(part))
            annotation = field.annotation if field else Any
        elif is_dataclass(holder):
            field, annotation = None, get_type_hints(holder).get(str(part), Any)
        else:
            field, annotation = None, get_args(holder)[-1] if get_args(holder) else Any
    return _Place(tuple(path), annotation, field)


def _faults(raw: Any, place: _Place) -> list[Fault]:
    if raw["type"] == "value_error":  # of our own validators, a line for each
        return [Fault(place.path, line) for line in str(raw["ctx"]["error"]).splitlines()]
    return [_fault(raw, place)]


def _fault(raw: Any, place: _Place) -> Fault:
    kind, value, context = raw["type"], raw["input"], raw.get("ctx", {})
    path = place.path
    if kind == "extra_forbidden":
        return Fault(path, "is not a setting.", is_unknown=True)
    if kind == "missing":
        about = ((place.field and place.field.description) or "").partition(". ")[0].rstrip(".")
        do = f"Write {path[-1]}: {takes(place.annotation)}. {about}".rstrip()
        return Fault(path, "is missing", do=f"{do}." if about else do)
    if kind == "literal_error":
        wanted = context["expected"]
        close = nearest(value, re.findall("'([^']*)'", wanted)) if isinstance(value, str) else ""
        found = "no value" if value is None else written(value)
        return Fault(path, f"must be {wanted}, got {found}{'.' + close if close else ''}")
    if kind == "invalid_key":
        wrong = raw["loc"][-1]
        return Fault(path[:-1], KEYS, got=written(wrong), do=_in_quotes(wrong))
    if place.is_key:
        return Fault(path, KEYS, got=written(value), do=_in_quotes(value))
    if kind in LIMITS:
        told, do = LIMITS[kind]
        limits = {n: f"{v:g}" if isinstance(v, float) else v for n, v in context.items()}
        return Fault(path, told.format(**limits), got=written(value), do=do)
    told = f"takes {takes(place.annotation)}"
    return Fault(path, told, written(value), do=_way_out(value, place), of_kind=True)


def _in_quotes(value: Any) -> str:
    if isinstance(value, bool):
        return f'Put it in quotes, as "{"yes" if value else "no"}": {READ_AS_BOOLEAN}.'
    return f'Put it in quotes: "{value}".'


def _way_out(value: Any, place: _Place) -> str:
    """What to write in place of a value of the wrong kind."""
    kinds = {get_origin(one) or one for one in members(place.annotation)}
    if str in kinds and isinstance(value, bool | int | float):
        return _in_quotes(value)
    if list in kinds and not isinstance(value, dict | None):
        return f"Write a list: [{written(value)}]."
    if isinstance(value, str) and kinds & {int, float, bool}:
        is_value = bool in kinds and value.lower() in ("true", "false")
        if is_value or not isinstance(written_number(value), str):
            return f"Leave out the quotes: {value}."
    default = place.field.default if place.field is not None else None
    example = f", as {written(default)}" if isinstance(default, bool | int | float | str) else ""
    told = f"Write {takes(place.annotation)}{example}"
    if value is None and place.field is not None and not place.field.is_required():
        return f"{told}, or leave the key out."
    if isinstance(value, bool) and kinds & {int, float}:
        return f"{told}: {READ_AS_BOOLEAN}."
    return f"{told}."
