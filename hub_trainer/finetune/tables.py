"""Tables for scikit-learn: one pipeline over their features, saved without pickle.

An estimator's name stands for a classifier or a regressor, as the answer wants.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dump, load
from skops.io.exceptions import UntrustedTypesFoundException

from hub_trainer.answers import Answer
from hub_trainer.errors import DataError, Problem, TrainingError
from hub_trainer.finetune import boosted
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
NEIGHBOURS = "nearest_neighbours"
PERCEPTRON = "multi_layer_perceptron"
ESTIMATORS: Mapping[Kind, Mapping[str, type[BaseEstimator] | str]] = {
    "classifier": {
        DEFAULT_ESTIMATOR: HistGradientBoostingClassifier,
        "random_forest": RandomForestClassifier,
        "extra_trees": ExtraTreesClassifier,
        "logistic_regression": LogisticRegression,
        NEIGHBOURS: KNeighborsClassifier,
        PERCEPTRON: MLPClassifier,
        boosted.NAME: "LGBMClassifier",
    },
    "regressor": {
        DEFAULT_ESTIMATOR: HistGradientBoostingRegressor,
        "random_forest": RandomForestRegressor,
        "extra_trees": ExtraTreesRegressor,
        "ridge": Ridge,
        NEIGHBOURS: KNeighborsRegressor,
        PERCEPTRON: MLPRegressor,
        boosted.NAME: "LGBMRegressor",
    },
}
"""Name -> the estimator, or its name in LightGBM, which need not be there."""
TAKE_GAPS = frozenset({DEFAULT_ESTIMATOR, boosted.NAME})
"""Estimators that need no gap filled."""
NO_WEIGHTS = frozenset({NEIGHBOURS})
"""Estimators for which every row counts the same."""
OWNED_ARGUMENTS = {
    "random_state": "write train.seed",
    "early_stopping": "write train.early_stopping",
    "n_iter_no_change": "write train.early_stopping.patience",
    "class_weight": "write train.class_weights",
    "warm_start": "remove it: a model is fitted once",
    "verbose": "remove it: a stage prints nothing",
    "categorical_features": "remove it: features are encoded before the estimator",
    "algorithm": "remove it: every row is compared",
    "objective": "remove it: the task says what is learned",
    "boosting_type": "remove it: trees are boosted",
}
DEFAULT_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT_ESTIMATOR: {"early_stopping": False},
    "random_forest": {"n_estimators": 300},
    "extra_trees": {"n_estimators": 300},
    "ridge": {},
    "logistic_regression": {"max_iter": 1000},
    NEIGHBOURS: {"algorithm": "brute"},
    PERCEPTRON: {"max_iter": 300},
    boosted.NAME: {"verbosity": -1, "deterministic": True, "force_row_wise": True},
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
    key: str = "train.estimator_arguments"
    """Where the recipe has the arguments."""


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


def ensemble_problems(
    estimators: Mapping[str, Mapping[str, Any]], kind: Kind = "classifier"
) -> list[Problem]:
    """What is wrong with the estimators that are to be joined, and with their arguments."""
    key, found = "train.fuse.estimators", []
    for name, arguments in estimators.items():
        found += estimator_problems(name, arguments, kind, keys=(key, f"{key}.{name}"))
    return found


def estimator_problems(
    estimator: str | None,
    arguments: Mapping[str, Any],
    kind: Kind = "classifier",
    *,
    keys: tuple[str, str] = ("train.estimator", "train.estimator_arguments"),
) -> list[Problem]:
    """What is wrong with the estimator's name and its arguments; all of it.

    `keys` are where the recipe has the one and the others.
    """
    name, offered = estimator or DEFAULT_ESTIMATOR, ESTIMATORS[kind]
    if name not in offered:
        text = f"{keys[0]}: {name!r} is not offered; there are {', '.join(offered)}."
        text += nearest(name, offered)
        return [Problem(keys[0], text)]
    if isinstance(offered[name], str) and (missing := boosted.missing_problems(keys[0])):
        return missing
    made = _class_of(name, kind)
    known = inspect.signature(made).parameters
    problems = []
    for key in arguments:
        path = f"{keys[1]}.{key}"
        if key in OWNED_ARGUMENTS:
            problems.append(Problem(path, f"{path}: cannot be set; {OWNED_ARGUMENTS[key]}"))
        elif key not in known:
            text = f"{path}: is not an argument of {made.__name__}.{nearest(key, known)}"
            problems.append(Problem(path, text))
    return problems or _value_problems(made(**arguments), keys[1])


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
            do="add rows with another one",
        )
    if fit.estimator in NO_WEIGHTS:
        train = _counted(train)
        values = train.values
    encoder = encoder_of(features, gaps_are_kept=fit.estimator in TAKE_GAPS)
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
    if fit.estimator not in NO_WEIGHTS:
        options["sample_weight"] = np.asarray(train.weights)
    estimator = _fitted(estimator, encoded, values, options, key=fit.key)
    return Pipeline([("encoder", encoder), ("estimator", estimator)])


def join_pipelines(
    parts: Mapping[str, Pipeline], features: Features, train: AnsweredRows
) -> Pipeline:
    """One pipeline of the mean of what fitted ones say: of probabilities, or of numbers."""
    frozen = [(name, FrozenEstimator(part)) for name, part in parts.items()]
    are_classifiers = all(hasattr(part, "classes_") for part in parts.values())
    voting = VotingClassifier(frozen, voting="soft") if are_classifiers else VotingRegressor(frozen)
    voting.fit(table_of(train.rows, features), train.values)
    del voting.named_estimators_  # the same once more, of a type that is not trusted
    return Pipeline([("encoder", "passthrough"), ("estimator", voting)])


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
    """Fitted numbers: coefficients, nodes of trees, or the rows that are compared."""
    if isinstance(estimator, TransformedTargetRegressor):
        return num_parameters(estimator.regressor_)
    if isinstance(estimator, VotingClassifier | VotingRegressor):
        return sum(num_parameters(part.estimator["estimator"]) for part in estimator.estimators_)
    if isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return sum(len(tree.nodes) for stage in estimator._predictors for tree in stage)
    if isinstance(estimator, KNeighborsClassifier | KNeighborsRegressor):
        return int(estimator._fit_X.size)
    if isinstance(estimator, MLPClassifier | MLPRegressor):
        return sum(layer.size for layer in (*estimator.coefs_, *estimator.intercepts_))
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
        do = "name a model of a tabular task that hub-trainer has published"
        raise TrainingError(f"There is no {MODEL_FILE}.", where=str(folder), do=do) from None


def hub_config(
    features: Features, example: Row, label_names: Sequence[str], estimator: str, *, task: str
) -> dict[str, Any]:
    """config.json: the Hub's form for scikit-learn models, and what the features are."""
    packages = ("scikit-learn", "skops", "numpy", "pandas")
    shown = table_of([example], features)
    return {
        "sklearn": {
            "columns": list(shown.columns),
            "environment": [f"{name}={version(name)}" for name in packages],
            "example_input": {name: shown[name].tolist() for name in shown.columns},
            "model": {"file": MODEL_FILE},
            "model_format": "skops",
            "task": task,
        },
        "estimator": estimator,
        "features": dict(features),
        "label_names": list(label_names),
        "trusted_types": list(TRUSTED_TYPES),
    }


