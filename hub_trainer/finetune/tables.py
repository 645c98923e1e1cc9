"""Tables for scikit-learn: one pipeline over their features, saved without pickle.

An estimator's name stands for a classifier or a regressor, as the answer wants.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline
from skops.io import dump, load
from skops.io.exceptions import UntrustedTypesFoundException

from hub_trainer.answers import Answer
from hub_trainer.errors import DataError, Problem, TrainingError
from hub_trainer.inputs.table_features import Features, Row, encoder_of, table_of
from hub_trainer.recipe.arguments import nearest

MODEL_FILE = "model.skops"
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""Beside the types that skops trusts by itself; never what a file asks for."""

DEFAULT_ESTIMATOR = "hist_gradient_boosting"
Kind = Literal["classifier", "regressor"]
ESTIMATORS: Mapping[Kind, Mapping[str, type[BaseEstimator]]] = {
    "classifier": {
        DEFAULT_ESTIMATOR: HistGradientBoostingClassifier,
        "random_forest": RandomForestClassifier,
        "extra_trees": ExtraTreesClassifier,
        "logistic_regression": LogisticRegression,
    },
    "regressor": {
        DEFAULT_ESTIMATOR: HistGradientBoostingRegressor,
        "random_forest": RandomForestRegressor,
        "extra_trees": ExtraTreesRegressor,
        "ridge": Ridge,
    },
}
OWNED_ARGUMENTS = {
    "random_state": "write train.seed",
    "early_stopping": "write train.early_stopping",
    "n_iter_no_change": "write train.early_stopping.patience",
    "class_weight": "write train.class_weights",
    "warm_start": "remove it: a model is fitted once",
    "verbose": "remove it: a stage prints nothing",
    "categorical_features": "remove it: features are encoded before the estimator",
}
DEFAULT_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT_ESTIMATOR: {"early_stopping": False},
    "random_forest": {"n_estimators": 300},
    "extra_trees": {"n_estimators": 300},
    "ridge": {},
    "logistic_regression": {"max_iter": 1000},
}


@dataclass(frozen=True)
class TableFit:
    """How a pipeline is fitted."""

    estimator: str
    arguments: Mapping[str, Any]
    seed: int
    kind: Kind = "classifier"
    patience: int | None = None
    """Rounds of boosting without improvement on the validation rows, then it stops."""
    min_change: float = 0.0


@dataclass(frozen=True)
class AnsweredRows:
    """Rows of a split with what each of them counts."""

    rows: Sequence[Row]
    weights: Sequence[float]
    answer: Answer

    @property
    def values(self) -> list[Any]:
        """The answer of each row."""
        return [row[self.answer.column] for row in self.rows]


def estimator_problems(
    estimator: str | None, arguments: Mapping[str, Any], kind: Kind = "classifier"
) -> list[Problem]:
    """What is wrong with the estimator's name and its arguments; all of it."""
    name, offered = estimator or DEFAULT_ESTIMATOR, ESTIMATORS[kind]
    if name not in offered:
        text = f"train.estimator: {name!r} is not offered; there are {', '.join(offered)}."
        text += nearest(name, offered)
        return [Problem("train.estimator", text)]
    known = inspect.signature(offered[name]).parameters
    problems = []
    for key in arguments:
        path = f"train.estimator_arguments.{key}"
        if key in OWNED_ARGUMENTS:
            problems.append(Problem(path, f"{path}: cannot be set; {OWNED_ARGUMENTS[key]}"))
        elif key not in known:
            cls = offered[name].__name__
            text = f"{path}: is not an argument of {cls}.{nearest(key, known)}"
            problems.append(Problem(path, text))
    return problems or _value_problems(offered[name](**arguments))


