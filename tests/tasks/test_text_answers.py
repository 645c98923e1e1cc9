"""Text classification where the answer is a set of labels or a number: learns, loads, predicts."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, pipeline

from hub_trainer.errors import RecipeError
from hub_trainer.finetune.heads import best_thresholds
from hub_trainer.tasks import ModelFolders, Splits, load_task, task_of
from hub_trainer.tasks.outlines import answer_of
from tests.tasks.factory import LABELS, WORDS, recipe, text_base

TASK = "text-classification"
SETTINGS = {
    "learning_rate": 0.003,
    "num_train_epochs": 25,
    "per_device_train_batch_size": 16,
    "report_to": "none",
}
METRICS = {"labels": "f1_micro", "number": "r2"}


def silent(share: float, doing: str) -> None:
    pass


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts with some colours among other words; `target` is 100 more for each of them."""
    rng, found = random.Random(seed), []
    for index in range(count):
        chosen = [name for name in LABELS if rng.random() < 0.45]
        words = [*rng.choices(WORDS[:8], k=rng.randint(3, 8)), *chosen]
        rng.shuffle(words)
        found.append(
            {
                "text": " ".join(words),
                "labels": sorted(chosen),
                "target": 1000.0 + 100 * len(chosen),
                "_row_id": f"{seed}-{index}",
            }
        )
    return found


def fitted(out_dir: Path, base_dir: Path, answer: str, **changes: Any) -> Path:
    task = load_task(TASK, answer)
    metric = METRICS[answer]
    settings = recipe(
        TASK,
        evaluate__metrics=[metric],
        evaluate__primary=metric,
        **{"train__arguments": SETTINGS, **changes},
    )
    splits = Splits(rows(240, 0), rows(60, 1), LABELS if answer == "labels" else [])
    task.fit(
        splits,
        settings,
        out_dir,
        base=ModelFolders(base_dir) if base_dir else None,
        progress=silent,
    )
    return out_dir / "model"


def measured(folder: Path, answer: str) -> float:
    task, test = load_task(TASK, answer), rows(80, 2)
    references = [row[task.answer.column] for row in test]
    found = task.predict(ModelFolders(folder), test)
    names = LABELS if answer == "labels" else []
    metric = METRICS[answer]
    return task.answer.estimates([metric], references, found, names, seed=0)[metric].value


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("answer", METRICS)
def test_fit_when_done_then_a_strangers_pipeline_says_the_same(
    answer: str, base: Path, tmp_path: Path
) -> None:
    folder = fitted(tmp_path, base, answer)
    assert measured(folder, answer) > 0.9
    test = rows(6, 3)
    found = load_task(TASK, answer).predict(ModelFolders(folder), test)
    stranger: Any = pipeline(TASK, model=str(folder))
    said = stranger([row["text"] for row in test], top_k=None)
    if answer == "number":
        assert [one.value for one in found] == pytest.approx(
            [s[0]["score"] for s in said], rel=1e-5
        )
        return
    thresholds = AutoConfig.from_pretrained(folder).thresholds
    chosen = [
        {one["label"] for one in entry if one["score"] >= thresholds[one["label"]]}
        for entry in said
    ]
    assert [set(one.value) for one in found] == chosen


@pytest.mark.parametrize("answer", METRICS)
@pytest.mark.parametrize("method", ["head", "lora", "scratch"])
def test_fit_when_the_method_is_another_then_it_learns_as_well(
    method: str, answer: str, base: Path, tmp_path: Path
) -> None:
    folder = fitted(tmp_path, base, answer, train__method=method)
    assert measured(folder, answer) > (0.3 if method == "head" else 0.6)


def test_fit_when_it_goes_on_from_its_own_model_then_the_head_is_kept(
    base: Path, tmp_path: Path
) -> None:
    first = fitted(tmp_path / "first", base, "number")
    few = {**SETTINGS, "num_train_epochs": 1, "learning_rate": 1e-6}
    again = fitted(tmp_path / "again", first, "number", train__arguments=few)
    assert measured(again, "number") == pytest.approx(measured(first, "number"), abs=0.01)


@pytest.mark.parametrize("answer", METRICS)
def test_predict_base_when_untouched_then_says_how_it_was_asked(answer: str, base: Path) -> None:
    task = load_task(TASK, answer)
    splits = Splits(rows(60, 0), [], LABELS if answer == "labels" else [])
    found = task.predict_base(splits, rows(8, 1), ModelFolders(base))
    assert "untouched base model" in found.description
    assert len(found.predictions) == 8
    nothing = task.predict_base(splits, rows(8, 1), None)
    assert "training rows" in nothing.description


