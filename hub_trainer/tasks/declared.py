"""What a dataset's card declares: the task its rows are for, and how its columns are read.

The block `hub_trainer:` at the top of the card has the recipe's own keys:

    hub_trainer:
      task: tabular-regression
      columns:
        target: price
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.recipe.arguments import nearest
from hub_trainer.recipe.columns import ANSWER_COLUMNS, COLUMN_OF
from hub_trainer.tasks.outlines import OUTLINES

BLOCK = "hub_trainer"
KEYS = ("task", "columns", "drop_columns")


@dataclass(frozen=True)
class Declared:
    """How a dataset's rows are read before any model says it."""

    task: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column -> the dataset's, for those whose names differ."""
    drop_columns: tuple[str, ...] = ()
    """Columns that no model sees."""

    @property
    def answer(self) -> str | None:
        """Name of the answer that its columns name; None for the task's usual one."""
        learned = OUTLINES[self.task].answers
        by_column = {**ANSWER_COLUMNS, **{COLUMN_OF[answer]: answer for answer in learned}}
        named = (by_column[column] for column in self.columns if column in by_column)
        return None if OUTLINES[self.task].has_formats else next(named, None)

    @property
    def beside(self) -> tuple[str, ...]:
        """Optional columns that its rows have."""
        return tuple(one for one in OUTLINES[self.task].optional if one in self.columns)

    def to_card(self) -> dict[str, Any]:
        """The block, as the card's metadata holds it."""
        block: dict[str, Any] = {"task": self.task}
        block |= {"columns": dict(self.columns)} if self.columns else {}
        block |= {"drop_columns": list(self.drop_columns)} if self.drop_columns else {}
        return {BLOCK: block}


def declared_in(card: Mapping[str, Any], *, where: str) -> Declared | None:
    """What a card's metadata declares; None where it has no such block.

    Raises DataError that names each thing in it that cannot be used.
    """
    if BLOCK not in card:
        return None
    block = card[BLOCK]
    faults = list(_faults(block))
    if faults:
        raise DataError(
            "The dataset's card says how its rows are read, and that cannot be used.",
            where=f"{where}, README.md: {BLOCK}",
            got="; ".join(faults),
            do=f"Correct the block, or remove it; it has the keys {', '.join(KEYS)}, as in a "
            "recipe.",
        )
    columns, dropped = block.get("columns") or {}, block.get("drop_columns") or []
    return Declared(block["task"], dict(columns), tuple(dropped))


def _faults(block: Any) -> list[str]:
    """What is wrong with a block, in words."""
    if not isinstance(block, dict):
        return [f"it is {block!r:.60}, and no mapping"]
    found = [f"unknown key {key!r:.60}" for key in block if key not in KEYS]
    task = block.get("task")
    if not isinstance(task, str) or task not in OUTLINES:
        near = nearest(str(task)[:60], OUTLINES).strip()
        near = f" ({near})" if near else ""
        missing = "task is missing: one of " + ", ".join(OUTLINES)
        found.append(missing if task is None else f"task is {task!r:.60}, which is none{near}")
    columns, dropped = block.get("columns") or {}, block.get("drop_columns") or []
    is_mapping = isinstance(columns, dict) and all(
        isinstance(name, str) for pair in columns.items() for name in pair
    )
    if not is_mapping:
        found.append("columns is no mapping of names to names")
    if not (isinstance(dropped, list) and all(isinstance(name, str) for name in dropped)):
        found.append("drop_columns is no list of names")
    if found:
        return found
    sketch = OUTLINES[block["task"]]
    strange = [
        f"columns names {name}, which {block['task']} does not learn"
        for name in columns
        if name in ANSWER_COLUMNS and ANSWER_COLUMNS[name] not in sketch.answers
    ]
    answers = [name for name in columns if name in ANSWER_COLUMNS]
    if len(answers) > 1:
        strange.append(f"columns names {' and '.join(answers)}, which are two answers")
    return strange
