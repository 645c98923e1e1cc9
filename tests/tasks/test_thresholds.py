"""A threshold is chosen on validation rows, stands in the model, and decides for all who ask."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from transformers import pipeline

from hub_trainer.finetune.tables import MODEL_FILE, TRUSTED_TYPES
from hub_trainer.inputs.table_features import table_of
from hub_trainer.tasks import ModelFolders, Splits, load_task, task_of
from tests.tasks.factory import (
    image_rows,
    recipe,
    sound_rows,
    splits,
    table_rows,
    text_base,
    text_rows,
)

FAST = {"learning_rate": 3e-3, "max_steps": 2, "per_device_train_batch_size": 16}


def wanted(positive: str, sensitivity: float | None, **changes: Any) -> dict[str, Any]:
    chosen = {"threshold": {"sensitivity": sensitivity}} if sensitivity else {}
    measured = {"metrics": ["sensitivity", "accuracy"], "primary": "sensitivity"}
    return {"evaluate": {**measured, "positive": positive, **chosen}, **changes}


def fit(task: str, data: Splits, out_dir: Path, base_dir: Path | None, **changes: Any) -> Any:
    chosen = recipe(task, **changes)
    tagged = task_of(chosen)
    return tagged.fit(
        data,
        chosen,
        out_dir,
        base=base_dir and ModelFolders(base_dir),
        progress=lambda share, doing: None,
    )


def noisy_tables(labels: list[str]) -> Splits:
    """Rows whose label a model can only guess at."""
    rng = random.Random(3)
    rows = [
        {**row, "label": rng.choice(labels) if rng.random() < 0.4 else row["label"]}
        for row in table_rows(360)
    ]
    return splits(rows, num_validation=120)


def test_fit_when_a_table_has_two_labels_then_the_published_file_itself_decides(
    tmp_path: Path,
) -> None:
    data = noisy_tables(["big", "small"])
    without = wanted("small", None, base_model=None)
    plain = fit("tabular-classification", data, tmp_path / "plain", None, **without)
    assert plain.threshold is None
    of = wanted("small", 0.95, base_model=None)
    report = fit("tabular-classification", data, tmp_path, None, **of)
    chosen, config = report.threshold, json.loads((tmp_path / "model/config.json").read_text())
    assert config["thresholds"] == {"small": chosen["threshold"]}
    assert report.best_metric == chosen["sensitivity"]["value"] >= 0.95
    assert report.best_metric > plain.best_metric
    assert report.trainable_parameters == plain.trainable_parameters
    rows = table_rows(80, seed=7)
    found = load_task("tabular-classification").predict(ModelFolders(tmp_path / "model"), rows)
    anyone = skops.io.load(tmp_path / "model" / MODEL_FILE, trusted=list(TRUSTED_TYPES))
    table = table_of(rows, config["features"])
    assert anyone.predict(table).tolist() == [one.value for one in found]
    shares = anyone.predict_proba(table)[:, list(anyone.classes_).index("small")]
    assert shares == pytest.approx([one.scores["small"] for one in found])
    limit = chosen["threshold"]
    assert all((one.value == "small") == (one.scores["small"] >= limit) for one in found)
    assert any(one.value == "small" and one.scores["small"] < 0.5 for one in found)


def test_fit_when_a_table_has_three_labels_then_config_json_decides(tmp_path: Path) -> None:
    data = noisy_tables(["big", "small", "unsure"])
    of = wanted("unsure", 0.8, base_model=None)
    report = fit("tabular-classification", data, tmp_path, None, **of)
    assert report.threshold["sensitivity"]["value"] >= 0.8
    task = load_task("tabular-classification")
    found = task.predict(ModelFolders(tmp_path / "model"), data.validation)
    truth = [row["label"] == "unsure" for row in data.validation]
    given = [one.value == "unsure" for one in found]
    reached = np.mean([said for said, is_true in zip(given, truth, strict=True) if is_true])
    assert reached == report.threshold["sensitivity"]["value"]


def test_fit_when_a_text_has_a_threshold_then_the_model_says_it_to_a_plain_pipeline(
    tmp_path: Path, text_base_dir: Path
) -> None:
    data = splits(text_rows(72), num_validation=24)
    of = wanted("red", 1.0, train__arguments=FAST)
    report = fit("text-classification", data, tmp_path, text_base_dir, **of)
    assert report.threshold["sensitivity"]["value"] == 1
    folder = tmp_path / "model"
    classify = pipeline("text-classification", model=str(folder))
    limit = classify.model.config.thresholds["red"]
    assert limit == report.threshold["threshold"]
    rows = text_rows(30, seed=5)
    found = load_task("text-classification").predict(ModelFolders(folder), rows)
    for row, one in zip(rows, found, strict=True):
        said = {each["label"]: each["score"] for each in classify(row["text"], top_k=None)}
        assert (one.value == "red") == (said["red"] >= limit)


def test_fit_when_the_base_had_a_threshold_and_none_is_wanted_then_the_model_has_none(
    tmp_path: Path,
) -> None:
    base = text_base(tmp_path / "base", ["blue", "green", "red"])
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "thresholds": {"red": 0.01}}))
    data = splits(text_rows(48), num_validation=12)
    report = fit("text-classification", data, tmp_path, base, train__arguments=FAST)
    assert report.threshold is None
    assert "thresholds" not in json.loads((tmp_path / "model/config.json").read_text())


@pytest.mark.parametrize(
    ("task", "rows", "base"),
    [
        ("image-classification", image_rows(48), "image_base_dir"),
        ("audio-classification", sound_rows(36), "sound_base_dir"),
    ],
)
def test_fit_when_a_picture_or_sound_has_a_threshold_then_predictions_go_by_it(
    task: str,
    rows: list[dict[str, Any]],
    base: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    data = splits(rows, num_validation=18)
    of = wanted("red", 1.0, train__arguments=FAST)
    report = fit(task, data, tmp_path, request.getfixturevalue(base), **of)
    found = load_task(task).predict(ModelFolders(tmp_path / "model"), data.validation)
    limit = report.threshold["threshold"]
    assert json.loads((tmp_path / "model/config.json").read_text())["thresholds"] == {"red": limit}
    assert [one.value == "red" for one in found] == [one.scores["red"] >= limit for one in found]
    assert all(
        one.value == "red"
        for one, row in zip(found, data.validation, strict=True)
        if row["label"] == "red"
    )


@pytest.mark.parametrize(
    ("task", "measured", "message"),
    [
        (
            "tabular-classification",
            {"metrics": ["accuracy"], "primary": "accuracy"},
            "is of the label that is looked for; name it too: evaluate.positive",
        ),
        (
            "tabular-regression",
            {"metrics": ["mae"], "primary": "mae"},
            "the answer of tabular-regression here is not one label",
        ),
        (
            "token-classification",
            {"metrics": ["entity_f1"], "primary": "entity_f1"},
            "the answer of token-classification here is not one label",
        ),
    ],
)
def test_recipe_problems_when_a_threshold_has_no_label_then_says_why(
    task: str, measured: dict[str, Any], message: str
) -> None:
    of = {**measured, "threshold": {"sensitivity": 0.9}}
    based = {} if task.startswith("token") else {"base_model": None}
    wrong = recipe(task, evaluate=of, **based)
    problems = load_task(task).recipe_problems(wrong, None)
    (problem,) = [one for one in problems if one.key == "evaluate.threshold"]
    assert message in problem.message


def test_recipe_problems_when_a_positive_label_has_a_threshold_then_no_metric_needs_it() -> None:
    measured = {"metrics": ["accuracy"], "primary": "accuracy", "positive": "big"}
    of = recipe(
        "tabular-classification",
        base_model=None,
        evaluate={**measured, "threshold": {"sensitivity": 0.9}},
    )
    assert load_task("tabular-classification").recipe_problems(of, None) == []


@pytest.mark.parametrize("sensitivity", [0, 1.1, "high"])
def test_recipe_when_the_wanted_sensitivity_is_no_share_then_is_refused(sensitivity: Any) -> None:
    measured = {"metrics": ["accuracy"], "primary": "accuracy", "positive": "big"}
    with pytest.raises(ValueError, match=r"evaluate\.threshold\.sensitivity"):
        recipe(
            "tabular-classification",
            evaluate={**measured, "threshold": {"sensitivity": sensitivity}},
        )
