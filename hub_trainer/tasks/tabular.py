"""Tables: a row of features in, a label or a number out, by scikit-learn.

The model folder holds `model.skops`, a pipeline that takes a pandas table of the features, and
`config.json` in the Hub's form for scikit-learn models, with the features' kinds.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from sklearn.pipeline import Pipeline

from hub_trainer.answers import Answer, Prediction, load_answer
from hub_trainer.answers.decisions import THRESHOLDS, Sought, chosen_threshold, decide
from hub_trainer.artifacts import write_durably
from hub_trainer.errors import DataError, Problem
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.model_folder import CONFIG, file_stamp, read_config
from hub_trainer.finetune.reloading import AsUsers, Promised
from hub_trainer.finetune.tables import (
    DEFAULT_ESTIMATOR,
    NO_WEIGHTS,
    TRUSTED_TYPES,
    AnsweredRows,
    Kind,
    TableFit,
    ensemble_problems,
    estimator_of,
    estimator_problems,
    fit_pipeline,
    hub_config,
    join_pipelines,
    load_pipeline,
    num_parameters,
    save_pipeline,
    with_threshold,
)
from hub_trainer.inputs.dates import EXAMPLE
from hub_trainer.inputs.table_features import Features, find_features, table_of, typical_row
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.recipe import Recipe
from hub_trainer.reports import FitReport
from hub_trainer.rows.row_files import feature_names
from hub_trainer.tasks import (
    LANGUAGE_KEYS,
    NO_BASE,
    PLAIN,
    TORCH_KEYS,
    Asked,
    BasePredictions,
    ModelCard,
    ModelFolders,
    Progress,
    Row,
    Splits,
    Widgets,
    constant_answer,
    offer_problems,
    unused_problems,
)
from hub_trainer.tasks.outlines import Kind as ColumnKind

MAX_CHOICES = 200
MAX_TEXT_CHARACTERS = 20_000
WRITTEN: Mapping[str, Mapping[str, Any]] = {
    "date": {"placeholder": EXAMPLE, "max_lines": 1},
    "text": {"lines": 3},
}
"""Kinds of features that a person writes -> the arguments of the box for it."""
UNUSED_KEYS = (
    "train.arguments",
    "train.profile",
    "prepare.max_length",
    "prepare.too_long",
    *TORCH_KEYS,
    *LANGUAGE_KEYS,
)

USAGE = f"""\
import json
from pathlib import Path

import pandas as pd
from huggingface_hub import snapshot_download
from skops.io import load

