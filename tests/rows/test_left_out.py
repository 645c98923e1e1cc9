"""Rows that are left out, in words."""

from collections import Counter

from hub_trainer.rows.left_out import Losses, left_out_text, total_of


def test_reasons_are_told_with_the_commonest_first() -> None:
    reasons = total_of(
        [{"no text": 20, "near duplicate": 100}, {"no text": 6, "near duplicate": 58}]
    )
    assert left_out_text(reasons) == "184 left out: 158 near duplicates, 26 no text"
    assert left_out_text({"exact duplicate": 1}) == "1 left out: 1 exact duplicate"
    assert left_out_text({"no label": 2}) == "2 left out: 2 no label"
    leaks = {"nearly repeats a test row": 4, "repeats a test row": 1}
    told = "5 left out: 4 nearly repeat a test row, 1 repeats a test row"
    assert left_out_text(leaks) == told


def test_source_that_loses_a_tenth_is_warned_of_with_its_first_rows() -> None:
    losses = Losses(rows=40)
    for row in (4, 9, 12):
        losses.add(row, "no text")
    assert losses.warning("o/d") is None
    losses.add(13, "no text")
    assert losses.warning("o/d") == (
        "o/d: 4 of 40 rows left out: 4 no text; the first: row 4 (no text), row 9 (no text), "
        "row 12 (no text)"
    )
    assert Losses(2, Counter({"no text": 1})).warning("o/d") == (
        "o/d: 1 of 2 rows left out: 1 no text"
    )
