"""Columns that only count rows, as pandas and R write them beside the data: they are left out."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

NAMELESS = re.compile(r"^(Unnamed: \d+(\.\d+)*|__index_level_\d+__|)$")
"""Columns that nobody named, and the one that pandas writes into parquet for its index."""
INDEX_NAMES = frozenset({"index", "level_0", "rownames", "row_names", "rowname"})
ID_NAMES = frozenset({"id", "row", "row_id", "row_number", "rowid", "no", "nr", "#", "serial"})
"""Names of columns that number rows where no number comes twice; others may count days."""
MIN_ROWS = 10
"""Rows from which a column that counts them is no chance."""


def without_counters(table: "pa.Table") -> tuple["pa.Table", dict[str, str]]:
    """The table without columns that count its rows, and what was seen in each of them."""
    left_out = {}
    for name in table.column_names:
        nameless = bool(NAMELESS.match(name.strip()))
        if not nameless and name.lower() not in INDEX_NAMES:
            continue
        seen = _counts(table[name], nameless=nameless)
        if seen:
            left_out[name] = seen
    if len(left_out) == table.num_columns:
        return table, {}
    return table.drop_columns(list(left_out)), left_out


def counted_columns(table: "pa.Table") -> list[str]:
    """Named columns that count rows one by one all the same: what a person should look at."""
    if table.num_rows < MIN_ROWS:
        return []
    return [name for name in table.column_names if _steps(table[name]) == {1}]


def id_columns(table: "pa.Table") -> list[str]:
    """Columns called as a number of the row is, whose whole numbers are never the same twice.

    Rows that were shuffled or split keep the numbers that they had.
    """
    import pyarrow.compute as pc

    return [
        name
        for name in table.column_names
        if name.strip().lower() in ID_NAMES
        and table.num_rows >= MIN_ROWS
        and not table[name].null_count
        and _is_whole(table[name])
        and len(pc.unique(table[name])) == table.num_rows
    ]


def _counts(column: Any, *, nameless: bool) -> str:
    """What makes this a counter of rows; "" when nothing does."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if nameless and column.null_count == len(column):
        return "has no name and no cells"
    if pa.types.is_string(column.type) or not _is_whole(column):
        return ""
    steps = _steps(column)
    if steps == {1}:
        return "counts the rows"
    # Rows that were shuffled, split or joined keep the numbers that they had.
    distinct = len(pc.unique(column.drop_null()))
    runs = pc.sum(pc.equal(_differences(column), 1)).as_py() or 0
    if nameless and (distinct == len(column.drop_null()) or runs > 0.9 * len(column)):
        return "numbers the rows"
    return ""


def _is_whole(column: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        return True
    if not pa.types.is_floating(column.type):
        return False
    values = column.drop_null()
    return bool(pc.all(pc.equal(values, pc.floor(values))).as_py())


def _differences(column: Any) -> Any:
    import pyarrow.compute as pc

    values = column.drop_null().combine_chunks()
    return pc.subtract(values[1:], values[:-1])


def _steps(column: Any) -> set[Any]:
    """The differences between neighbours; two of them are enough to tell a counter from none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return set()
    return set(pc.unique(_differences(column))[:3].to_pylist())
