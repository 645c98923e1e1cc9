"""Every estimator for tables learns, is saved in trusted types, and says what it cannot take."""

from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.finetune.tables import ESTIMATORS, NO_WEIGHTS, load_pipeline, num_parameters
from hub_trainer.tasks import ModelFolders, Splits, task_of
from tests.tasks.factory import recipe, splits, table_rows

CLASSIFIERS, REGRESSORS = (sorted(ESTIMATORS[kind]) for kind in ("classifier", "regressor"))
MEASURED = {"metrics": ["r2"], "primary": "r2"}


def fit(out_dir: Path, data: Splits, task: str = "tabular-classification", **changes: Any) -> Any:
    chosen = recipe(task, base_model=None, **changes)
    tagged = task_of(chosen)
    silent = {"base": None, "progress": lambda share, doing: None}
    return tagged, tagged.fit(data, chosen, out_dir, **silent)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_fit_when_labels_are_learned_then_any_estimator_does_and_loads(
    name: str, tmp_path: Path
) -> None:
    data = splits(table_rows(240), num_validation=40)
    task, report = fit(tmp_path, data, train__estimator=name)
    rows = table_rows(100, seed=9)
    found = task.predict(ModelFolders(tmp_path / "model"), rows)
    assert task.answer.scores([row["label"] for row in rows], found).mean() > 0.8
    fitted = load_pipeline(tmp_path / "model")["estimator"]
    assert type(fitted).__module__.startswith("sklearn.")
    assert report.trainable_parameters == num_parameters(fitted) > 0


@pytest.mark.parametrize("name", REGRESSORS)
def test_fit_when_numbers_are_learned_then_any_estimator_does_and_loads(
    name: str, tmp_path: Path
) -> None:
    def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        priced = [{**r, "target": 1e5 * (r["size"] or 5.0) + 1e4 * r["legs"]} for r in rows]
        return [{k: v for k, v in r.items() if k != "label"} for r in priced]

    rows = numbers(table_rows(240))
    data = Splits(rows[40:], rows[:40], [])
    of = {"train__estimator": name, "evaluate": MEASURED}
    task, report = fit(tmp_path, data, "tabular-regression", **of)
    assert report.best_metric > 0.8
    assert report.trainable_parameters > 0
    load_pipeline(tmp_path / "model")
    assert len(task.predict(ModelFolders(tmp_path / "model"), rows[:3])) == 3


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_fit_when_a_perceptron_learns_in_batches_then_its_seed_decides(
    solver: str, tmp_path: Path
) -> None:
    data = splits(table_rows(120))
    rows, found = table_rows(10, seed=3), []
    for name in ("a", "b"):
        arguments = {"solver": solver, "batch_size": 16, "hidden_layer_sizes": [8, 8]}
        task, _ = fit(
            tmp_path / name,
            data,
            train__estimator="multi_layer_perceptron",
            train__estimator_arguments=arguments,
        )
        found.append(task.predict(ModelFolders(tmp_path / name / "model"), rows))
    assert found[0] == found[1]


def test_fit_when_neighbours_are_asked_then_rows_of_no_weight_are_none(tmp_path: Path) -> None:
    data = splits(table_rows(240))
    flipped = [
        {**row, "label": "small" if row["label"] == "big" else "big", "_weight": 0.0}
        for row in table_rows(600, seed=5)
    ]
    known = Splits([*data.train, *flipped], data.validation, data.label_names)
    task, _ = fit(tmp_path, known, train__estimator="nearest_neighbours")
    rows = table_rows(100, seed=9)
    found = task.predict(ModelFolders(tmp_path / "model"), rows)
    assert task.answer.scores([row["label"] for row in rows], found).mean() > 0.8


@pytest.mark.parametrize(
    ("name", "arguments", "got"),
    [
        ("nearest_neighbours", {"n_neighbors": 400}, "n_neighbors is 400 for 48 training rows"),
        ("multi_layer_perceptron", {"hidden_layer_sizes": [-1]}, "hidden_layer_sizes must be > 0"),
    ],
)
def test_fit_when_arguments_do_not_suit_the_rows_then_says_so(
    name: str, arguments: dict[str, Any], got: str, tmp_path: Path
) -> None:
    of = {"train__estimator": name, "train__estimator_arguments": arguments}
    with pytest.raises(DataError, match="cannot be fitted to these rows") as caught:
        fit(tmp_path, splits(table_rows(60)), **of)
    assert got in str(caught.value.got)
    assert caught.value.where == "train.estimator_arguments"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__class_weights": True}, "changes nothing with nearest_neighbours"),
        ({"train__estimator_arguments": {"algorithm": "kd_tree"}}, "every row is compared"),
    ],
)
def test_recipe_problems_when_neighbours_cannot_do_it_then_says_so(
    changes: dict[str, Any], message: str
) -> None:
    assert {"nearest_neighbours"} == NO_WEIGHTS
    of = recipe(
        "tabular-classification", base_model=None, train__estimator="nearest_neighbours", **changes
    )
    (problem,) = task_of(of).recipe_problems(of, None)
    assert message in problem.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_leaves": -3}, "num_leaves"),
        ({"num_leafs": 3}, "is not an argument of LGBMClassifier. Did you mean num_leaves?"),
        ({"objective": "poisson"}, "the task says what is learned"),
    ],
)
def test_recipe_problems_when_arguments_of_lightgbm_are_wrong_then_says_so(
    arguments: dict[str, Any], message: str
) -> None:
    of = recipe(
        "tabular-classification",
        base_model=None,
        train__estimator="lightgbm",
        train__estimator_arguments=arguments,
    )
    (problem,) = task_of(of).recipe_problems(of, None)
    assert message in problem.message
