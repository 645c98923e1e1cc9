"""Ensembles of estimators: the mean of what several say, kept where it is better than each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub_trainer.cards.body import _fused
from hub_trainer.errors import DataError, RecipeError
from hub_trainer.finetune.tables import load_pipeline
from hub_trainer.inputs.table_features import table_of
from hub_trainer.recipe import Recipe
from hub_trainer.tasks import ModelFolders, Splits, load_task
from hub_trainer.tasks.tabular import Tabular
from tests.tasks.factory import recipe, splits, table_rows

CLASSIFIER, REGRESSOR = load_task("tabular-classification"), load_task("tabular-regression")
PARTS = {"logistic_regression": {}, "random_forest": {"n_estimators": 20}}


def asked(task: str, fuse: Mapping[str, Any], **changes: Any) -> Recipe:
    return recipe(task, base_model=None, train__fuse=fuse, **changes)


def ensemble(estimators: Any = None) -> dict[str, Any]:
    return {"method": "ensemble", "estimators": estimators or PARTS}


def numbered(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """A target that is partly a line and partly steps."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (count, 2))
    return [
        {"a": a, "b": b, "target": 3 * a + 2 * np.sign(b) + noise}
        for (a, b), noise in zip(values.tolist(), rng.normal(0, 0.6, count), strict=True)
    ]


def numbers(count: int, num_validation: int) -> Splits:
    rows = numbered(count)
    return Splits(rows[num_validation:], rows[:num_validation], [])


def noisy(count: int) -> list[dict[str, Any]]:
    """Table rows of which some labels are wrong, so that no estimator is right on all."""
    rng = np.random.default_rng(1)
    wrong = {"big": "small", "small": "big"}
    return [
        {**row, "label": wrong[row["label"]]} if rng.random() < 0.2 else row
        for row in table_rows(count)
    ]


def fit(task: Any, data: Splits, of: Recipe, out: Path) -> Any:
    return task.fit(data, of, out, base=None, progress=lambda share, doing: None)


@pytest.mark.parametrize("name", ["tabular-classification", "tabular-regression"])
def test_ensemble_when_kept_then_says_the_mean_of_its_parts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_label = name == "tabular-classification"
    task: Any = CLASSIFIER if is_label else REGRESSOR
    data = splits(noisy(240), num_validation=60) if is_label else numbers(240, 60)
    parts = PARTS if is_label else {"ridge": {}, "random_forest": {"n_estimators": 20}}
    # Whatever the figures: when it is kept is asked below.
    given = iter([0.1, 0.2, 0.9])
    monkeypatch.setattr(Tabular, "_best", lambda *_: next(given, 0.9))
    metrics = {} if is_label else {"evaluate__metrics": ["r2"], "evaluate__primary": "r2"}
    report = fit(task, data, asked(name, ensemble(parts), **metrics), tmp_path)
    assert report.fused["kept"]
    pipeline = load_pipeline(tmp_path / "model")
    rows = data.validation[:20]
    features = {"size": "number", "legs": "number", "wild": "boolean", "color": "category"}
    table = table_of(rows, features if is_label else {"a": "number", "b": "number"})
    ask = "predict_proba" if is_label else "predict"
    each = [getattr(one, ask)(table) for one in pipeline["estimator"].estimators_]
    said = task.predict(ModelFolders(tmp_path / "model"), rows)
    mean = np.mean(each, axis=0)
    if is_label:
        labels = list(pipeline.classes_)
        assert [[one.scores[label] for label in labels] for one in said] == mean.tolist()
    else:
        assert [one.value for one in said] == mean.tolist()
    assert report.trainable_parameters > 20
    config = (tmp_path / "model" / "config.json").read_text()
    assert f'"estimator": "ensemble of {", ".join(parts)}"' in config