def fit_pipeline(
    features: Features, train: AnsweredRows, validation: AnsweredRows | None, fit: TableFit
) -> Pipeline:
    """Encoder and estimator, fitted, as one pipeline that takes `table_of` rows."""
    values = train.values
    if len(set(values)) < 2:
        what = (
            "A classifier needs two labels" if fit.kind == "classifier" else "It needs two values"
        )
        raise DataError(
            f"{what} or more in the training rows.",
            got=", ".join(sorted(map(str, set(values)))) or "no rows",
        )
    encoder = encoder_of(features, gaps_are_kept=fit.estimator == DEFAULT_ESTIMATOR)
    estimator = _estimator(fit)
    encoded = encoder.fit_transform(table_of(train.rows, features))
    options: dict[str, Any] = {}
    if fit.patience is not None and validation is not None:
        known, held = set(values), validation.values
        kept = [i for i, v in enumerate(held) if fit.kind == "regressor" or v in known]
        options = {
            "X_val": encoder.transform(table_of([validation.rows[i] for i in kept], features)),
            "y_val": [held[i] for i in kept],
            "sample_weight_val": [validation.weights[i] for i in kept],
        }
    estimator.fit(encoded, values, sample_weight=np.asarray(train.weights), **options)
    return Pipeline([("encoder", encoder), ("estimator", estimator)])


def with_threshold(pipeline: Pipeline, thresholds: Mapping[str, float]) -> Pipeline:
    """The pipeline whose own `predict` decides so too; of more than two labels it cannot."""
    estimator = pipeline["estimator"]
    if not thresholds or len(estimator.classes_) != 2:
        return pipeline
    [(label, limit)] = thresholds.items()
    deciding = FixedThresholdClassifier(
        FrozenEstimator(estimator),
        threshold=limit,
        pos_label=label,
        response_method="predict_proba",
    )
    deciding.fit(np.zeros((2, estimator.n_features_in_)), estimator.classes_)
    return Pipeline([("encoder", pipeline["encoder"]), ("estimator", deciding)])


def estimator_of(pipeline: Pipeline) -> Any:
    """What was fitted, without the threshold by which it decides."""
    last = pipeline["estimator"]
    return last.estimator_.estimator if isinstance(last, FixedThresholdClassifier) else last


def num_parameters(estimator: Any) -> int:
    """Fitted numbers: coefficients, or nodes of trees."""
    if isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return sum(len(tree.nodes) for stage in estimator._predictors for tree in stage)
    if hasattr(estimator, "estimators_"):
        return sum(tree.tree_.node_count for tree in estimator.estimators_)
    return int(estimator.coef_.size + np.size(estimator.intercept_))


def save_pipeline(pipeline: Pipeline, folder: Path) -> None:
    """Write the pipeline, and read it back through the list of trusted types."""
    folder.mkdir(parents=True, exist_ok=True)
    dump(pipeline, folder / MODEL_FILE)
    load_pipeline(folder)


def load_pipeline(folder: Path) -> Pipeline:
    """The pipeline of a folder. Raises TrainingError for a file that wants more than is trusted."""
    path = folder / MODEL_FILE
    try:
        return load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise TrainingError(
            "The model file holds types that are not trusted.",
            where=str(path),
            got=str(error).splitlines()[0],
            do="do not load it: it was not written by this project",
        ) from None
    except FileNotFoundError:
        raise TrainingError(f"There is no {MODEL_FILE}.", where=str(folder)) from None


def hub_config(
    features: Features, example: Row, label_names: Sequence[str], estimator: str, *, task: str
) -> dict[str, Any]:
    """config.json: the Hub's form for scikit-learn models, and what the features are."""
    packages = ("scikit-learn", "skops", "numpy", "pandas")
    return {
        "sklearn": {
            "columns": list(features),
            "environment": [f"{name}={version(name)}" for name in packages],
            "example_input": {name: [example[name]] for name in features},
            "model": {"file": MODEL_FILE},
            "model_format": "skops",
            "task": task,
        },
        "estimator": estimator,
        "features": dict(features),
        "label_names": list(label_names),
        "trusted_types": list(TRUSTED_TYPES),
    }


def _estimator(fit: TableFit) -> Any:
    arguments = {**DEFAULT_ARGUMENTS[fit.estimator], **fit.arguments, "random_state": fit.seed}
    estimator = ESTIMATORS[fit.kind][fit.estimator]
    if fit.patience is not None:
        arguments |= {
            "early_stopping": True,
            "n_iter_no_change": fit.patience,
            "tol": max(fit.min_change, 1e-7),
        }
    return estimator(**arguments)


def _value_problems(estimator: Any) -> list[Problem]:
    """scikit-learn's own check of the values, which it would make only when fitting."""
    try:
        estimator._validate_params()
    except ValueError as error:
        key = "train.estimator_arguments"
        return [Problem(key, f"{key}: {str(error).splitlines()[0]}")]
    return []
