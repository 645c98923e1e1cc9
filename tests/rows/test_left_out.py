"""Rows that are left out, in words."""

from collections import Counter

from hub_trainer.rows.left_out import (
    Losses,
    all_told,
    left_out_text,
    source_name,
    source_place,
    total_of,
    unwritten_note,
)


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


def test_first_rows_are_three_and_the_first_of_each_reason() -> None:
    losses = Losses(rows=40)
    for row, why in enumerate(["a", "a", "a", "a", "b", "b"], start=1):
        losses.add(row, why)
    assert losses.first == [(1, "a"), (2, "a"), (3, "a"), (5, "b")]


def test_counts_are_told_once() -> None:
    many, few = Losses(2, Counter({"no text": 1})), Losses(99, Counter({"no text": 1}))
    assert [all_told(of) for of in ([], [Losses(9)], [many], [many, few])] == [
        True,
        True,
        True,
        False,
    ]


def test_source_has_one_name_wherever_it_is_told() -> None:
    source, where = f"o/d@{'a1b2c3d4' * 5}", "o/d@a1b2c3d4, split train"
    assert source_name(source, [where, "o/e@a1b2c3d4, split train"]) == where
    assert source_name(source, [where, "o/d@a1b2c3d4, split test"]) == "o/d@a1b2c3d4"
    assert source_place(1234, source) == "row 1,234 of o/d@a1b2c3d4"
    assert source_place(None, source) == "row unknown of o/d@a1b2c3d4"


def test_key_that_is_never_written_is_told_in_one_number_or_the_other() -> None:
    told = "which the chat template never writes: it is not learned"
    assert unwritten_note("ts", 1) == f"1 turn has the key 'ts', {told}"
    assert unwritten_note("ts", 1200) == f"1,200 turns have the key 'ts', {told}"