def _class_of(name: str, kind: Kind) -> Any:
    """The class of an estimator."""
    found = ESTIMATORS[kind][name]
    return getattr(import_module(boosted.NAME), found) if isinstance(found, str) else found


def _counted(rows: AnsweredRows) -> AnsweredRows:
    """The rows that count at all."""
    kept = [index for index, weight in enumerate(rows.weights) if weight > 0]
    return AnsweredRows([rows.rows[i] for i in kept], [1.0] * len(kept), rows.answer)


def _fitted(
    estimator: Any, encoded: Any, values: Sequence[Any], options: dict[str, Any], *, key: str
) -> Any:
    """The fitted estimator, of scikit-learn's own types alone.

    Raises DataError for arguments that do not suit the rows.
    """
    neighbours = getattr(estimator, "n_neighbors", 0)
    try:
        if neighbours > len(values):
            raise ValueError(f"n_neighbors is {neighbours} for {len(values)} training rows")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a perceptron that has not converged
            estimator.fit(encoded, values, **options)
    except ValueError as error:
        raise DataError(
            "The estimator cannot be fitted to these rows.",
            where=key,
            got=str(error).splitlines()[0],
            do="Change the arguments, or take another estimator.",
        ) from None
    if type(estimator).__module__.startswith(boosted.NAME):
        return boosted.as_scikit_learn(estimator, encoded, values)
    inner = getattr(estimator, "regressor_", estimator)
    if isinstance(inner, MLPClassifier | MLPRegressor):
        del inner._optimizer  # what only goes on with fitting, of a type that is not trusted
    return estimator


def _estimator(fit: TableFit) -> Any:
    estimator = _class_of(fit.estimator, fit.kind)
    arguments = {**DEFAULT_ARGUMENTS[fit.estimator], **fit.arguments}
    if "random_state" in inspect.signature(estimator).parameters:
        arguments["random_state"] = fit.seed
    if fit.patience is not None:
        arguments |= {
            "early_stopping": True,
            "n_iter_no_change": fit.patience,
            "tol": max(fit.min_change, 1e-7),
        }
    made = estimator(**arguments)
    if isinstance(made, MLPRegressor):  # it learns targets of any size in units of their spread
        return TransformedTargetRegressor(made, transformer=StandardScaler())
    return made


def _value_problems(estimator: Any, key: str) -> list[Problem]:
    """scikit-learn's own check of the values, which it would make only when fitting."""
    if not hasattr(estimator, "_parameter_constraints"):
        return boosted.value_problems(estimator, key)
    try:
        estimator._validate_params()
    except ValueError as error:
        return [Problem(key, f"{key}: {str(error).splitlines()[0]}")]
    return []
