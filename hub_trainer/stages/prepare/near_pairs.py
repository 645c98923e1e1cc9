"""Rows that nearly repeat a sealed one, beside it, for somebody who wonders whether they do."""

from collections.abc import Sequence
from pathlib import Path

from hub_trainer.rows.row_files import SOURCE
from hub_trainer.rows.written import json_text
from hub_trainer.stages.prepare.repeats import Copy, Row
from hub_trainer.tasks import Task

LIST, FIGURE = "near_pairs.jsonl", "near_pairs.png"
MAX_DRAWN = 16
"""Pairs on the picture; the list has all of them."""


def write_pairs(copies: Sequence[Copy], folder: Path, task: Task) -> str | None:
    """Write the pairs into the folder; the name of the file to look at, None without pairs.

    Where the task draws rows, the first pairs are drawn: the row that went, then the sealed one.
    """
    if not copies:
        return None
    lines = [json_text({"row": _named(one.row), "sealed": _named(one.sealed)}) for one in copies]
    (folder / LIST).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    draw = task.card().draw_rows
    if draw is None:
        return LIST
    pairs = enumerate(copies[:MAX_DRAWN], start=1)
    (folder / FIGURE).write_bytes(draw({str(n): [one.row, one.sealed] for n, one in pairs}))
    return FIGURE


def _named(row: Row) -> dict[str, object]:
    """A row by its id and its source, and what of it is no encoded file."""
    shown = {name: value for name, value in row.items() if not name.startswith("_")}
    own = {name: value for name, value in shown.items() if not isinstance(value, bytes)}
    return {"row_id": row.get("_row_id"), "source": row.get(SOURCE), **own}
