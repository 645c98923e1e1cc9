"""The round that is measured: its artifacts, pins and Hub, its sealed rows, the gate's rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.artifacts import Artifact, find_artifact
from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.lineage import Pins
from hub_trainer.recipe import Recipe
from hub_trainer.recipe.columns import unseen
from hub_trainer.rows.row_files import read_rows, read_table
from hub_trainer.stats import GateRule
from hub_trainer.tasks import Row

Progress = Callable[[float, str], None]
NUM_EXAMPLES = 6
MAX_EXAMPLE_CHARACTERS = 200


@dataclass(frozen=True)
class TrainedRound:
    """A round that has been trained, and what its measurement needs."""

    recipe: Recipe
    trained: Artifact
    prepared: Artifact
    pins: Pins
    hub: Hub
    rule: GateRule
    progress: Progress

    @property
    def model_dir(self) -> Path:
        """The new model, in the shape that is published."""
        return self.trained.folder / "model"

    @cached_property
    def sealed(self) -> list[dict[str, Any]]:
        """The test rows. Raises DataError when there are none."""
        rows = read_rows(self.prepared.folder / "test.parquet")
        if not rows:
            do = "Name a split with rows as prepare.test_split, or a larger prepare.test_fraction."
            told = "There are no test rows to measure on."
            raise DataError(told, where=str(self.prepared.folder), do=do)
        return rows

    def shown_rows(self) -> list[dict[str, Any]]:
        """A few validation rows for the card; the sealed ones stay sealed."""
        table = read_table(self.prepared.folder / "validation.parquet")
        count, few = table.num_rows, min(NUM_EXAMPLES, table.num_rows)
        chosen = sorted({index * count // NUM_EXAMPLES for index in range(few)})
        rows: list[dict[str, Any]] = table.take(chosen).to_pylist() if chosen else []
        return rows

    def slices(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Each value of the columns that the recipe names. Raises DataError for a missing one."""
        columns: dict[str, list[Any]] = {}
        for column in self.recipe.evaluate.slices:
            held = next((one for one in (column, unseen(column)) if one in rows[0]), None)
            if held is None:
                raise DataError(
                    f"evaluate.slices names {column}, which the test rows do not have.",
                    got=", ".join(rows[0]),
                    do="name a column of the data, or remove it from evaluate.slices",
                )
            columns[column] = [row[held] for row in rows]
        return columns


def finished(round_dir: Path, stage: str) -> Artifact:
    """The artifact of an earlier stage. Raises DataError when it has not been run."""
    found = find_artifact(round_dir / stage)
    if found is None:
        raise DataError(
            f"Stage {stage} has not been run.",
            where=str(round_dir / stage),
            do=f"run hub-trainer {stage} first, or hub-trainer run for the whole round",
        )
    return found


def write_table(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """predictions.parquet: a row per sealed example."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def cut(text: str) -> str:
    """The beginning of a text that is shown as an example."""
    return text if len(text) <= MAX_EXAMPLE_CHARACTERS else f"{text[:MAX_EXAMPLE_CHARACTERS]}…"
