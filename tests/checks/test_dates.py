"""Columns of dates in new rows: what is no date, and what lies far from all of the dataset's."""

from datetime import date, timedelta
from typing import Any

import pytest

from hub_trainer.answers import load_answer
from hub_trainer.checks.shifts import Shift, find_shifts

Row = dict[str, Any]
LABEL = load_answer("label")
BEGIN = date(2022, 1, 1)
BASE: list[Row] = [
    {"day": (BEGIN + timedelta(days=n * 9)).isoformat(), "label": "ab"[n % 2]} for n in range(60)
]


def found(*days: str | None) -> list[Shift]:
    usual = [(BEGIN + timedelta(days=n * 11)).isoformat() for n in range(20)]
    rows = [{"day": day, "label": "ab"[n % 2]} for n, day in enumerate([*usual, *days])]
    return find_shifts(rows, BASE, "table", LABEL)


def test_dates_when_later_or_written_otherwise_or_missing_then_no_shift() -> None:
    assert found("2024-02-29", "01.03.2023", None) == []


def test_dates_when_some_cannot_be_read_then_rows_and_values_are_named() -> None:
    [shift] = found("31.02.2023", "2023-01-02", "yesterday")
    assert (shift.column, shift.rows) == ("day", (21, 23))
    assert shift.what.startswith("2 of 23 rows hold '31.02.2023', 'yesterday', which cannot be")
    assert "as 2024-03-31, from 2022-01-01 to 2023-06-16" in shift.what


@pytest.mark.parametrize("day", ["0222-03-01", "2222-03-01"])
def test_date_when_far_from_all_others_then_named(day: str) -> None:
    [shift] = found(day)
    assert shift.rows == (21,)
    assert shift.what == (
        f"1 of 21 rows holds {day}; the dataset's rows hold 2022-01-01 to 2023-06-16"
    )