def test_thresholds_when_chosen_then_the_best_f1_of_each_label() -> None:
    import numpy as np

    scores = np.array([[0.9, 0.2], [0.4, 0.3], [0.3, 0.1], [0.1, 0.05]])
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    assert best_thresholds(scores, truth).tolist() == pytest.approx([0.35, 0.5])


def test_thresholds_when_chosen_over_all_then_no_others_are_better() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((25, 3)) < np.array([0.5, 0.2, 0.05])).astype(float)
    truth[0] = 1.0
    scores = np.clip(0.4 * truth + 0.6 * rng.random((25, 3)), 0, 1).round(2)

    def micro(limits: Any) -> float:
        given = scores >= limits
        return float(2 * (given * truth).sum() / (given.sum() + truth.sum()))

    found = best_thresholds(scores, truth, over_all=True)
    grids = [np.r_[np.unique(scores[:, place]), 1.1] for place in range(3)]
    best = max(micro(np.array([a, b, c])) for a in grids[0] for b in grids[1] for c in grids[2])
    assert micro(found) == pytest.approx(best)
    assert micro(found) >= micro(best_thresholds(scores, truth))
    assert best_thresholds(scores, 0 * truth, over_all=True).tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("task", "columns", "answer"),
    [
        (TASK, {}, None),
        (TASK, {"labels": "tags"}, "labels"),
        (TASK, {"target": "score"}, "number"),
        ("tabular-regression", {"target": "price"}, "number"),
    ],
)
def test_answer_when_the_columns_name_it_then_the_task_learns_that(
    task: str, columns: dict[str, str], answer: str | None
) -> None:
    base = {} if task == TASK else {"base_model": None}
    made = recipe(task, collect__datasets=[{"repo_id": "org/data", "columns": columns}], **base)
    assert answer_of(made) == answer
    learned = task_of(made)
    assert (learned.name, learned.answer.name) == (task, answer or "label")


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("image-classification", {"labels": "tags"}, "image-classification learns label"),
        ("tabular-classification", {"target": "y"}, "target is what .*tabular-regression .*learn;"),
        ("tabular-regression", {"label": "y"}, "tabular-regression learns target"),
        (TASK, {"labels": "a", "target": "b"}, "labels and target are two answers"),
    ],
)
def test_answer_when_it_is_none_of_the_task_then_says_which_learn_it(
    task: str, columns: dict[str, str], message: str
) -> None:
    base = {} if task == TASK else {"base_model": None}
    made = recipe(task, collect__datasets=[{"repo_id": "org/data", "columns": columns}], **base)
    with pytest.raises(RecipeError, match=message):
        task_of(made)


def test_keys_of_one_label_when_there_is_none_then_refused(base: Path) -> None:
    train = {"class_weights": True, "arguments": {"label_smoothing_factor": 0.1}}
    made = recipe(TASK, evaluate__metrics=["r2"], evaluate__primary="r2", train=train)
    found = load_task(TASK, "number").recipe_problems(made, None)
    assert [one.message for one in found] == [
        f"{key}: changes nothing in text-classification; remove it"
        for key in ("train.class_weights", "train.arguments.label_smoothing_factor")
    ]


def test_answers_when_a_card_is_made_then_the_usage_fits_them() -> None:
    for name, said in (("labels", "thresholds"), ("number", "estimate(")):
        assert said in load_task(TASK, name).card().usage


@pytest.mark.parametrize(
    ("answer", "loss", "told"),
    [
        ("number", "focal", "focal is no loss of numbers; use huber, or remove it"),
        ("label", "huber", "huber is no loss of labels; use focal, or remove it"),
        ("labels", "huber", "huber is no loss of sets of labels; use focal, or remove it"),
        ("labels", "focal", None),
        ("number", {"name": "huber", "delta": 0.5}, None),
    ],
)
def test_loss_when_it_does_not_suit_the_answer_then_says_which_does(
    answer: str, loss: Any, told: str | None
) -> None:
    task = load_task(TASK, answer)
    metric = task.answer.usual_metrics[0]
    made = recipe(TASK, evaluate__metrics=[metric], evaluate__primary=metric, train__loss=loss)
    found = [one.message for one in task.recipe_problems(made, None)]
    assert found == ([f"train.loss: {told}"] if told else [])


def test_class_weights_of_sets_when_fitted_then_having_a_label_counts_as_not_having_it(
    base: Path, tmp_path: Path
) -> None:
    few, shares = {**SETTINGS, "num_train_epochs": 2}, []
    for weights in (False, True):
        changes = {"train__class_weights": weights, "train__arguments": few}
        folder = fitted(tmp_path / str(weights), base, "labels", **changes)
        found = load_task(TASK, "labels").predict(ModelFolders(folder), rows(60, 5))
        shares.append(sum(sum(one.scores.values()) for one in found))
    assert shares[1] > shares[0]
