import json
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from hub_trainer.errors import DataError, TrainingError
from hub_trainer.finetune.tables import (
    MODEL_FILE,
    load_pipeline,
    num_parameters,
)
from hub_trainer.inputs import load_input
from hub_trainer.inputs.table_features import find_features, table_of
from hub_trainer.tasks import ModelFolders, Splits, load_task, offered_beside, rated_example
from hub_trainer.tasks.tabular import TASK
from tests.tasks.factory import recipe, splits, table_rows

LABELS = ["big", "small"]


def silent(share: float, doing: str) -> None:
    pass


def table_recipe(**changes: Any) -> Any:
    return recipe("tabular-classification", base_model=None, **changes)


def fit(out_dir: Path, data: Splits | None = None, **changes: Any) -> Any:
    chosen = data or splits(table_rows(240), num_validation=40)
    return TASK.fit(chosen, table_recipe(**changes), out_dir, base=None, progress=silent)


def accuracy(model_dir: Path) -> float:
    rows = table_rows(100, seed=9)
    found = TASK.predict(ModelFolders(model_dir), rows)
    return TASK.answer.scores([row["label"] for row in rows], found).sum() / len(rows)


def test_load_task_when_asked_for_then_gives_this_one() -> None:
    assert load_task("tabular-classification") is TASK


@pytest.mark.parametrize(
    ("estimator", "least"),
    [(None, 0.9), ("random_forest", 0.9), ("logistic_regression", 0.8)],
)
def test_fit_when_done_by_any_estimator_then_learns(
    estimator: str | None, least: float, tmp_path: Path
) -> None:
    report = fit(tmp_path, train__estimator=estimator)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"model.skops", "config.json"} == set(TASK.card().files)
    assert accuracy(tmp_path / "model") > least
    assert (report.rows, report.tokens, report.num_processes) == (200, None, 1)
    assert report.trainable_parameters == num_parameters(
        load_pipeline(tmp_path / "model")["estimator"]
    )
    assert report.best_metric is not None
    assert report.best_metric > least - 0.1


