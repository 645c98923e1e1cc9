"""Examples that a Space offers: training rows, prompts, or values of a table that are no row."""

import random
import tempfile
from collections.abc import Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from hub_trainer.answers import Answer
from hub_trainer.hub import Hub, Repo
from hub_trainer.inputs import Input, load_input
from hub_trainer.lineage import RoundRecord
from hub_trainer.recipe import DatasetSource, Recipe
from hub_trainer.rows import RowSpec, read_rows
from hub_trainer.rows.fetch import fetch_rows
from hub_trainer.rows.row_files import feature_names
from hub_trainer.space.ranges import ranges_of
from hub_trainer.space.shown_rows import ShownRows
from hub_trainer.tasks import Row, task_of

NUM_EXAMPLES = 6
NUM_TABLE_ROWS = 200
NUM_ASKED = 60
"""Rows that the Space asks about; each visitor gets them in an order of their own."""
MAX_EXAMPLE_CHARACTERS = 300


def shown_rows(recipe: Recipe, record: RoundRecord, round_dir: Path, hub: Hub) -> ShownRows:
    """Rows to try: a few of the training rows, or a table's values with no row as it was."""
    task = task_of(recipe)
    prepared = round_dir / "prepare" / "train.parquet"
    if load_input(task.modality).has_features:
        rows = read_rows(prepared) if prepared.exists() else _table_rows(recipe, record, hub)
        shuffled = _shuffled_columns(rows, seed=recipe.train.seed)
        asked = _rows_to_ask(rows, recipe) if _may_show_rows(recipe, hub) else []
        return ShownRows(shuffled, ranges_of(rows), asked)
    if not prepared.exists() or not _may_show_rows(recipe, hub):
        return ShownRows()
    rows = read_rows(prepared)
    if task.converses:
        return ShownRows(_prompts(rows, load_input(task.modality)))
    shown = _one_of_each(rows, load_input(task.modality), task.answer)
    return ShownRows(shown, asked=_rows_to_ask(rows, recipe))


def _may_show_rows(recipe: Recipe, hub: Hub) -> bool:
    """Whether whoever sees the Space may see the training rows."""
    assert recipe.serve is not None
    if recipe.serve.private:
        return True
    names = [source.repo_id for source in recipe.collect.datasets]
    return not any(hub.is_private(Repo(name, "dataset")) for name in names)


def _rows_to_ask(rows: Sequence[Row], recipe: Recipe) -> list[Row]:
    """Training rows without their answers, of each label in turn, so that none can be guessed."""
    task = task_of(recipe)
    shown, answer = load_input(task.modality), task.answer
    rng = random.Random(recipe.train.seed)  # noqa: S311 - no secret
    groups = answer.strata([row[answer.column] for row in rows])
    of_group: dict[str, list[Row]] = {}
    for row, group in rng.sample(list(zip(rows, groups, strict=True)), len(rows)):
        if shown.length(row) <= MAX_EXAMPLE_CHARACTERS:
            of_group.setdefault(group, []).append(row)
    turns = zip_longest(*(of_group[group] for group in sorted(of_group)))
    chosen = list(islice((row for turn in turns for row in turn if row), NUM_ASKED))
    return [shown.for_people(row) for row in rng.sample(chosen, len(chosen))]


def _one_of_each(rows: Sequence[Row], shown: Input, answer: Answer) -> list[Row]:
    """Short examples, of as many labels, or groups of answers, as there is room for."""
    found: dict[str, Row] = {}
    for row, group in zip(rows, answer.strata([row[answer.column] for row in rows]), strict=True):
        fits = shown.length(row) <= MAX_EXAMPLE_CHARACTERS
        if fits and group not in found and len(found) < NUM_EXAMPLES:
            found[group] = shown.for_people(row)
    return list(found.values())


def _prompts(rows: Sequence[Row], shown: Input) -> list[Row]:
    """Short prompts, each once."""
    fitting = (row for row in rows if 0 < shown.length(row) <= MAX_EXAMPLE_CHARACTERS)
    found = dict.fromkeys(shown.for_people(row)["text"] for row in fitting)
    return [{"text": prompt} for prompt in islice(found, NUM_EXAMPLES)]


def _shuffled_columns(rows: Sequence[Row], *, seed: int) -> list[Row]:
    """The features of some rows, each column in an order of its own: values, but nobody's row."""
    names = feature_names(list(rows[0]))
    rng = random.Random(seed)  # noqa: S311 - no secret
    columns = {name: [row[name] for row in rows] for name in names}
    for values in columns.values():
        rng.shuffle(values)
    count = min(len(rows), NUM_TABLE_ROWS)
    return [{name: columns[name][index] for name in names} for index in range(count)]


def _table_rows(recipe: Recipe, record: RoundRecord, hub: Hub) -> list[Row]:
    """Training rows of the published round, for a machine that has not prepared it."""
    source: DatasetSource = recipe.collect.datasets[0]
    pinned = next(one for one in record.datasets if one.repo_id == source.repo_id)
    task = task_of(recipe)
    spec = RowSpec(
        modality=task.modality,
        kinds=dict(task.columns),
        columns=dict(source.columns),
        drop_columns=tuple(source.drop_columns),
    )
    with tempfile.TemporaryDirectory(prefix="hub-trainer-serve-") as scratch:
        fetched = fetch_rows(hub, source, pinned.commit_sha, spec, scratch=Path(scratch))
        rows: list[dict[str, Any]] = fetched.table.to_pylist()
    return list(rows)
