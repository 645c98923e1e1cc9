"""Tabular classification: a row of features in, one of the label names out, by scikit-learn.

The model folder holds `model.skops`, a pipeline that takes a pandas table of the features, and
`config.json` in the Hub's form for scikit-learn models, with the features' kinds.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from hub_trainer.artifacts import write_durably
from hub_trainer.errors import DataError, Problem
from hub_trainer.finetune.example_weights import example_weights
from hub_trainer.finetune.model_folder import CONFIG, file_stamp, read_config
from hub_trainer.finetune.report import FitReport
from hub_trainer.finetune.tables import (
    DEFAULT_ESTIMATOR,
    TRUSTED_TYPES,
    Features,
    LabelledRows,
    TableFit,
    estimator_problems,
    find_features,
    fit_pipeline,
    hub_config,
    load_pipeline,
    num_parameters,
    save_pipeline,
    table_of,
    typical_row,
)
from hub_trainer.metrics import compute_metric, metric_names
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import (
    LANGUAGE_KEYS,
    BasePredictions,
    Kind,
    ModelCard,
    Prediction,
    Progress,
    Row,
    Splits,
    Widgets,
    commonest_label,
    offer_problems,
    predictions,
    unused_problems,
)

MAX_CHOICES = 200
UNUSED_KEYS = ("train.arguments", "train.profile", "prepare.max_length", *LANGUAGE_KEYS)

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


@dataclass(frozen=True)
class TabularClassification:
    """The pipeline tag `tabular-classification`."""

    name: str = "tabular-classification"
    family: Literal["classification"] = "classification"
    modality: Literal["text", "image", "table"] = "table"
    methods: frozenset[str] = frozenset({"full", "scratch"})
    """Both fit a new model: there is no base to keep anything of."""
    augmentations: frozenset[str] = frozenset()
    metrics: frozenset[str] = metric_names("labels")

    @property
    def columns(self) -> Mapping[str, Kind]:
        """`label`; every further column is a feature."""
        return {"label": "label"}

    def recipe_problems(self, recipe: Recipe, base_dir: Path | None) -> list[Problem]:
        """What is wrong with the recipe for this task; all of it."""
        del base_dir
        train = recipe.train
        problems = offer_problems(self, recipe) + unused_problems(self, recipe, UNUSED_KEYS)
        problems += estimator_problems(train.estimator, train.estimator_arguments)
        if recipe.base_model is not None:
            text = f"base_model: {self.name} starts from none; remove it"
            problems.append(Problem("base_model", text))
        estimator = train.estimator or DEFAULT_ESTIMATOR
        if train.early_stopping is not None and estimator != DEFAULT_ESTIMATOR:
            text = f"train.early_stopping: changes nothing with {estimator}; remove it"
            problems.append(Problem("train.early_stopping", text))
        return problems

    def problems(self, row: Row) -> list[str]:
        """What is wrong with one row."""
        label = row.get("label")
        faults = [] if isinstance(label, str) and label else ["label is empty"]
        features = [name for name in row if name != "label" and not name.startswith("_")]
        if all(row[name] is None for name in features):
            faults.append("no feature has a value")
        return faults

    def fit(
        self,
        splits: Splits,
        recipe: Recipe,
        out_dir: Path,
        *,
        base_dir: Path | None,
        progress: Progress,
    ) -> FitReport:
        """Fit a scikit-learn pipeline; of several processes, all fit it and the first saves it."""
        del base_dir
        train = recipe.train
        estimator = train.estimator or DEFAULT_ESTIMATOR
        progress(0.0, f"fitting {estimator}")
        features = find_features(splits.train)
        weights = example_weights(splits.train, class_weights=train.class_weights)
        validation = LabelledRows(splits.validation, [1.0] * len(splits.validation))
        stopping = train.early_stopping
        fit = TableFit(
            estimator,
            train.estimator_arguments,
            train.seed,
            patience=stopping.patience if stopping else None,
            min_change=stopping.min_change if stopping else 0.0,
        )
        started = time.perf_counter()
        pipeline = fit_pipeline(features, LabelledRows(splits.train, weights), validation, fit)
        seconds = time.perf_counter() - started
        if int(os.environ.get("RANK", "0")) == 0:
            example = typical_row(splits.train, features)
            config = hub_config(features, example, splits.label_names, estimator)
            save_pipeline(pipeline, out_dir / "model")
            content = json.dumps(config, indent=1, ensure_ascii=False).encode()
            write_durably(out_dir / "model" / CONFIG, content)
        answers = _answers(pipeline, features, splits.validation, splits.label_names)
        best = _metric(recipe.evaluate.primary, splits, answers) if answers else None
        return _report(train.method, len(splits.train), seconds, pipeline["estimator"], best)

    def fit_data(self, splits: Splits, recipe: Recipe, base_dir: Path) -> None:
        """A table is fitted without the engine."""

    def predict(self, model_dir: Path, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction per row; a label that the estimator never saw gets 0."""
        if not rows:
            return []
        pipeline, config = _loaded(model_dir, file_stamp(model_dir))
        return _answers(pipeline, config["features"], rows, config["label_names"])

    def predict_base(
        self, splits: Splits, rows: Sequence[Row], base_dir: Path | None
    ) -> BasePredictions:
        """The commonest label."""
        del base_dir
        return commonest_label(splits, rows)

    def score(self, row: Row, prediction: Prediction) -> float:
        """1.0 when the label is right."""
        return float(row["label"] == prediction.label)

    def widgets(self, label_names: Sequence[str], examples: Sequence[Row]) -> Widgets:
        """An input per feature, filled with a typical row, and the labels with probabilities."""
        features = find_features(examples)
        typical = typical_row(examples, features)
        inputs = [_input(name, kind, typical[name], examples) for name, kind in features.items()]
        shown = {"label": "Prediction", "num_top_classes": min(5, len(label_names))}
        return Widgets(inputs, [("Label", shown)], _row_reader(features))

    def example_from_rating(self, row: Row, label: str) -> dict[str, Any] | None:
        """The rated features under their agreed label."""
        features = {name: value for name, value in row.items() if not name.startswith("_")}
        example = {**features, "label": label}
        return None if self.problems(example) else example

    def card(self) -> ModelCard:
        """How to use the model."""
        return ModelCard(
            library_name="sklearn",
            usage=USAGE,
            files=("config.json", "model.skops"),
            tags=("tabular-classification", "skops"),
        )