def test_fit_when_saved_then_config_says_what_anyone_needs(tmp_path: Path) -> None:
    fit(tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["features"] == {
        "size": "number",
        "legs": "number",
        "wild": "boolean",
        "color": "category",
    }
    assert config["label_names"] == LABELS
    assert config["sklearn"]["columns"] == ["size", "legs", "wild", "color"]
    assert config["sklearn"]["model"] == {"file": "model.skops"}
    example = {name: values[0] for name, values in config["sklearn"]["example_input"].items()}
    shown = [{k: v for k, v in row.items() if k in example} for row in table_rows(240)]
    assert example not in shown


def test_predict_when_values_are_missing_or_new_then_still_answers(tmp_path: Path) -> None:
    fit(tmp_path)
    rows = [
        {"size": None, "legs": None, "wild": None, "color": None},
        {"size": 9.0, "legs": 3, "wild": True, "color": "purple"},
        {"size": 9.0},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = TASK.predict(ModelFolders(tmp_path / "model"), rows)
    assert [sum(one.scores.values()) for one in found] == pytest.approx([1, 1, 1])
    assert found[1].value == found[2].value == "big"


def test_predict_when_a_number_is_a_word_then_names_the_feature(tmp_path: Path) -> None:
    fit(tmp_path)
    with pytest.raises(DataError, match="Feature size must be a number") as caught:
        TASK.predict(ModelFolders(tmp_path / "model"), [{"size": "large"}])
    assert caught.value.got == "'large'"


def test_predict_when_a_label_was_never_seen_then_scores_it_zero(tmp_path: Path) -> None:
    data = splits(table_rows(240))
    fit(tmp_path, Splits(data.train, data.validation, ["big", "huge", "small"]))
    found = TASK.predict(ModelFolders(tmp_path / "model"), table_rows(3))
    assert {one.scores["huge"] for one in found} == {0.0}
    assert list(found[0].scores) == ["big", "huge", "small"]


def test_predict_when_there_are_no_rows_then_gives_none(tmp_path: Path) -> None:
    assert TASK.predict(ModelFolders(tmp_path), []) == []


def test_fit_when_seeds_are_equal_then_answers_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit(tmp_path / name, train__estimator="random_forest")
    rows = table_rows(20, seed=4)
    first, second = (
        TASK.predict(ModelFolders(tmp_path / name / "model"), rows) for name in ("a", "b")
    )
    assert first == second


def test_fit_when_a_row_has_weight_zero_then_it_teaches_nothing(tmp_path: Path) -> None:
    data = splits(table_rows(240))
    flipped = [
        {**row, "label": "small" if row["label"] == "big" else "big", "_weight": 0.0}
        for row in table_rows(600, seed=5)
    ]
    fit(tmp_path, Splits([*data.train, *flipped], data.validation, data.label_names))
    assert accuracy(tmp_path / "model") > 0.9


def test_fit_when_stopping_early_then_boosts_fewer_rounds(tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    fit(tmp_path / "early", train__early_stopping={"patience": 2})
    whole, early = (
        load_pipeline(tmp_path / name / "model")["estimator"].n_iter_ for name in ("whole", "early")
    )
    assert early < whole == 100


def test_fit_when_class_weights_are_on_then_rare_labels_count_more(tmp_path: Path) -> None:
    rows = [{"noise": index % 7, "label": "no" if index % 10 else "yes"} for index in range(300)]
    for weights in (False, True):
        fit(
            tmp_path / str(weights),
            splits(rows),
            train__class_weights=weights,
            train__estimator="logistic_regression",
        )
    plain, level = (
        TASK.predict(ModelFolders(tmp_path / name / "model"), [{"noise": 3}])[0].scores["yes"]
        for name in ("False", "True")
    )
    assert plain < 0.15
    assert 0.4 < level < 0.6


def test_fit_when_this_is_not_the_first_process_then_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    fit(tmp_path)
    assert not (tmp_path / "model").exists()


def test_fit_when_there_is_one_label_then_says_so(tmp_path: Path) -> None:
    rows = [{"size": 1.0, "label": "big"}] * 5
    with pytest.raises(DataError, match="two labels or more") as caught:
        fit(tmp_path, Splits(rows, [], ["big"]))
    assert caught.value.got == "big"


def test_load_when_the_file_holds_other_types_then_is_refused(tmp_path: Path) -> None:
    import posix

    skops.io.dump(FunctionTransformer(posix.system), tmp_path / MODEL_FILE)
    with pytest.raises(TrainingError, match="types that are not trusted") as caught:
        load_pipeline(tmp_path)
    assert "posix.system" in str(caught.value.got)


def test_load_when_the_file_is_missing_then_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no model\.skops"):
        load_pipeline(tmp_path)


def test_find_features_when_kinds_are_mixed_then_they_are_categories() -> None:
    rows = [
        {"a": 1, "b": True, "c": "x", "d": 1, "e": None, "label": "y", "_row_id": "0"},
        {"a": 2.5, "b": None, "c": None, "d": "two", "e": None, "label": "z", "_row_id": "1"},
    ]
    features = find_features(rows)
    assert features == {"a": "number", "b": "boolean", "c": "category", "d": "category"}
    table = table_of(rows, features)
    assert table["b"].tolist()[0] == 1.0
    assert table["d"].tolist() == ["1", "two"]


def test_recipe_problems_when_many_keys_are_wrong_then_names_them_all() -> None:
    wrong = recipe(
        "tabular-classification",
        train__method="lora",
        train__arguments={"learning_rate": 1e-4},
        train__profile=True,
        prepare__max_length=4,
        prepare__augment=["flip"],
        train__estimator_arguments={"max_leafs": 3, "random_state": 1},
    )
    problems = {one.key: one.message for one in TASK.recipe_problems(wrong, None)}
    assert set(problems) == {
        "base_model",
        "train.method",
        "train.arguments",
        "train.profile",
        "prepare.max_length",
        "prepare.augment",
        "train.estimator_arguments.max_leafs",
        "train.estimator_arguments.random_state",
    }
    assert "it offers full, scratch" in problems["train.method"]
    assert "starts from none" in problems["base_model"]
    unknown = problems["train.estimator_arguments.max_leafs"]
    assert unknown.endswith(
        "is not an argument of HistGradientBoostingClassifier. Did you mean max_leaf_nodes?"
    )
    assert "write train.seed" in problems["train.estimator_arguments.random_state"]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"train__estimator": "xgboost"}, "train.estimator", "random_forest"),
        (
            {"train__estimator_arguments": {"learning_rate": -1}},
            "train.estimator_arguments",
            "learning_rate",
        ),
        (
            {"train__estimator": "random_forest", "train__early_stopping": {"patience": 2}},
            "train.early_stopping",
            "changes nothing with random_forest",
        ),
        (
            {"evaluate": {"metrics": ["sensitivity", "specificity"], "primary": "sensitivity"}},
            "evaluate.positive",
            "sensitivity and specificity are of the label that is looked for; name it here",
        ),
        (
            {"evaluate": {"metrics": ["mcc"], "primary": "mcc", "positive": 1}},
            "evaluate.positive",
            "changes nothing, only auroc, average_precision, sensitivity, specificity go by it",
        ),
        (
            {"evaluate": {"metrics": ["calibration_error"], "primary": "calibration_error"}},
            "evaluate.primary",
            "no model can be chosen",
        ),
    ],
)
def test_recipe_problems_when_the_estimator_is_wrong_then_says_why(
    changes: dict[str, Any], key: str, message: str
) -> None:
    problems = TASK.recipe_problems(table_recipe(**changes), None)
    assert [one.key for one in problems] == [key]
    assert message in problems[0].message