folder = Path(snapshot_download("{{repo_id}}", revision="{{commit_sha}}"))
example = json.loads((folder / "config.json").read_text())["sklearn"]["example_input"]
model = load(
    folder / "model.skops",
    trusted={list(TRUSTED_TYPES)!r},
)
print(model.predict(pd.DataFrame(example)))
"""


ENSEMBLE = "ensemble"
KINDS: Mapping[str, Kind] = {"label": "classifier", "number": "regressor"}
"""Name of an answer -> the estimators that learn it."""


@dataclass(frozen=True)
class Tabular:
    """The pipeline tags `tabular-classification` and `tabular-regression`."""

    name: str = "tabular-classification"
    answer: Answer = load_answer("label")
    converses: None = None
    counts_tokens: None = None
    modality: str = "table"
    unfit: ClassVar[Mapping[str, str]] = NO_BASE
    augmentations: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """Those of its answer."""
        return self.answer.metrics

    @property
    def columns(self) -> Mapping[str, ColumnKind]:
        """The answer's column; every further column is a feature."""
        return {self.answer.column: self.answer.name}  # type: ignore[dict-item]

    @property
    def kind(self) -> Kind:
        """Which estimators learn its answer."""
        return KINDS[self.answer.name]

    def recipe_problems(self, recipe: Recipe, base: ModelFolders | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        del base
        train = recipe.train
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        if self.kind == "regressor":
            problems += unused_problems(self, recipe, ("train.class_weights",))
        problems += self._estimator_problems(recipe)
        if recipe.base_model is not None:
            text = f"base_model: {self.name} starts from none; remove it"
            problems.append(Problem("base_model", text))
        fitted = _estimators(recipe)
        told = " and ".join(fitted)
        if train.class_weights and NO_WEIGHTS.issuperset(fitted):
            text = f"train.class_weights: changes nothing with {told}; remove it"
            problems.append(Problem("train.class_weights", text))
        if train.early_stopping is not None and DEFAULT_ESTIMATOR not in fitted:
            text = f"train.early_stopping: changes nothing with {told}; remove it"
            problems.append(Problem("train.early_stopping", text))
        return problems

    def _estimator_problems(self, recipe: Recipe) -> list[Problem]:
        train = recipe.train
        if train.fuse is None:
            return estimator_problems(train.estimator, train.estimator_arguments, self.kind)
        if not train.fuse.of_estimators:
            text = f"train.fuse.method: {train.fuse.method} joins checkpoints, and a table has none"
            return [Problem("train.fuse.method", f"{text}; take ensemble")]
        return ensemble_problems(train.fuse.estimators, self.kind)

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        faults = self.answer.faults(row.get(self.answer.column))
        if all(row[name] is None for name in feature_names(list(row))):
            faults.append("no feature has a value")
        return faults

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base: ModelFolders | None,
        progress: Progress,
    ) -> FitReport:
        """Fit a scikit-learn pipeline; of several processes, all fit it and the first saves it."""
        del base
        train, started = recipe.train, time.perf_counter()
        features = find_features(splits.train)
        parts = self._fitted(splits, features, recipe, progress)
        [(estimator, pipeline), *others] = parts.items()
        fused = None
        if others:
            estimator, pipeline, fused = self._joined(parts, splits, features, recipe)
        seconds = time.perf_counter() - started
        found = _predictions(pipeline, features, splits.validation, splits.label_names)
        truth = [row[self.answer.column] for row in splits.validation]
        chosen = chosen_threshold(found, truth, Sought.of(recipe.evaluate))
        limits = {chosen["name"]: chosen["threshold"]} if chosen else {}
        pipeline, found = with_threshold(pipeline, limits), decide(found, limits)
        best = self._best(recipe.evaluate.primary, splits, found) if found else None
        if int(os.environ.get("RANK", "0")) == 0:
            example = typical_row(splits.train, features)
            config = hub_config(features, example, splits.label_names, estimator, task=self.name)
            config |= {THRESHOLDS: limits} if limits else {}
            save_pipeline(pipeline, out_dir / "model")
            content = json.dumps(config, indent=1, ensure_ascii=False).encode()
            write_durably(out_dir / "model" / CONFIG, content)
        fitted = estimator_of(pipeline)
        report = _report(train.method, len(splits.train), seconds, fitted, best)
        return replace(report, threshold=chosen, fused=fused)

    def _fitted(
        self, splits: Splits, features: Features, recipe: Recipe, progress: Progress
    ) -> dict[str, Pipeline]:
        """Each estimator of the recipe, fitted to the training rows."""
        train = recipe.train
        weights = example_weights(splits.train, class_weights=train.class_weights)
        known = AnsweredRows(splits.train, weights, self.answer)
        validation = AnsweredRows(splits.validation, [1.0] * len(splits.validation), self.answer)
        estimators = _estimators(recipe)
        found: dict[str, Pipeline] = {}
        for name, arguments in estimators.items():
            progress(len(found) / len(estimators), f"fitting {name}")
            stopping = train.early_stopping if name == DEFAULT_ESTIMATOR else None
            fit = TableFit(
                name,
                arguments,
                train.seed,
                self.kind,
                patience=stopping.patience if stopping else None,
                min_change=stopping.min_change if stopping else 0.0,
                key=f"train.fuse.estimators.{name}" if train.fuse else TableFit.key,
            )
            found[name] = fit_pipeline(features, known, validation, fit)
        return found

    def _joined(
        self, parts: Mapping[str, Pipeline], splits: Splits, features: Features, recipe: Recipe
    ) -> tuple[str, Pipeline, dict[str, Any]]:
        """The ensemble of fitted estimators, or the best of them where that is no worse."""
        if not splits.validation:
            raise DataError(
                "There are no validation rows to judge an ensemble on.",
                where="train.fuse",
                do="take a larger prepare.validation_fraction, or one train.estimator",
            )
        primary = recipe.evaluate.primary

        def score(pipeline: Pipeline) -> float:
            said = _predictions(pipeline, features, splits.validation, splits.label_names)
            return self._best(primary, splits, said)

        train = AnsweredRows(splits.train, [1.0] * len(splits.train), self.answer)
        ensemble = join_pipelines(parts, features, train)
        sign = -1 if lower_is_better(primary) else 1
        scores, together = {name: score(one) for name, one in parts.items()}, score(ensemble)
        best = max(scores, key=lambda name: sign * scores[name])
        is_kept = sign * together > sign * scores[best]
        fused = {
            "method": ENSEMBLE,
            "metric": primary,
            "parts": [
                {"estimator": name, "score": value, "taken": True} for name, value in scores.items()
            ],
            "score": together,
            "kept": is_kept,
        }
        name = f"{ENSEMBLE} of {', '.join(parts)}" if is_kept else best
        return name, ensemble if is_kept else parts[best], fused

    def fit_data(self, splits: Splits, recipe: Recipe, base: ModelFolders) -> None:
        """A table is fitted without the engine."""

    def predict(
        self, folders: ModelFolders, rows: Sequence[Row], asked: Asked = PLAIN
    ) -> list[Prediction]:
        """One prediction per row; a label that the estimator never saw gets 0."""
        del asked
        if not rows:
            return []
        pipeline, config = _loaded(folders.model, file_stamp(folders.model))
        found = _predictions(pipeline, config["features"], rows, config["label_names"])
        return decide(found, config.get(THRESHOLDS))

    def predict_base(
        self,
        splits: Splits,
        rows: Sequence[Row],
        base: ModelFolders | None,
        asked: Asked = PLAIN,
    ) -> BasePredictions:
        """What is commonest in the training rows."""
        del asked, base
        return constant_answer(self, splits, rows)

    def as_users(self, folders: ModelFolders, rows: Sequence[Row], promised: Promised) -> AsUsers:
        """Nothing: skops is what we load it with too."""
        del folders, rows, promised
        return AsUsers(None)

    def widgets(self, examples: Sequence[Row]) -> Widgets:
        """An input per feature, filled with a typical row."""
        features = find_features(examples)
        typical = typical_row(examples, features)
        inputs = [_input(name, kind, typical[name], examples) for name, kind in features.items()]
        return Widgets(inputs, _row_reader(features))

    def _best(self, primary: str, splits: Splits, found: Sequence[Prediction]) -> float:
        """The primary metric on the validation rows."""
        references = [row[self.answer.column] for row in splits.validation]
        measured = self.answer.estimates([primary], references, found, splits.label_names, seed=0)
        return measured[primary].value

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="sklearn",
            usage=USAGE,
            files=("config.json", "model.skops"),
            tags=(self.name, "skops"),
        )


