import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn import metrics as oracle

from hub_trainer.artifacts import Artifact, write_artifact
from hub_trainer.errors import DataError
from hub_trainer.hub import Hub
from hub_trainer.lineage import RoundRecord
from hub_trainer.local_hub import LocalHub
from hub_trainer.recipe import Recipe
from hub_trainer.reports import Results
from hub_trainer.stages import evaluate, train
from hub_trainer.stages.evaluate import probe_baseline as probe
from hub_trainer.stages.evaluate.probe_baseline import probe_answers
from hub_trainer.tasks import Splits, load_task
from hub_trainer.tasks.tabular import TASK
from tests.stages.prepared import prepare_round, push_model
from tests.tasks.factory import (
    image_base,
    image_rows,
    recipe,
    table_rows,
    text_base,
    text_rows,
)

TASK_OF = {
    modality: load_task(name)
    for modality, name in {
        "text": "text-classification",
        "image": "image-classification",
        "table": "tabular-classification",
    }.items()
}

Rows = Sequence[Mapping[str, Any]]
ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 2, "per_device_train_batch_size": 16}


def table_recipe(**changes: Any) -> Recipe:
    return recipe("tabular-classification", base_model=None, **changes)


@pytest.fixture
def name(local: LocalHub, tmp_path: Path) -> str:
    return f"{local.user}/{tmp_path.name.lower()}-model"


def fitted(folder: Path, rows: Rows, label_names: Sequence[str] = ("big", "small")) -> Path:
    """A table's model fitted on other rows than the round's."""
    TASK.fit(
        Splits(rows, [], label_names),
        table_recipe(),
        folder,
        base=None,
        progress=lambda share, doing: None,
    )
    return folder / "model"


def noisy(rows: Rows, fraction: float, labels: Sequence[str] = ("big", "small")) -> Rows:
    """The rows with a share of the labels drawn at random."""
    rng = random.Random(2)
    return [
        {**row, "label": rng.choice(labels)} if rng.random() < fraction else row for row in rows
    ]


def results(made: Artifact) -> Results:
    return Results.from_json(json.loads((made.folder / "results.json").read_text()))


def evaluated(
    tmp_path: Path, hub: Hub, name: str, *, published: Path | None = None, **changes: Any
) -> Artifact:
    """A table's round trained and evaluated, against a published model if there is one."""
    parent = push_model(hub, name, published).commit_sha if published else None
    chosen = table_recipe(publish__repo_id=name, **changes)
    folder = prepare_round(
        tmp_path / "round", table_rows(300), table_rows(200, seed=8), parent=parent, round_index=2
    )
    train.run(chosen, folder, hub)
    return evaluate.run(chosen, folder, hub)


