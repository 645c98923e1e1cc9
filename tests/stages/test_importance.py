"""What each column of a table is worth, and the warning of one that gives the answer away."""

from pathlib import Path
from typing import Any

import pytest

from hub_trainer.stages.evaluate.importance import (
    draw_importance,
    leak_told,
    measure_importance,
)
from hub_trainer.tasks import ModelFolders, Splits, Task, task_of
from tests.tasks.factory import recipe, table_rows


def fitted(
    folder: Path, rows: list[dict[str, Any]], task: str = "tabular-classification", **changes: Any
) -> Task:
    of = recipe(task, base_model=None, **changes)
    made = task_of(of)
    names = sorted({row["label"] for row in rows if "label" in row})
    silent = {"base": None, "progress": lambda share, doing: None}
    made.fit(Splits(rows, rows[:20], names), of, folder, **silent)
    return made


def measured(folder: Path, change: Any, **of: Any) -> dict[str, Any]:
    """The importance to a model of rows that were changed."""
    known, sealed = ([change(row) for row in table_rows(n, seed=n)] for n in (300, 150))
    task = fitted(folder, known, **of)
    return measure_importance(task, ModelFolders(folder / "model"), sealed, seed=1)


def test_measure_importance_when_two_columns_decide_then_they_come_first(tmp_path: Path) -> None:
    found = measured(tmp_path, lambda row: row)
    assert [one["column"] for one in found["columns"][:2]] == ["size", "color"]
    size, *_, last = found["columns"]
    assert 0.1 < size["low"] < size["value"] < size["high"] < 0.6
    assert abs(last["value"]) < 0.03
    assert found["leak"] is None
    assert leak_told(found) is None
    assert (found["num_rows"], found["repeats"]) == (150, 5)
    again = measured(tmp_path / "again", lambda row: row)
    assert again == found


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "logistic_regression"])
def test_measure_importance_when_a_column_is_the_label_then_warns_of_a_leak(
    estimator: str, tmp_path: Path
) -> None:
    found = measured(
        tmp_path,
        lambda row: {**row, "grade": {"big": 2, "small": 1}[row["label"]]},
        train__estimator=estimator,
    )
    assert found["leak"]["column"] == "grade"
    assert found["leak"]["share"] > 0.8
    told = str(leak_told(found))
    assert told.startswith("the column 'grade' alone explains")
    assert told.endswith("if it is made from the answer, name it in drop_columns")


def test_measure_importance_when_numbers_are_learned_then_it_is_of_their_errors(
    tmp_path: Path,
) -> None:
    def priced(row: dict[str, Any]) -> dict[str, Any]:
        cells = {name: value for name, value in row.items() if name != "label"}
        return {**cells, "target": 10.0 * row["legs"] + (row["size"] or 5.0)}

    of = {"task": "tabular-regression", "evaluate": {"metrics": ["r2"], "primary": "r2"}}
    found = measured(tmp_path, priced, **of)
    assert [one["column"] for one in found["columns"][:2]] == ["legs", "size"]
    assert "in units of a constant answer's mean error" in found["measure"]
    assert found["columns"][0]["share"] > 0.5

    def leaking(row: dict[str, Any]) -> dict[str, Any]:
        return {**priced(row), "half": priced(row)["target"] / 2}

    leak = measured(tmp_path / "leak", leaking, **of)["leak"]
    assert leak["column"] == "half"


def test_measure_importance_when_there_is_one_column_or_nothing_to_learn_then_no_leak(
    tmp_path: Path,
) -> None:
    alone = measured(
        tmp_path / "alone", lambda row: {"legs": ord(row["label"][0]), "label": row["label"]}
    )
    assert [one["column"] for one in alone["columns"]] == ["legs"]
    assert alone["leak"] is None
    noise = measured(
        tmp_path / "noise", lambda row: {"legs": row["legs"], "wild": 1.0, "label": row["label"]}
    )
    assert noise["leak"] is None


def test_draw_importance_when_names_are_long_or_odd_then_still_draws(tmp_path: Path) -> None:
    names = ["$a^", "b" * 90, *(f"c{n}" for n in range(30))]
    columns = [{"column": n, "value": 0.1, "low": 0.0, "high": 0.2, "share": 0.1} for n in names]
    draw_importance({"columns": columns}, tmp_path / "importance.png")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")