def _estimators(recipe: Recipe) -> Mapping[str, Mapping[str, Any]]:
    """Name of each estimator that is fitted -> its arguments."""
    train = recipe.train
    if train.fuse is not None and train.fuse.of_estimators:
        return train.fuse.estimators
    return {train.estimator or DEFAULT_ESTIMATOR: train.estimator_arguments}


def _predictions(
    pipeline: Any, features: Features, rows: Sequence[Row], label_names: Sequence[str]
) -> list[Prediction]:
    if not rows:
        return []
    table = table_of(rows, features)
    if not hasattr(pipeline, "classes_"):
        return [Prediction(float(value)) for value in pipeline.predict(table)]
    places = {str(name): index for index, name in enumerate(pipeline.classes_)}
    scores = [
        [row[places[name]] if name in places else 0.0 for name in label_names]
        for row in pipeline.predict_proba(table)
    ]
    rows_of = [dict(zip(label_names, map(float, row), strict=True)) for row in scores]
    return [Prediction(max(row, key=row.__getitem__), row) for row in rows_of]


def _report(
    method: str, num_rows: int, seconds: float, estimator: Any, best: float | None
) -> FitReport:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return FitReport(
        method=method,
        rows=num_rows,
        tokens=None,
        seconds=seconds,
        rows_per_second=num_rows / max(seconds, 1e-9),
        tokens_per_second=None,
        peak_mb=peak / (2**20 if sys.platform == "darwin" else 2**10),
        trainable_parameters=num_parameters(estimator),
        epochs=1.0,
        num_processes=1,
        best_metric=best,
    )


@lru_cache(maxsize=2)
def _loaded(model_dir: Path, stamp: str) -> tuple[Any, dict[str, Any]]:
    """Pipeline and config of a folder; loaded anew when its files have changed."""
    del stamp
    return load_pipeline(model_dir), read_config(model_dir)


def _input(
    name: str, kind: str, typical: Any, examples: Sequence[Row]
) -> tuple[str, dict[str, Any]]:
    if kind == "number":
        return "Number", {"label": name, "value": typical}
    if kind == "boolean":
        return "Checkbox", {"label": name, "value": bool(typical)}
    if kind in WRITTEN:
        return "Textbox", {"label": name, "value": typical, **WRITTEN[kind]}
    found = {str(row[name]) for row in examples if row.get(name) is not None}
    choices = sorted(found)[:MAX_CHOICES]
    return "Dropdown", {"label": name, "choices": choices, "value": str(typical)}


def _row_reader(features: Features) -> Callable[[Sequence[Any]], dict[str, Any]]:
    def read(values: Sequence[Any]) -> dict[str, Any]:
        row = {name: None if one == "" else one for name, one in zip(features, values, strict=True)}
        if all(value is None for value in row.values()):
            raise DataError("There is no value to go by.", do="fill in one field or more")
        for name, value in row.items():
            if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
                raise DataError(
                    f"{name} has {len(value):,} characters, and {MAX_TEXT_CHARACTERS:,} is the "
                    "limit.",
                    do="shorten it",
                )
        table_of([row], features)
        return row

    return read


TASK = Tabular()