def test_recipe_problems_when_a_number_has_a_positive_label_then_it_changes_nothing() -> None:
    measured = {"metrics": ["mae"], "primary": "mae", "positive": "1"}
    wrong = recipe("tabular-regression", base_model=None, evaluate=measured)
    (problem,) = load_task("tabular-regression").recipe_problems(wrong, None)
    assert "no metric of tabular-regression goes by it; remove it" in problem.message


def test_recipe_problems_when_all_is_well_then_there_are_none() -> None:
    for method in sorted(offered_beside(TASK.unfit)):
        assert TASK.recipe_problems(table_recipe(train__method=method), None) == []


def test_problems_when_a_row_is_empty_then_says_so() -> None:
    assert TASK.problems({"size": 1.0, "color": None, "label": "big"}) == []
    assert TASK.problems({"size": None, "label": "", "_row_id": "1"}) == [
        "label is empty",
        "no feature has a value",
    ]


def test_predict_base_when_asked_then_says_the_commonest_label() -> None:
    rows = table_rows(50)
    base = TASK.predict_base(Splits(rows, [], LABELS), rows[:3], None)
    assert {one.value for one in base.predictions} == {"big"}


def test_widgets_when_made_then_there_is_one_input_per_feature() -> None:
    widgets = TASK.widgets(table_rows(50))
    kinds = {options["label"]: name for name, options in widgets.inputs}
    assert kinds == {"size": "Number", "legs": "Number", "wild": "Checkbox", "color": "Dropdown"}
    choices = {o["label"]: o for _, o in widgets.inputs}["color"]["choices"]
    assert choices == ["blue", "green", "red"]
    row = widgets.to_row([3.5, None, True, "red"])
    assert row == {"size": 3.5, "legs": None, "wild": True, "color": "red"}


def test_widgets_when_nothing_is_filled_in_then_says_so() -> None:
    widgets = TASK.widgets(table_rows(50))
    with pytest.raises(DataError, match="no value to go by"):
        widgets.to_row([None, None, None, None])
    with pytest.raises(DataError, match="Feature size must be a number"):
        widgets.to_row(["x", None, None, None])


def test_example_from_rating_when_agreed_then_holds_features_and_label() -> None:
    row = {"size": 1.0, "color": None, "_row_id": "1"}
    example = rated_example(TASK, row, "small")
    assert example == {"size": 1.0, "color": None, "label": "small"}
    assert rated_example(TASK, {"size": None}, "small") is None


def test_num_parameters_when_linear_then_counts_coefficients() -> None:
    model = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0]], ["a", "b"])
    assert num_parameters(model) == 3


def test_card_when_its_usage_is_run_then_it_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path)
    asked: list[tuple[str, str]] = []

    def download(repo_id: str, *, revision: str) -> str:
        asked.append((repo_id, revision))
        return str(tmp_path / "model")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    usage = TASK.card().usage.replace("{repo_id}", "org/model").replace("{commit_sha}", "abc")
    exec(compile(usage, "usage.py", "exec"), {})
    assert asked == [("org/model", "abc")]
    assert capsys.readouterr().out.strip() in ("['big']", "['small']")


def test_row_when_told_with_a_gap_then_it_says_that_none_was_given() -> None:
    told = load_input("table").told({"age": 3.0, "place": None, "label": "a", "_row_id": "x"})
    assert told == {"features": "age: 3.0, place: none given"}