def test_ensemble_when_no_better_than_its_best_part_then_that_one_is_the_model(
    tmp_path: Path,
) -> None:
    data = numbers(240, 60)
    evaluate = {"evaluate__metrics": ["rmse"], "evaluate__primary": "rmse"}
    parts = {"random_forest": {"n_estimators": 30}, "nearest_neighbours": {"n_neighbors": 150}}
    report = fit(
        REGRESSOR, data, asked("tabular-regression", ensemble(parts), **evaluate), tmp_path
    )
    fused = report.fused
    scores = {part["estimator"]: part["score"] for part in fused["parts"]}
    assert scores["random_forest"] < fused["score"] < scores["nearest_neighbours"]
    assert not fused["kept"]
    assert report.best_metric == scores["random_forest"]
    told = _fused(fused)
    assert told[0] == "ensemble of estimators"
    assert " by random_forest, " in told[1]
    assert told[1].endswith("no better than the best of them, and not kept")
    alone = {
        "train__estimator": "random_forest",
        "train__estimator_arguments": {"n_estimators": 30},
    }
    fit(REGRESSOR, data, recipe("tabular-regression", base_model=None, **alone, **evaluate),
        tmp_path / "alone")  # fmt: skip
    first, second = (
        REGRESSOR.predict(ModelFolders(folder / "model"), data.validation)  # type: ignore[union-attr]
        for folder in (tmp_path, tmp_path / "alone")
    )
    assert first == second


def test_ensemble_when_parts_err_apart_then_is_better_and_kept(tmp_path: Path) -> None:
    data = numbers(300, 100)
    evaluate = {"evaluate__metrics": ["rmse"], "evaluate__primary": "rmse"}
    parts = ["ridge", "random_forest"]
    report = fit(
        REGRESSOR, data, asked("tabular-regression", ensemble(parts), **evaluate), tmp_path
    )
    assert report.fused["kept"] == (
        report.fused["score"] < min(part["score"] for part in report.fused["parts"])
    )


def test_ensemble_when_there_are_no_validation_rows_then_says_what_to_do(tmp_path: Path) -> None:
    data = splits(table_rows(60), num_validation=0)
    with pytest.raises(DataError, match="no validation rows to judge an ensemble on") as caught:
        fit(CLASSIFIER, data, asked("tabular-classification", ensemble()), tmp_path)
    assert "prepare.validation_fraction" in str(caught.value.do)
    assert not (tmp_path / "model").exists()


def test_ensemble_when_a_part_cannot_be_fitted_then_its_key_is_told(tmp_path: Path) -> None:
    parts = {"nearest_neighbours": {"n_neighbors": 400}, "random_forest": {}}
    data = splits(table_rows(60))
    with pytest.raises(DataError, match="cannot be fitted to these rows") as caught:
        fit(CLASSIFIER, data, asked("tabular-classification", ensemble(parts)), tmp_path)
    assert caught.value.where == "train.fuse.estimators.nearest_neighbours"


@pytest.mark.parametrize(
    ("fuse", "said"),
    [
        ({"method": "ensemble", "estimators": ["ridge"]}, "an ensemble joins two estimators"),
        ({"method": "ensemble"}, "an ensemble joins two estimators or more: name them"),
        ({**ensemble(), "density": 0.5}, "density changes nothing in ensemble; remove it"),
        ({**ensemble(), "checkpoints": 3}, "checkpoints changes nothing in ensemble; remove it"),
        ({"method": "ties", "estimators": ["a", "b"]}, "estimators changes nothing in ties"),
    ],
)
def test_keys_when_they_do_not_suit_then_the_recipe_is_refused(
    fuse: Mapping[str, Any], said: str
) -> None:
    with pytest.raises((RecipeError, ValueError), match=said):
        asked("tabular-classification", fuse)


def test_problems_when_asked_for_then_all_are_told_by_their_keys() -> None:
    wrong = {"random_forest": {"n_estimator": 5}, "ridge": {}, "logistic_regression": {"C": -1}}
    found = CLASSIFIER.recipe_problems(asked("tabular-classification", ensemble(wrong)), None)
    assert [problem.key for problem in found] == [
        "train.fuse.estimators.random_forest.n_estimator",
        "train.fuse.estimators",
        "train.fuse.estimators.logistic_regression",
    ]
    assert "'ridge' is not offered" in found[1].message
    soup = {"method": "uniform_soup"}
    [problem] = CLASSIFIER.recipe_problems(asked("tabular-classification", soup), None)
    assert problem.message.endswith("joins checkpoints, and a table has none; take ensemble")
    with pytest.raises((RecipeError, ValueError), match="changes nothing beside an ensemble"):
        asked("tabular-classification", ensemble(), train__estimator="random_forest")


def test_ensemble_when_the_task_has_no_estimators_then_says_so() -> None:
    text: Any = load_task("text-classification")
    found = text.recipe_problems(recipe("text-classification", train__fuse=ensemble()), None)
    assert "train.fuse.estimators: changes nothing in text-classification; remove it" in [
        problem.message for problem in found
    ]
