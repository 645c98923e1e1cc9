"""Columns, types and label names of new rows against those of the dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub_trainer.checks.verdict import Check
from hub_trainer.rows.nested import holds_json
from hub_trainer.rows.written import plain_values

if TYPE_CHECKING:
    from hub_trainer.rows import RawSplit

MAX_NULL_GROWTH = 0.05
"""How far the share of empty cells of a column may rise over that of the dataset."""
STRUCTURE = "structures of any keys"
NARROWER = {"float": ("int",), "string": ("int", "float", "bool")}
"""Type of a column -> what few of its cells may look like in a file without types."""
CHANCE = 0.01
"""How improbable a rise must be by chance, over all columns together."""


@dataclass(frozen=True)
class Schema:
    """What a split looks like: types, label names, images and empty cells, by column."""

    rows: int
    types: Mapping[str, str]
    class_names: Mapping[str, tuple[str, ...]]
    null_fractions: Mapping[str, float]
    untyped: bool = False
    """Whether the files say nothing of types: those of a CSV, and of JSON without a card's."""

    def to_json(self) -> dict[str, Any]:
        """As the worker answers."""
        return {**vars(self), "class_names": {k: list(v) for k, v in self.class_names.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Schema":
        """From the worker's answer."""
        return cls(
            rows=int(content["rows"]),
            types={str(k): str(v) for k, v in content["types"].items()},
            class_names={str(k): tuple(map(str, v)) for k, v in content["class_names"].items()},
            null_fractions={str(k): float(v) for k, v in content["null_fractions"].items()},
            untyped=bool(content["untyped"]),
        )


def schema_of(raw: "RawSplit") -> Schema:
    """The schema of a split that has been read."""
    table = raw.table
    types = {field.name: _plain_type(str(field.type)) for field in table.schema}
    types |= dict.fromkeys((name for name in types if _holds_structures(raw, name)), STRUCTURE)
    types |= {name: medium.name for name, medium in raw.media.items()}
    types |= dict.fromkeys(raw.class_names, "class label")
    nulls = {n: table[n].null_count / max(1, table.num_rows) for n in table.column_names}
    names = {name: tuple(found) for name, found in raw.class_names.items()}
    return Schema(table.num_rows, types, names, nulls, raw.untyped or raw.loose)


def _holds_structures(raw: "RawSplit", name: str) -> bool:
    """Whether a column's cells are structures of any keys, as each of them was written."""
    cells = raw.json.get(name)
    if cells is None:
        return holds_json(raw.table[name].type)
    return any(isinstance(value, list | dict) for value in plain_values(cells))


def check_schema(
    base: Schema,
    new: Schema,
    *,
    names_from_folders: bool = False,
    unused: Sequence[str] = (),
) -> list[Check]:
    """New rows have the dataset's columns, types and label names, and are as full as its rows.

    `names_from_folders`: the label names are those of the folders at hand, as in a folder of
    pictures without declared features, so that a few new ones need not show all of them. `unused`
    columns may be empty: no task looks at them.
    """
    return [
        _check_columns(base, new, unused),
        _check_label_names(base, new, names_from_folders),
        _check_nulls(base, new, unused),
    ]


def _check_columns(base: Schema, new: Schema, unused: Sequence[str]) -> Check:
    faults = [f"column {name!r} is missing" for name in sorted(base.types.keys() - new.types)]
    faults += [f"column {name!r} is new" for name in sorted(new.types.keys() - base.types)]
    faults += [
        f"column {name!r} is {new.types[name]}, not {base.types[name]}"
        for name in sorted(base.types.keys() & new.types.keys())
        if not _fits(base, new, name, unused)
    ]
    detail = "; ".join(faults[:5]) or f"the dataset's {len(base.types)} columns"
    return Check("columns", not faults, detail)


def _fits(base: Schema, new: Schema, name: str, unused: Sequence[str]) -> bool:
    """A column with no value in it has no type of its own, and a file may hold none."""
    may_be_empty = base.null_fractions[name] > 0 or name in unused
    empty = new.null_fractions[name] == 1.0 and may_be_empty
    return base.types[name] == new.types[name] or empty or _may_be_read_as(base, new, name)


def _may_be_read_as(base: Schema, new: Schema, name: str) -> bool:
    """Whether a file that says nothing of types only lacks the cells that tell the dataset's.

    Numbers without fractions, labels of digits, turns that all have the same keys.
    """
    wanted, found = base.types[name], new.types[name]
    if wanted == STRUCTURE:
        return new.untyped and found.startswith(("list<", "struct<"))
    return new.untyped and found in NARROWER.get(wanted, ())


def _check_label_names(base: Schema, new: Schema, names_from_folders: bool) -> Check:
    def same(old: tuple[str, ...], now: tuple[str, ...]) -> bool:
        return set(now) <= set(old) if names_from_folders else now == old

    changed = [
        f"{name!r} has {len(new.class_names[name])} names, the dataset {len(names)}, "
        "not the same ones in the same order"
        for name, names in base.class_names.items()
        if name in new.class_names and not same(names, new.class_names[name])
    ]
    return Check("label names", not changed, "; ".join(changed) or "not changed")


def _check_nulls(base: Schema, new: Schema, unused: Sequence[str]) -> Check:
    emptier = [
        f"column {name!r} is empty in {share:.0%} of the rows, in the dataset in "
        f"{base.null_fractions.get(name, 0.0):.0%}"
        for name, share in sorted(new.null_fractions.items())
        if name in base.types and name not in unused and _is_emptier(base, new, name)
    ]
    detail = "; ".join(emptier[:5]) or "as full as the dataset's rows"
    return Check("empty cells", not emptier, detail, "human")


def _is_emptier(base: Schema, new: Schema, name: str) -> bool:
    from scipy.stats import binom

    usual, share = base.null_fractions.get(name, 0.0), new.null_fractions[name]
    if share <= usual + MAX_NULL_GROWTH:
        return False
    chance = binom.sf(round(share * new.rows) - 1, new.rows, max(usual, 1 / (base.rows + 1)))
    return bool(chance < CHANCE / len(new.types))


def _plain_type(name: str) -> str:
    """Arrow's name of a type without what files differ in: 32 or 64 bit, offsets, dictionaries."""
    for wide in ("large_", "dictionary<values="):
        name = name.removeprefix(wide)
    name = name.split(",", 1)[0] if name.startswith("string,") else name
    for kind in ("uint", "int"):
        if name.startswith(kind) and name.removeprefix(kind).isdigit():
            return "int"
    return "float" if name in ("float", "double", "halffloat") else name
