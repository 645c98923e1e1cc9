"""A round that has been evaluated: the outputs of its stages, read back from their folders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hub_trainer.answers import load_answer
from hub_trainer.artifacts import Artifact, find_artifact
from hub_trainer.errors import UsageError
from hub_trainer.lineage import Pins, load_pins
from hub_trainer.lineage.tuned import read_tuned, tuned_recipe
from hub_trainer.recipe import Recipe, TrainSection
from hub_trainer.reports import CollectReport, FitReport, PrepareReport, Results, TuneReport
from hub_trainer.rows.row_files import ROW_ID
from hub_trainer.stages.publish.proof import Expected, spread_indexes, to_plain
from hub_trainer.stats import readable

STAGES = ("collect", "prepare", "train", "evaluate")
TITLES = {"promote": "Round {n}: {m} {v}", "hold": "Round {n} held back: {m} {v}"}
TITLES |= {"reject": "Round {n} rejected: {m} {v}"}


@dataclass(frozen=True)
class FinishedRound:
    """What publish works from."""

    recipe: Recipe
    round_dir: Path
    pins: Pins
    artifacts: Mapping[str, Artifact]

    @cached_property
    def results(self) -> Results:
        """What evaluate has found."""
        return Results.from_json(_read_json(self.artifacts["evaluate"].folder / "results.json"))

    @cached_property
    def fit(self) -> FitReport:
        """What train has done."""
        return FitReport.from_json(_read_json(self.artifacts["train"].folder / "fit.json"))

    @cached_property
    def tune(self) -> TuneReport | None:
        """What the search over settings has found; None where there was none."""
        return read_tuned(self.recipe, self.round_dir)

    @cached_property
    def train(self) -> TrainSection:
        """The settings that the model was trained with."""
        return tuned_recipe(self.recipe, self.round_dir).train

    @cached_property
    def collected(self) -> CollectReport:
        """What collect has read."""
        return CollectReport.from_json(self.artifacts["collect"].outputs)

    @cached_property
    def prepared(self) -> PrepareReport:
        """What prepare has made of it."""
        return PrepareReport.from_json(self.artifacts["prepare"].outputs)

    def expected(self) -> Expected:
        """What evaluate saw the model make of a few sealed rows."""
        table = _read_table(self.artifacts["evaluate"].folder / "predictions.parquet")
        rows_file = self.artifacts["prepare"].folder / "test.parquet"
        place = {row[ROW_ID]: index for index, row in enumerate(_read_table(rows_file))}
        answer = load_answer(self.results.answer)
        said = [(place[row[ROW_ID]], answer.asking.recorded(answer, row)) for row in table]
        # Of a model that writes not each row was weighed, nor is each in the table.
        known = [(index, one) for index, one in said if one]
        chosen = [known[number] for number in spread_indexes(len(known))]
        predictions = [to_plain(answer, one) for _, one in chosen]
        return Expected(rows_file, [index for index, _ in chosen], predictions)

    @property
    def versions(self) -> dict[str, str]:
        """Packages that the model was trained with."""
        return dict(self.artifacts["train"].manifest["inputs"]["versions"])

    @property
    def verdict(self) -> str:
        """The gate's: promote, hold or reject."""
        return self.results.verdict

    @property
    def title(self) -> str:
        """The commit's first line."""
        primary = self.results.primary
        value = self.results.metrics[primary]["value"]
        return TITLES[self.verdict].format(n=self.pins.round, m=primary, v=readable(value))


def read_finished(recipe: Recipe, round_dir: Path) -> FinishedRound:
    """The round in `round_dir`. Raises UsageError when a stage before publish is not done."""
    pins = load_pins(round_dir)
    found = {stage: find_artifact(round_dir / stage) for stage in STAGES}
    missing = [stage for stage, artifact in found.items() if artifact is None]
    if pins is None or missing:
        raise UsageError(
            "The round is not ready to be published.",
            where=str(round_dir),
            got=f"not done: {', '.join(missing) or 'the pins of the round'}",
            do="Run the whole round: hub-trainer run RECIPE",
        )
    artifacts = {stage: artifact for stage, artifact in found.items() if artifact}
    return FinishedRound(recipe, round_dir, pins, artifacts)


def _read_table(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
