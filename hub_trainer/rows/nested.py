"""Structures in the type that a dataset gives them, field by field."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub_trainer.errors import CellsRefused
from hub_trainer.rows.turns import SPEAKERS, RowFault, structured, text_of
from hub_trainer.rows.written import json_text

if TYPE_CHECKING:
    import pyarrow as pa


MAX_KEY = 40
MESSAGE, SHAREGPT = ("role", "content"), ("from", "value")
NAMES = {"user": "human", "assistant": "gpt"}
"""What sharegpt calls the roles."""


class Misfit(ValueError):
    """What in a cell the type has no room for, in words; `key` when it is one of its keys."""

    def __init__(self, told: str, key: str = "") -> None:
        super().__init__(told)
        # Review tells the key, and no other word of a row.
        self.key = key if key.isidentifier() and len(key) <= MAX_KEY else ""


def holds_json(kind: Any) -> bool:
    """Whether a type leaves it to each cell what it holds, somewhere in it or as a whole."""
    return "arrow.json" in str(kind)


def fitted(values: Sequence[Any], kind: Any, *, where: str) -> "pa.Array":
    """Python values as an array of a nested type, or of JSON: fields that a cell lacks are null.

    Raises CellsRefused that names the first row and the key for which the type has no room.
    """
    import pyarrow as pa

    made: list[Any] = []
    wrong: dict[int, Misfit | RowFault] = {}
    for number, value in enumerate(values, start=1):
        try:
            made.append(_fit(structured(value), kind))
        except (Misfit, RowFault) as fault:
            wrong[number] = fault
    if wrong:
        number, first = next(iter(wrong.items()))
        key, more = getattr(first, "key", ""), len(wrong) - 1
        raise CellsRefused(
            f"The dataset's type has no room for {f'the key {key!r}' if key else 'a cell'}.",
            rows=list(wrong),
            where=f"{where}, row {number}" + (f" and {more:,} more rows" if more else ""),
            got=str(first),
            do=f"Leave that out, or ask the dataset's owner to make room; its type is {kind}.",
        )
    # Arrow makes no array of JSON below the top, but casts one of texts.
    return pa.array(made, _stored(kind)).cast(kind)


def _stored(kind: Any) -> Any:
    """The type with texts in place of JSON."""
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return kind.storage_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_stored(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        made = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return made(kind.value_field.with_type(_stored(kind.value_type)))
    return kind


def _fit(value: Any, kind: Any, key: str = "") -> Any:
    import pyarrow as pa

    types = pa.types
    if value is None:
        return None
    if isinstance(kind, pa.JsonType):
        try:
            return json_text(value)
        except TypeError as error:
            raise Misfit(f"{key!r} holds {error}") from None
    if types.is_map(kind):
        cells = _expect(value, Mapping, "keys and values", key)
        return [(name, _fit(cell, kind.item_type, name)) for name, cell in cells.items()]
    if types.is_struct(kind):
        return _structure(value, kind, key)
    if types.is_nested(kind):
        if isinstance(value, Mapping):
            value = [value]
        cells = _expect(value, list | tuple, "a list", key)
        return [_fit(cell, kind.value_type, key) for cell in cells]
    if types.is_string(kind) or types.is_large_string(kind):
        return json_text(value) if isinstance(value, list | tuple) else text_of(value, key)
    return _plain(value, kind, key)


def _plain(value: Any, kind: Any, key: str) -> Any:
    import pyarrow as pa

    try:
        if isinstance(value, str) and (pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
            return pa.scalar(value).cast(kind).as_py()  # as JSON writes them
        return pa.scalar(value, kind).as_py()
    except (pa.ArrowException, TypeError, ValueError):
        raise Misfit(f"{key!r} holds {type(value).__name__}, not {kind}") from None


def _structure(value: Any, kind: Any, key: str) -> dict[str, Any]:
    fields = {field.name: field.type for field in kind}
    if isinstance(value, list) and all(isinstance(cell, Mapping) for cell in value):
        # `datasets` once kept a list of structures as a structure of lists.
        names = dict.fromkeys(name for cell in value for name in cell)
        value = {name: [cell.get(name) for cell in value] for name in names}
    cells = _named_as(fields, _expect(value, Mapping, "keys and values", key))
    unknown = [name for name, cell in cells.items() if name not in fields and not _is_void(cell)]
    if unknown:
        of = f" of {key!r}" if key else ""
        told = f"the key {unknown[0]!r}{of}, beside {', '.join(fields)}"
        raise Misfit(told, str(unknown[0]))
    return {name: _fit(cells.get(name), field, name) for name, field in fields.items()}


def _named_as(fields: Mapping[str, Any], cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """A turn of a dialogue with its keys called as the dataset calls them: role or from."""
    for ours, theirs in ((MESSAGE, SHAREGPT), (SHAREGPT, MESSAGE)):
        if {*ours} <= {*fields} and not {*theirs} & {*fields} and {*theirs} <= {*cells}:
            others = {name: cell for name, cell in cells.items() if name not in theirs}
            role = SPEAKERS.get(str(cells[theirs[0]]).strip().lower())
            if role is None:
                raise Misfit("a turn is by no known speaker", theirs[0])
            role = role if ours == MESSAGE else NAMES.get(role, role)
            return {**others, ours[0]: role, ours[1]: cells[theirs[1]]}
    return cells


def _expect(value: Any, wanted: Any, called: str, key: str) -> Any:
    if not isinstance(value, wanted):
        place = f"{key!r} holds " if key else ""
        raise Misfit(f"{place}{type(value).__name__}, where the dataset has {called}")
    return value


def _is_void(cell: Any) -> bool:
    """Whether a key says nothing: no value, or an empty list, also in a structure of lists."""
    if isinstance(cell, list | Mapping):
        inner: Any = cell.values() if isinstance(cell, Mapping) else cell
        return all(map(_is_void, inner))
    return cell is None
