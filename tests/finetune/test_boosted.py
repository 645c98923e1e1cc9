"""LightGBM's trees say in scikit-learn's form what they say in their own."""

import sys
from typing import Any

import numpy as np
import pytest

from hub_trainer.errors import TrainingError
from hub_trainer.finetune import boosted

lightgbm = pytest.importorskip("lightgbm")


def rows(seed: int, *, gaps: bool) -> Any:
    found = np.random.default_rng(seed).normal(size=(400, 3))
    if gaps:
        found[::7, 0] = np.nan
    return found


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("num_labels", [2, 3])
def test_as_scikit_learn_when_labels_are_learned_then_probabilities_are_the_same(
    num_labels: int, gaps: bool
) -> None:
    known, asked = rows(0, gaps=gaps), rows(1, gaps=True)
    labels = np.array(["a", "b", "c"])[(np.nan_to_num(known[:, 0]) > 0) * (num_labels - 1)]
    labels[known[:, 1] > 1] = "b"
    fitted = lightgbm.LGBMClassifier(n_estimators=20, verbosity=-1).fit(known, labels)
    found = boosted.as_scikit_learn(fitted, known, labels)
    assert found.classes_.tolist() == fitted.classes_.tolist()
    assert found.predict_proba(asked) == pytest.approx(fitted.predict_proba(asked), abs=1e-9)


@pytest.mark.parametrize("num_trees", [1, 30])
def test_as_scikit_learn_when_numbers_are_learned_then_they_are_the_same(num_trees: int) -> None:
    known, asked = rows(2, gaps=True), rows(3, gaps=True)
    values = 1000 * np.nan_to_num(known[:, 0]) + known[:, 2]
    fitted = lightgbm.LGBMRegressor(n_estimators=num_trees, verbosity=-1).fit(known, values)
    found = boosted.as_scikit_learn(fitted, known, values)
    assert found.predict(asked) == pytest.approx(fitted.predict(asked), rel=1e-9)


def test_as_scikit_learn_when_nothing_can_be_split_then_a_leaf_is_a_tree() -> None:
    known, values = np.zeros((30, 1)), np.arange(30.0)
    fitted = lightgbm.LGBMRegressor(n_estimators=3, verbosity=-1).fit(known, values)
    found = boosted.as_scikit_learn(fitted, known, values)
    assert found.predict([[0.0]]) == pytest.approx([14.5])


def test_as_scikit_learn_when_they_differ_then_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    known = rows(4, gaps=False)
    fitted = lightgbm.LGBMRegressor(n_estimators=5, verbosity=-1).fit(known, known[:, 0])
    monkeypatch.setattr(boosted, "_tree", lambda info: _leaf())
    with pytest.raises(TrainingError, match="do not say the same") as caught:
        boosted.as_scikit_learn(fitted, known, known[:, 0])
    assert "differs by" in str(caught.value.got)


def _leaf() -> Any:
    nodes = np.zeros(1, dtype=boosted.PREDICTOR_RECORD_DTYPE)
    nodes["is_leaf"] = 1
    return boosted.TreePredictor(nodes, np.zeros((0, 8), np.uint32), np.zeros((0, 8), np.uint32))


def test_missing_problems_when_it_is_not_there_then_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert boosted.missing_problems("train.estimator") == []
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr(boosted, "find_spec", lambda name: None)
    (problem,) = boosted.missing_problems("train.estimator")
    assert problem.key == "train.estimator"
    assert "pip install 'hub_trainer[lightgbm]'" in problem.message