def _answers(
    pipeline: Any, features: Features, rows: Sequence[Row], label_names: Sequence[str]
) -> list[Prediction]:
    if not rows:
        return []
    places = {str(name): index for index, name in enumerate(pipeline.classes_)}
    probabilities = pipeline.predict_proba(table_of(rows, features))
    scores = [
        [row[places[name]] if name in places else 0.0 for name in label_names]
        for row in probabilities
    ]
    return predictions(scores, label_names)


def _metric(name: str, splits: Splits, answers: Sequence[Prediction]) -> float:
    ids = {label: index for index, label in enumerate(splits.label_names)}
    references = [ids[row["label"]] for row in splits.validation]
    return compute_metric(name, references, [ids[answer.label] for answer in answers])


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
    found = {str(row[name]) for row in examples if row.get(name) is not None}
    choices = sorted(found)[:MAX_CHOICES]
    return "Dropdown", {"label": name, "choices": choices, "value": str(typical)}


def _row_reader(features: Features) -> Callable[[Sequence[Any]], dict[str, Any]]:
    def read(values: Sequence[Any]) -> dict[str, Any]:
        row = dict(zip(features, values, strict=True))
        if all(value is None for value in row.values()):
            raise DataError("There is no value to classify by.", do="fill in one field or more")
        table_of([row], features)
        return row

    return read


TASK = TabularClassification()
