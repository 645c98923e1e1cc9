"""LightGBM's trees as an estimator of scikit-learn, so that a published file needs no LightGBM.

N rows, D features, K trees per iteration: one, or one for each of more than two labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

from hub_trainer.errors import Problem, TrainingError

NAME = "lightgbm"
TOLERANCE = 1e-6
"""Of a probability, or of a number in units of the largest."""
MAX_COMPARED = 1_000


def missing_problems(key: str) -> list[Problem]:
    """That LightGBM is not installed."""
    if find_spec(NAME) is not None:
        return []
    text = f"{key}: {NAME} is not installed; pip install 'hub_trainer[{NAME}]', or take "
    return [Problem(key, f"{text}hist_gradient_boosting, which grows trees in the same way")]


def value_problems(estimator: Any, key: str) -> list[Problem]:
    """LightGBM's own check of the values, which it makes only when fitting."""
    own_error = import_module(f"{NAME}.basic").LightGBMError  # an extra, which no Space has
    try:
        estimator.fit(np.arange(8.0)[:, None], [0, 1] * 4)
    except (own_error, ValueError, TypeError) as error:
        return [Problem(key, f"{key}: {str(error).splitlines()[0]}")]
    return []


def as_scikit_learn(fitted: Any, encoded: Any, values: Sequence[Any]) -> Any:
    """An estimator of scikit-learn with the trees of LightGBM's, for (N, D) rows like these.

    Raises TrainingError where the two do not say the same.
    """
    shape = {True: HistGradientBoostingClassifier, False: HistGradientBoostingRegressor}
    model = shape[is_classifier(fitted)](max_iter=1, early_stopping=False).fit(encoded, values)
    trees = [_tree(one) for one in fitted.booster_.dump_model()["tree_info"]]
    each = model.n_trees_per_iteration_
    model._predictors = [trees[start : start + each] for start in range(0, len(trees), each)]
    model._baseline_prediction = np.zeros_like(model._baseline_prediction)
    model.max_iter = len(model._predictors)
    _assert_same(fitted, model, encoded[:MAX_COMPARED])
    return model


def _assert_same(fitted: Any, model: Any, encoded: Any) -> None:
    says = "predict_proba" if is_classifier(fitted) else "predict"
    theirs, ours = (np.asarray(getattr(one, says)(encoded)) for one in (fitted, model))
    worst = float(np.abs(theirs - ours).max() / max(1.0, float(np.abs(theirs).max())))
    if not worst <= TOLERANCE:
        raise TrainingError(
            "The trees of LightGBM do not say the same in scikit-learn's form.",
            got=f"a prediction differs by {worst:.2g}",
            do="take estimator: hist_gradient_boosting, and other estimator_arguments",
        )


def _tree(info: Mapping[str, Any]) -> TreePredictor:
    nodes = np.array(list(_nodes(info["tree_structure"])), dtype=PREDICTOR_RECORD_DTYPE)
    no_sets = np.zeros((0, 8), dtype=np.uint32)
    return TreePredictor(nodes, no_sets, no_sets)


def _nodes(root: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Records in the order in which they are numbered: breadth first, a child after its parent."""
    queue, number = [(root, 0)], 1
    for node, depth in queue:
        if "leaf_value" in node:
            count = node.get("leaf_count", 0)
            yield (node["leaf_value"], count, 0, 0.0, 0, 0, 0, 0.0, depth, 1, 0, 0, 0)
            continue
        queue += [(node[side], depth + 1) for side in ("left_child", "right_child")]
        limit, count = node["threshold"], node["internal_count"]
        feature, gain = node["split_feature"], node["split_gain"]
        left = _gaps_go_left(node)
        yield (0.0, count, feature, limit, left, number, number + 1, gain, depth, 0, 0, 0, 0)
        number += 2


def _gaps_go_left(node: Mapping[str, Any]) -> bool:
    """Where training rows had no gap, LightGBM takes one for a zero."""
    if node["missing_type"] == "None":
        return bool(node["threshold"] >= 0)
    return bool(node["default_left"])
