"""Columns of tables that are neither numbers nor categories: dates, and texts of several words."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import skops.io

from hub_trainer.errors import DataError
from hub_trainer.finetune.tables import ESTIMATORS, MODEL_FILE, TRUSTED_TYPES
from hub_trainer.inputs import Column, load_input
from hub_trainer.inputs.dates import date_numbers, holds_dates, read_date
from hub_trainer.inputs.table_features import find_features, holds_texts, table_of, typical_row
from hub_trainer.tasks import ModelFolders, Splits
from hub_trainer.tasks.tabular import TASK
from tests.tasks.factory import recipe

FILLERS = ["the", "box", "came", "by", "post", "today", "and", "was", "heavy"]


def parcels(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """A parcel is late in winter, or where its remark says that it is broken."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        month, is_broken = rng.randint(1, 12), rng.random() < 0.3
        words = [*rng.sample(FILLERS, 6), *(["broken"] if is_broken else [])]
        rng.shuffle(words)
        rows.append(
            {
                "sent": f"{rng.randint(2019, 2024)}-{month:02}-{rng.randint(1, 28):02}",
                "remark": " ".join(words) if rng.random() > 0.05 else None,
                "label": "late" if month in (12, 1, 2) or is_broken else "early",
            }
        )
    return rows


def test_find_features_when_a_column_holds_dates_or_texts_then_says_so() -> None:
    features = find_features(parcels(60))
    assert features == {"sent": "date", "remark": "text"}
    table = table_of([{"sent": "2024-03-31", "remark": None}, {}], features)
    dates = [f"sent: {part}" for part in ("year", "month", "weekday", "days")]
    assert list(table.columns) == [*dates, "remark"]
    assert table.iloc[0].tolist() == [2024, 3, 6, 19813, ""]
    assert table[dates].iloc[1].isna().all()
    assert table_of([], features).shape == (0, 5)
    typical = typical_row(parcels(60), features)
    assert read_date(typical["sent"]) is not None
    assert typical["remark"] == ""


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS["classifier"]))
def test_fit_when_columns_are_dates_and_texts_then_they_teach(
    estimator: str, tmp_path: Path
) -> None:
    rows = parcels(500)
    of = recipe("tabular-classification", base_model=None, train__estimator=estimator)
    silent = {"base": None, "progress": lambda share, doing: None}
    TASK.fit(Splits(rows[80:], rows[:80], ["early", "late"]), of, tmp_path, **silent)
    asked = parcels(200, seed=1)
    found = TASK.predict(ModelFolders(tmp_path / "model"), asked)
    constant = sum(row["label"] == "early" for row in asked) / 200
    right = TASK.answer.scores([row["label"] for row in asked], found).mean()
    assert right > constant + 0.07
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["features"] == {"sent": "date", "remark": "text"}
    anyone = skops.io.load(tmp_path / "model" / MODEL_FILE, trusted=list(TRUSTED_TYPES))
    example = pd.DataFrame(config["sklearn"]["example_input"])
    assert list(example.columns) == config["sklearn"]["columns"]
    assert anyone.predict(example)[0] in ("early", "late")


def test_table_of_when_a_date_is_none_then_names_the_feature() -> None:
    with pytest.raises(DataError, match="Feature sent must be a date") as caught:
        table_of([{"sent": "soon"}], {"sent": "date"})
    assert caught.value.got == "'soon'"
    assert caught.value.do == "write it as 2024-03-31, or nothing"


def test_widgets_when_columns_are_dates_and_texts_then_they_are_written() -> None:
    widgets = TASK.widgets(parcels(60))
    inputs = {options["label"]: (name, options) for name, options in widgets.inputs}
    assert inputs["sent"][0] == inputs["remark"][0] == "Textbox"
    assert inputs["sent"][1]["placeholder"] == "2024-03-31"
    assert widgets.to_row(["2024-01-01", ""]) == {"sent": "2024-01-01", "remark": None}
    with pytest.raises(DataError, match="no value to go by"):
        widgets.to_row(["", ""])
    with pytest.raises(DataError, match="must be a date"):
        widgets.to_row(["31/31/2024", "x"])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1970-01-01", [1970, 1, 3, 0]),
        ("1970-01-02T12:00:00Z", [1970, 1, 4, 1.5]),
        ("1970-01-02 12:00:00.123456789", [1970, 1, 4, 1.5]),
        ("1970-01-01T06:00+06:00", [1970, 1, 3, 0]),
        ("1971/1/1", [1971, 1, 4, 365]),
        ("31.12.1970", [1970, 12, 3, 364]),
    ],
)
def test_date_numbers_when_a_date_is_written_in_a_known_way_then_are_right(
    text: str, numbers: list[float]
) -> None:
    assert date_numbers(text) == pytest.approx(numbers, abs=1e-4)


@pytest.mark.parametrize("text", ["2024-02-30", "20240201", "soon", "03/04/2024", "2024", "", None])
def test_date_numbers_when_a_text_is_no_date_then_are_gaps(text: str | None) -> None:
    assert all(map(math.isnan, date_numbers(text)))


def test_holds_dates_when_most_or_few_are_dates_then_tells_them_apart() -> None:
    assert holds_dates(["2024-01-01"] * 9 + ["soon", None])
    assert not holds_dates(["2024-01-01"] * 8 + ["soon"] * 2)
    assert not holds_dates([None])
    assert not holds_dates([1.0, "2024-01-01"])


def test_holds_texts_when_they_repeat_or_are_short_then_they_are_categories() -> None:
    assert holds_texts(["a box came by post", "it was heavy and broken", None])
    assert not holds_texts(["two words", "three words here"])
    assert not holds_texts(["one of a few long names"] * 9 + ["another of the long names"])


def read(values: Any) -> tuple[list[Any], list[str]]:
    notes: list[str] = []
    column = Column(pa.chunked_array([values]), notes=notes)
    return load_input("table").read(column, "column when").to_pylist(), notes


def test_read_when_a_date_is_none_then_it_is_a_gap_and_told_by_row() -> None:
    texts = ["2024-01-01"] * 50 + ["soon", "2024-13-01", "later", "never"]
    found, notes = read(pa.array(texts))
    assert found == ["2024-01-01"] * 50 + [None] * 4
    assert notes == [
        "holds dates, but row 51 'soon', row 52 '2024-13-01', row 53 'later' and 1 more is none: "
        "they are gaps"
    ]
    assert read(pa.array(["2024-01-01", None])) == (["2024-01-01", None], [])


def test_read_when_a_column_has_a_type_of_dates_then_they_are_texts() -> None:
    days = pa.array([19813, None], pa.int32()).cast(pa.date32())
    assert read(days)[0] == ["2024-03-31", None]
    moments = pa.array([1_711_843_200_000_000_000], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    (moment,) = read(moments)[0]
    assert date_numbers(moment) == [2024, 3, 6, 19813]