def test_run_when_it_is_the_first_round_then_compares_with_a_constant(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    made = evaluated(tmp_path, hub, name)
    found = results(made)
    assert (found.answer, found.writing) == ("label", None)
    assert set(found.detail) == {"per_label", "confusion", "calibration", "importance"}
    assert found.published is None
    assert found.comparison is None
    assert found.num_examples == 200
    accuracy = found.metrics["accuracy"]
    assert 0.9 < accuracy["low"] < accuracy["value"] < accuracy["high"] <= 1
    assert found.metrics["f1_macro"]["low"] < found.metrics["f1_macro"]["value"]
    assert found.gate["verdict"] == "promote"
    assert found.gate["against"] == "baseline"
    assert "a constant answer" in found.gate["reasons"][0]
    assert (found.gate["alpha"], found.gate["look"]) == (0.05, 1)
    assert found.base is None
    constant, probe = found.baselines
    assert (constant.name, probe.name) == ("constant", "probe")
    assert "commonest label" in constant.description
    assert constant.metrics["accuracy"]["value"] < accuracy["low"]
    assert probe.description.startswith("logistic regression on the table's features, fitted on")
    assert set(probe.metrics["f1_macro"]) == {"value", "low", "high"}
    assert [floor["against"] for floor in found.gate["floors"]] == ["probe"]
    assert found.validation.num_examples == 60
    assert 0.9 < found.validation.metrics["accuracy"]["value"] <= 1
    assert [one["label"] for one in found.detail["per_label"]] == ["big", "small"]
    assert sum(one["support"] for one in found.detail["per_label"]) == 200
    assert found.detail["confusion"]["labels"] == ["big", "small"]
    counts = found.detail["confusion"]["counts"]
    assert (counts[0][0] + counts[1][1]) / 200 == pytest.approx(accuracy["value"])
    assert 0 <= found.detail["calibration"]["ece"] < 0.2
    assert (made.folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (made.folder / "importance.png").read_bytes().startswith(b"\x89PNG")
    assert made.outputs["warnings"] == []
    assert made.outputs["metrics"] == found.metrics
    assert made.outputs["gate"]["verdict"] == "promote"


MEDICAL = [
    *("auroc", "sensitivity", "specificity", "brier", "calibration_error"),
    "average_precision",
]


@pytest.mark.parametrize("primary", ["auroc", "sensitivity", "brier"])
def test_run_when_probabilities_are_measured_then_as_scikit_learn_does(
    tmp_path: Path, hub: Hub, name: str, primary: str
) -> None:
    measured = {"metrics": MEDICAL, "primary": primary, "positive": "small"}
    made = evaluated(tmp_path, hub, name, evaluate=measured)
    found, rows = results(made), pq.read_table(made.folder / "predictions.parquet").to_pylist()
    truth = [row["reference"] == "small" for row in rows]
    given = [row["prediction"] == "small" for row in rows]
    scores = [one["score"] for row in rows for one in row["scores"] if one["name"] == "small"]
    expected = {
        "auroc": oracle.roc_auc_score(truth, scores),
        "average_precision": oracle.average_precision_score(truth, scores),
        "brier": oracle.brier_score_loss(truth, scores),
        "sensitivity": oracle.recall_score(truth, given),
        "specificity": oracle.recall_score(truth, given, pos_label=False),
        "calibration_error": found.detail["calibration"]["ece"],
    }
    assert list(found.metrics) == MEDICAL
    for metric, value in expected.items():
        estimate = found.metrics[metric]
        assert estimate["value"] == pytest.approx(value, abs=1e-9), metric
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    constant, probe = found.baselines
    assert constant.metrics["auroc"]["value"] == 0.5
    assert constant.metrics["sensitivity"]["value"] == 0
    assert 0.8 < probe.metrics["auroc"]["value"] < 1
    gate = found.gate
    assert (gate["metric"], gate["verdict"], gate["lower_is_better"]) == (
        *(primary, "promote"),
        primary == "brier",
    )
    assert gate["num_examples"] == (sum(truth) if primary == "sensitivity" else 200)


def test_run_when_a_threshold_is_wanted_then_all_go_by_decided_labels(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    measured = {"metrics": ["specificity", "sensitivity"], "primary": "specificity"}
    measured |= {"positive": "small", "threshold": {"sensitivity": 1.0}, "slices": ["legs"]}
    made = evaluated(tmp_path, hub, name, evaluate=measured)
    found, rows = results(made), pq.read_table(made.folder / "predictions.parquet").to_pylist()
    chosen = json.loads((tmp_path / "round/train/fit.json").read_text())["threshold"]
    scores = [{one["name"]: one["score"] for one in row["scores"]} for row in rows]
    given = [one["small"] >= chosen["threshold"] for one in scores]
    assert given == [row["prediction"] == "small" for row in rows]
    assert given != [one["small"] >= 0.5 for one in scores]
    truth = [row["reference"] == "small" for row in rows]
    specificity = oracle.recall_score(truth, given, pos_label=False)
    assert found.metrics["specificity"]["value"] == pytest.approx(specificity)
    assert found.detail["positive"]["specificity"] == found.metrics["specificity"]
    parts = found.detail["positive_slices"]
    assert [(one["column"], one["value"]) for one in parts] == [("legs", n) for n in "234"]
    assert sum(one["num_negative"] for one in parts) == 200 - sum(truth)
    right = sum(one["specificity"]["value"] * one["num_negative"] for one in parts)
    assert right / (200 - sum(truth)) == pytest.approx(specificity)
    assert found.validation.metrics is not None
    assert found.validation.metrics["sensitivity"]["value"] == 1 == chosen["wanted"]
    probe = found.baselines[-1].metrics
    assert probe["sensitivity"]["value"] > 0.95
    assert probe["specificity"]["value"] < specificity


def test_train_when_no_validation_row_has_the_positive_label_then_stops_before(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    measured = {"metrics": ["accuracy"], "primary": "accuracy", "positive": "small"}
    chosen = table_recipe(
        publish__repo_id=name, evaluate={**measured, "threshold": {"sensitivity": 0.9}}
    )
    big, small = ([r for r in table_rows(300) if r["label"] == name] for name in ("big", "small"))
    rows = [(small if n % 5 else big)[n] for n in range(80)]  # every fifth is for validation
    folder = prepare_round(tmp_path / "round", rows, table_rows(50, seed=8))
    with pytest.raises(DataError, match="No validation row has the label") as caught:
        train.run(chosen, folder, hub)
    assert caught.value.where == "evaluate.threshold"


def test_run_when_the_published_model_ranks_as_well_then_slices_are_of_its_labels(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    published = fitted(tmp_path / "published", table_rows(300))
    measured = {"metrics": ["auroc"], "primary": "auroc", "slices": ["color"]}
    found = results(evaluated(tmp_path, hub, name, published=published, evaluate=measured))
    assert (found.gate["against"], found.gate["method"]) == ("published", "permutation")
    assert {one["column"] for one in found.gate["slices"]} == {"label", "color"}
    assert set(found.published) == {"auroc"}


@pytest.mark.parametrize(
    ("positive", "message"),
    [("smal", "is none of the labels"), (None, "Of two labels average_precision is of the one")],
)
def test_train_when_the_positive_label_is_not_known_then_stops_before(
    tmp_path: Path, hub: Hub, name: str, positive: str | None, message: str
) -> None:
    measured = {"metrics": ["average_precision"], "primary": "average_precision"}
    with pytest.raises(DataError, match=message) as caught:
        evaluated(tmp_path, hub, name, evaluate={**measured, "positive": positive})
    assert caught.value.where == "evaluate.positive"


def test_run_when_done_then_predictions_agree_with_the_metrics(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    made = evaluated(tmp_path, hub, name)
    rows = pq.read_table(made.folder / "predictions.parquet").to_pylist()
    assert list(rows[0]) == ["_row_id", "reference", "prediction", "score", "scores"]
    assert [row["_row_id"] for row in rows] == [row["_row_id"] for row in table_rows(200, seed=8)]
    accuracy = results(made).metrics["accuracy"]["value"]
    assert sum(row["score"] for row in rows) / len(rows) == pytest.approx(accuracy)
    for row in rows:
        assert row["score"] == float(row["prediction"] == row["reference"])
        assert [one["name"] for one in row["scores"]] == ["big", "small"]
        assert sum(one["score"] for one in row["scores"]) == pytest.approx(1)


def test_run_when_examples_are_shown_then_none_is_sealed(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    shown = results(evaluated(tmp_path, hub, name)).examples
    assert len(shown) == 6
    assert set(shown[0]) == {"features", "reference", "prediction"}
    sealed = [str(row["size"]) for row in table_rows(200, seed=8) if row["size"]]
    assert not any(size in one["features"] for one in shown for size in sealed)


def test_run_when_better_than_the_published_then_promotes(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    worse = fitted(tmp_path / "old", noisy(table_rows(80, seed=3), 0.6))
    made = evaluated(tmp_path, hub, name, published=worse)
    found = results(made)
    gate, comparison = found.gate, found.comparison
    assert (gate["verdict"], gate["against"]) == ("promote", "published")
    assert comparison.p_value < 0.01
    assert comparison.mcnemar_p_value == comparison.p_value
    difference = comparison.difference
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    expected = found.metrics["accuracy"]["value"] - found.published["accuracy"]["value"]
    assert difference["value"] == pytest.approx(expected)
    assert {one["column"] for one in gate["slices"]} == {"label"}
    rows = pq.read_table(made.folder / "predictions.parquet").to_pylist()
    old = sum(row["published_score"] for row in rows) / len(rows)
    assert old == pytest.approx(found.published["accuracy"]["value"])
    assert {"published_prediction", "published_scores"} <= set(rows[0])


def test_run_when_it_is_the_published_model_again_then_holds(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    rows = [row for index, row in enumerate(table_rows(300)) if index % 5]
    found = results(
        evaluated(tmp_path, hub, name, published=fitted(tmp_path / "old", rows), train__seed=0)
    )
    assert found.gate["verdict"] == "hold"
    assert found.comparison.difference["value"] == 0
    assert found.metrics == found.published


def test_run_when_a_slice_is_worse_then_rejects_and_names_it(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    good = fitted(tmp_path / "old", table_rows(300))
    parent = push_model(hub, name, good).commit_sha
    chosen = table_recipe(publish__repo_id=name, evaluate__slices=["legs", "site"])
    spoilt = [
        {**row, "label": "small"} if row["legs"] == 4 else row for row in table_rows(300, seed=6)
    ]
    sites = [
        [{**row, "_slice_site": "north" if row["legs"] == 4 else "south"} for row in rows]
        for rows in (spoilt, table_rows(200, seed=8))
    ]
    folder = prepare_round(tmp_path, *sites, parent=parent)
    train.run(chosen, folder, hub)
    gate = results(evaluate.run(chosen, folder, hub)).gate
    assert gate["verdict"] == "reject"
    config = json.loads((tmp_path / "train/model/config.json").read_text())
    assert "site" not in "".join(config["features"])  # the model does not see it
    worst = gate["slices"][0]
    assert worst["regressed"]
    assert {one["column"] for one in gate["slices"]} == {"label", "legs", "site"}
    assert any("legs = 4" in reason for reason in gate["reasons"])


def test_run_when_the_published_model_lacks_a_label_then_that_counts_as_wrong(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    rows = [
        {**row, "label": "huge" if row["label"] == "big" else "small"} for row in table_rows(90)
    ]
    old = fitted(tmp_path / "old", rows, ["huge", "small"])
    found = results(evaluated(tmp_path, hub, name, published=old))
    small = next(one["support"] for one in found.detail["per_label"] if one["label"] == "small")
    assert found.published["accuracy"]["value"] == pytest.approx(small / 200)
    assert found.gate["verdict"] == "promote"


def test_run_when_no_label_is_shared_then_says_so(tmp_path: Path, hub: Hub, name: str) -> None:
    rows = [{**row, "label": row["label"].upper()} for row in table_rows(90)]
    old = fitted(tmp_path / "old", rows, ["BIG", "SMALL"])
    with pytest.raises(DataError, match="no label in common") as caught:
        evaluated(tmp_path, hub, name, published=old)
    assert caught.value.got == "BIG, SMALL"
    assert not (tmp_path / "round" / "evaluate").exists()


def test_run_when_inputs_are_the_same_then_does_nothing(
    tmp_path: Path, hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = evaluated(tmp_path, hub, name)
    monkeypatch.setattr(evaluate, "task_of", lambda recipe: pytest.fail("evaluated again"))
    again = evaluate.run(table_recipe(publish__repo_id=name), tmp_path / "round", hub)
    assert again.digest == made.digest


def test_run_when_rounds_came_before_then_spends_less_alpha(
    tmp_path: Path, hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = results(evaluated(tmp_path / "1", hub, name)).gate
    held = [_record(1, "hold"), _record(2, "hold")]
    monkeypatch.setattr(evaluate, "read_rounds", lambda hub, repo_id: held)
    later = results(evaluated(tmp_path / "2", hub, name)).gate
    assert (first["look"], later["look"]) == (1, 2)
    assert later["alpha_spent"] < first["alpha_spent"]


def _record(index: int, verdict: str) -> RoundRecord:
    empty: dict[str, Any] = dict.fromkeys(RoundRecord.__dataclass_fields__)
    return RoundRecord(**{**empty, "round": index, "gate": {"verdict": verdict}})


def test_run_when_a_slice_column_is_missing_then_says_which(
    tmp_path: Path, hub: Hub, name: str
) -> None:
    worse = fitted(tmp_path / "old", table_rows(90))
    with pytest.raises(DataError, match=r"evaluate\.slices names region") as caught:
        evaluated(tmp_path, hub, name, published=worse, evaluate__slices=["region"])
    assert "legs" in str(caught.value.got)


def test_run_when_there_are_no_test_rows_then_says_so(tmp_path: Path, hub: Hub, name: str) -> None:
    chosen = table_recipe(publish__repo_id=name)
    folder = prepare_round(tmp_path, table_rows(60), [])
    train.run(chosen, folder, hub)
    with pytest.raises(DataError, match="no test rows"):
        evaluate.run(chosen, folder, hub)


@pytest.mark.parametrize("missing", ["train", "prepare"])
def test_run_when_an_earlier_stage_is_missing_then_names_it(
    missing: str, tmp_path: Path, hub: Hub
) -> None:
    prepare_round(tmp_path, table_rows(60), [])
    with write_artifact(tmp_path / "train", {}):
        pass
    (tmp_path / missing / "manifest.json").unlink()
    with pytest.raises(DataError, match=f"Stage {missing} has not been run"):
        evaluate.run(table_recipe(), tmp_path, hub)


def test_run_when_there_is_a_base_model_then_measures_it_too(
    tmp_path: Path, hub: Hub, local: LocalHub, name: str
) -> None:
    pinned = push_model(hub, f"{name}-base", text_base(tmp_path / "base"))
    chosen = recipe(
        "text-classification",
        base_model=pinned.repo_id,
        publish__repo_id=name,
        train__arguments=ARGUMENTS,
    )
    folder = prepare_round(tmp_path, text_rows(60), text_rows(30, seed=4), base_model=pinned)
    train.run(chosen, folder, hub)
    found = results(evaluate.run(chosen, folder, hub))
    assert "nearest mean embedding" in found.base.description
    assert [one.name for one in found.baselines] == ["constant", "base", "probe"]
    assert set(found.examples[0]) == {"text", "reference", "prediction"}
    assert [one["label"] for one in found.detail["per_label"]] == ["blue", "green", "red"]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_run_when_a_first_model_is_below_base_or_probe_then_it_is_not_promoted(
    tmp_path: Path, hub: Hub, local: LocalHub, name: str, kind: str
) -> None:
    """It learned too little to beat what its own base and a linear model give away."""
    base, rows = (text_base, text_rows) if kind == "text" else (image_base, image_rows)
    pinned = push_model(hub, f"{name}-base", base(tmp_path / "base"))
    chosen = recipe(
        f"{kind}-classification",
        base_model=pinned.repo_id,
        publish__repo_id=name,
        train__arguments={**ARGUMENTS, "learning_rate": 1e-9, "num_train_epochs": 1},
    )
    folder = prepare_round(tmp_path, rows(90), rows(150, seed=4), base_model=pinned)
    train.run(chosen, folder, hub)
    found = results(evaluate.run(chosen, folder, hub))
    figures = {one.name: one.metrics["accuracy"]["value"] for one in found.baselines}
    mine = found.metrics["accuracy"]["value"]
    assert mine < max(figures["base"], figures["probe"])
    assert found.gate["verdict"] in ("hold", "reject")
    assert any("the base model as it is" in reason for reason in found.gate["reasons"])


@pytest.mark.parametrize(
    ("modality", "rows", "told"),
    [
        (
            "text",
            [{"text": f"{w} {i}", "label": w} for i in range(9) for w in ("aa", "bb")],
            "words",
        ),
        ("text", [{"text": w * 5, "label": w} for _ in range(9) for w in "好坏"], "characters"),
        ("table", [{"n": float(i), "label": "ab"[i > 5]} for i in range(12)], "table's features"),
    ],
)
def test_probe_when_the_rows_say_it_all_then_it_is_right(
    modality: str, rows: Rows, told: str
) -> None:
    found = probe_answers(TASK_OF[modality], rows, rows, seed=0)
    assert found is not None
    assert told in found.description
    assert [one.value for one in found.predictions] == [row["label"] for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "one label", "label": "a"}] * 4,
        [{"text": "", "label": "a"}, {"text": "", "label": "b"}],
    ],
)
def test_probe_when_there_is_nothing_to_learn_then_there_is_none(rows: Rows) -> None:
    assert probe_answers(TASK_OF["text"], rows, rows, seed=0) is None


def test_probe_when_there_are_many_rows_then_a_share_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "MAX_ROWS", 40)
    found = probe_answers(TASK_OF["text"], text_rows(90), text_rows(9), seed=0)
    assert found is not None
    assert found.description.endswith("fitted on 40 training rows, drawn from 90")
