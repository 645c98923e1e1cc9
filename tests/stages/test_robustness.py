"""What a model loses on perturbed rows: measured on the same rows, by every kind of answer."""

from pathlib import Path
from typing import Any

import pytest

from hub_trainer.answers import Questions
from hub_trainer.cards.results import _perturbed_told
from hub_trainer.stages.evaluate import robustness
from hub_trainer.stages.evaluate.robustness import Loss
from hub_trainer.tasks import ModelFolders, Splits, Task, load_task
from tests.tasks.factory import (
    image_base,
    image_rows,
    recipe,
    table_rows,
    tagged_rows,
    text_base,
    text_rows,
)

ARGUMENTS = {"learning_rate": 3e-3, "num_train_epochs": 6, "per_device_train_batch_size": 16}
CASES: dict[str, Any] = {
    "text-classification": (text_base, text_rows, "accuracy", "typos"),
    "token-classification": (text_base, tagged_rows, "entity_f1", "typos"),
    "image-classification": (image_base, image_rows, "accuracy", "blur"),
}


def names_of(task: Task, rows: Any) -> list[str]:
    values = [row[task.answer.column] for row in rows]
    return task.answer.names(values, [])


@pytest.mark.parametrize("name", CASES)
def test_loss_when_rows_are_perturbed_then_is_of_the_same_rows(name: str, tmp_path: Path) -> None:
    base, rows, primary, kind = CASES[name]
    task, folder = load_task(name), base(tmp_path / "base")
    known, asked = rows(90), rows(40, seed=2)
    names = names_of(task, known)
    wanted = recipe(
        name,
        evaluate__metrics=[primary],
        evaluate__primary=primary,
        train__arguments={**ARGUMENTS, "report_to": "none"},
    )
    task.fit(
        Splits(known, rows(20, seed=1), names),
        wanted,
        tmp_path / "out",
        base=ModelFolders(folder),
        progress=lambda *_: None,
    )
    folders = ModelFolders(tmp_path / "out" / "model")
    found = task.predict(folders, asked)
    questions = Questions(asked, [row[task.answer.column] for row in asked])
    loss = Loss(task, folders, primary, names, 0)
    lost = loss.measure(questions, found)
    assert lost is not None
    assert (lost["name"], lost["num_examples"], lost["metric"]) == (kind, 40, primary)
    change = lost["difference"]
    gap = lost["perturbed"]["value"] - lost["plain"]["value"]
    assert change["value"] == pytest.approx(gap)
    assert change["low"] <= change["value"] <= change["high"]
    if kind == "typos":  # every word of these texts is one the model knows only as it is written
        assert gap < -0.05
    assert loss.measure(questions, found) == lost
    assert Loss(task, folders, primary, names, 1).measure(questions, found) is not None
    told = _perturbed_told(lost)
    assert told.startswith(f"Of 40 of these examples, read {lost['told'][:8]}")
    assert f"{change['value']:+.4f}" in told


def test_loss_when_there_are_many_rows_then_some_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "MAX_ROWS", 10)
    task, folder, asked = load_task("text-classification"), text_base(tmp_path), text_rows(25)
    names = names_of(task, asked)
    answers = task.predict_base(Splits(asked, [], names), asked, ModelFolders(folder))
    assert answers is not None
    read: list[Any] = []

    class Counted:
        modality, answer = task.modality, task.answer

        def predict(self, folders: Any, rows: Any) -> Any:
            read.extend(rows)
            return answers.predictions[: len(rows)]

    loss = Loss(Counted(), ModelFolders(folder), "accuracy", names, 0)  # type: ignore[arg-type]
    lost = loss.measure(
        Questions(asked, [row["label"] for row in asked]),
        task.answer.over(answers.predictions, names),
    )
    assert lost is not None
    assert lost["num_examples"] == len(read) == 9


def test_loss_when_nothing_can_go_wrong_then_there_is_none(tmp_path: Path) -> None:
    table, rows = load_task("tabular-classification"), table_rows(5)
    questions = Questions(rows, [row["label"] for row in rows])
    assert Loss(table, ModelFolders(tmp_path), "accuracy", [], 0).measure(questions, []) is None
    text = load_task("text-classification")
    short = [{"text": "a b", "label": "x"}]
    questions = Questions(short, ["x"])
    assert Loss(text, ModelFolders(tmp_path), "accuracy", ["x"], 0).measure(questions, []) is None
    assert _perturbed_told(None) == ""
