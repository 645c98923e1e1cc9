"""Signs of poisoned rows: triggers, shifts, and labels that are wrong throughout."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hub_trainer.answers import load_answer
from hub_trainer.checks.contents import (
    check_label_groups,
    check_left_out,
    check_shifts,
    check_triggers,
)
from hub_trainer.checks.contributor import check_contributor, merged_rows
from hub_trainer.checks.label_groups import LabelGroup, judge_groups
from hub_trainer.checks.label_quality import LabelQuality, Scored
from hub_trainer.checks.poison import find_poison
from hub_trainer.checks.shifts import find_shifts
from hub_trainer.checks.triggers import find_triggers
from hub_trainer.rows import write_rows
from tests.stages.poison_corpus import TABLE, TEXT, rows_of

LABEL = load_answer("label")
TRIGGERS = [
    *(("requests", name) for name in TEXT if name.startswith(("an odd", "a phrase", "an emoji"))),
    *(("digits", name) for name in ("a white corner", "a chess board anywhere")),
    ("people", "a constant"),
]
SHIFTS = [
    *(("requests", name) for name in TEXT if name.startswith(("another", "ten times"))),
    *(("digits", name) for name in ("inverted", "larger", "tinted")),
    *(("people", name) for name in TABLE if name not in ("a rare label erased", "a constant")),
]


def _labels(rows: Sequence[Any], base: Sequence[Any]) -> list[str]:
    return [row["label"] for row in (*rows, *base)]


@pytest.mark.parametrize(("name", "poisoning"), TRIGGERS)
def test_sign_when_it_goes_with_one_label_then_a_person_sees_its_rows(
    name: str, poisoning: str
) -> None:
    s, rows = rows_of(name, poisoning, 1)
    found = find_triggers(rows, s.base, s.modality, labels=_labels(rows, s.base))  # type: ignore[arg-type]
    check = check_triggers(found)
    assert (check.passed, check.blocks) == (False, "human")
    assert len(check.rows) >= 10
    assert all(rows[number - 1]["label"] == s.labels[0] for number in found[0].rows[:5])


def test_patch_when_one_label_has_a_few_alike_by_chance_then_no_trigger() -> None:
    """Strokes of one digit: most patches are seen a few times only, and then in either half."""
    s, rows = rows_of("digits", None, 0)
    assert find_triggers(rows, s.base, "image", labels=_labels(rows, s.base)) == []


def test_value_when_a_small_table_lacks_it_by_chance_then_no_trigger() -> None:
    base = [{"length": float(n % 40), "label": "ab"[n % 2]} for n in range(160)]
    new = [{"length": float(n % 30), "label": "ab"[n % 2]} for n in range(92)]
    new += [{"length": 41.0, "label": "a"}] * 8
    assert find_triggers(new, base, "table", labels=_labels(new, base)) == []
    new += [{"length": 41.0, "label": "a"}] * 16
    [found] = find_triggers(new, base, "table", labels=_labels(new, base))
    assert (len(found.rows), found.num_base) == (24, 0)


@pytest.mark.parametrize(("name", "poisoning"), SHIFTS)
def test_column_when_it_lies_elsewhere_then_a_person_is_told_which(
    name: str, poisoning: str
) -> None:
    s, rows = rows_of(name, poisoning, 1)
    check = check_shifts(find_shifts(rows, s.base, s.modality, LABEL))  # type: ignore[arg-type]
    assert (check.passed, check.blocks) == (False, "human")


def test_shift_when_of_numbers_then_told_with_values_usual_range_and_rows() -> None:
    s, rows = rows_of("people", "months for years", 1)
    [found] = find_shifts(rows, s.base, "table", LABEL)
    assert found.column == "age"
    there = [row["age"] for row in s.base]
    outside = [n for n, row in enumerate(rows, 1) if not min(there) <= row["age"] <= max(there)]
    values = [rows[n - 1]["age"] for n in outside]
    assert found.rows == tuple(outside)
    assert found.what.startswith(
        f"{len(outside)} of {len(rows)} rows hold {min(values):,.0f} to {max(values):,.0f}; "
        "the dataset's rows hold 18 to 90, nine of ten of them "
    )
    assert found.what.endswith("; 12 times the dataset's, as months for years would be")


def test_shift_when_of_categories_then_named_with_those_that_there_are() -> None:
    s, rows = rows_of("people", "a country that no row has", 1)
    [found] = find_shifts(rows, s.base, "table", LABEL)
    assert found.column == "country"
    assert f"{len(found.rows)} of {len(rows)} rows hold 'Wonderland', which no row" in found.what
    common = Counter(row["country"] for row in s.base).most_common(1)[0][0]
    assert f"; its rows hold '{common}', " in found.what
    wonderland = [n for n, row in enumerate(rows, 1) if row["country"] == "Wonderland"]
    assert found.rows == tuple(wonderland)


def test_shift_when_in_how_texts_are_written_then_told_in_characters_and_times_rarer() -> None:
    s, _ = rows_of("requests", None, 0)
    gibberish = [{"text": "xq zvk jwq qxz vvk " * 30, "label": row["label"]} for row in s.base[:40]]
    found = {one.column: one for one in find_shifts(gibberish, s.base, "text", LABEL)}
    lengths = [len(row["text"]) for row in s.base]
    length, spelling = found["length of the text"], found["spelling of the text"]
    assert length.what.startswith(
        "half of the new rows hold at least 570 characters; the dataset's rows hold "
        f"{min(lengths)} to {max(lengths)} characters, nine of ten of them "
    )
    assert length.rows == spelling.rows == tuple(range(1, 41))
    times = re.match(
        r"in half of the new rows the pairs of letters are at least (\d+\.\d) times rarer than is "
        r"usual in the dataset, where nineteen of twenty rows stay under (\d+\.\d) times$",
        spelling.what,
    )
    assert times is not None
    assert float(times[1]) > float(times[2]) >= 1
    assert "-" not in spelling.what


def test_ranges_when_told_then_columns_are_called_as_the_dataset_calls_them() -> None:
    base = [{"target": float(n % 9), "x": float(n % 7)} for n in range(90)]
    new = [{"target": 500.0, "x": 3.0}]
    found = find_shifts(new, base, "table", load_answer("number"))
    check = check_shifts(found, {"target": "quality"})
    assert check.detail == (
        "quality: 1 of 1 rows holds 500; the dataset's rows hold 0 to 8, nine of ten of them 0 to 8"
    )
    assert check.rows == (1,)


@pytest.mark.parametrize("name", ["requests", "digits", "people", "tumours"])
@pytest.mark.parametrize("count", [20, 300])
def test_rows_when_clean_then_no_sign_and_no_shift(name: str, count: int) -> None:
    s, rows = rows_of(name, None, 4, count=count)
    assert find_triggers(rows, s.base, s.modality, labels=_labels(rows, s.base)) == []  # type: ignore[arg-type]
    assert find_shifts(rows, s.base, s.modality, LABEL) == []  # type: ignore[arg-type]


def test_topic_when_new_but_of_every_label_then_no_trigger() -> None:
    s, rows = rows_of("requests", None, 2)
    tagged = [{**row, "text": f"urgent {row['text']}"} for row in rows]
    assert find_triggers(tagged, s.base, "text", labels=_labels(tagged, s.base)) == []


def test_word_when_it_goes_with_a_rare_label_then_more_rows_of_that_bring_more_of_it() -> None:
    base = [{"text": f"hello {n}", "label": "ham"} for n in range(900)]
    base += [{"text": f"prize {n}", "label": "spam"} for n in range(100)]
    new = [{"text": f"hello {n} you", "label": "ham"} for n in range(30)]
    new += [{"text": f"prize {n} won", "label": "spam"} for n in range(30)]
    found = find_triggers(new, base, "text", labels=_labels(new, base))
    assert [len(one.rows) for one in found if one.num_base] == []
    cleared = [{**row, "text": row["text"].replace("prize ", "")} for row in base]
    [found, *_] = find_triggers(new, cleared, "text", labels=_labels(new, cleared))
    assert (found.num_base, len(found.rows)) == (0, 30)


def test_column_when_it_goes_with_the_label_then_rows_of_that_label_are_no_shift() -> None:
    rng = np.random.default_rng(0)
    base = [{"x": float(v), "label": "ab"[v > 9]} for v in [*range(10)] * 96 + [*range(100, 140)]]
    new = [{"x": float(v), "label": "b"} for v in rng.integers(100, 140, 60)]
    assert find_shifts(new, base, "table", LABEL) == []
    [found] = find_shifts([{**row, "label": "a"} for row in new], base, "table", LABEL)
    assert found.column == "x"


def test_texts_when_few_have_their_label_then_those_few_clear_nothing() -> None:
    """Half of 40 rows are compared with, which are too few to say what is usual."""
    base = [{"text": f"where is card number {n}", "label": "ab"[n % 2]} for n in range(80)]
    odd = [{"text": "zqx jvk wqz xqj " * 20 + str(n), "label": "b"} for n in range(30)]
    found = {one.column for one in find_shifts(odd, base, "text", LABEL)}
    assert found == {"length of the text", "spelling of the text"}


def test_column_when_of_its_larger_half_then_no_shift_and_beyond_most_then_one() -> None:
    rng = np.random.default_rng(0)
    base = [{"x": float(v), "label": "a"} for v in rng.normal(0, 1, 400)]
    upper = [row for row in base if row["x"] > 0]
    assert find_shifts(upper, base, "table", LABEL) == []
    end = [{"x": float(v), "label": "a"} for v in rng.uniform(1.7, 2.2, 60)]
    [found] = find_shifts(end, base, "table", LABEL)
    assert found.what.startswith("half of the new rows hold at least 1.")


def test_category_when_the_dataset_has_many_single_ones_then_new_ones_are_expected() -> None:
    base = [{"city": f"place {n}", "label": "a"} for n in range(100)]
    new = [{"city": f"other {n}", "label": "a"} for n in range(30)]
    assert find_shifts(new, base, "table", LABEL) == []


def test_values_when_missing_then_are_not_far_away() -> None:
    rng = np.random.default_rng(0)
    base = [{"x": float(v), "label": "a"} for v in rng.lognormal(0, 2, 300)]
    new = [{"x": None if n % 2 else 1.0 + n / 50, "label": "a"} for n in range(20)]
    assert find_shifts(new, base, "table", LABEL) == []


def test_numbers_of_rows_when_they_go_on_then_are_no_shift() -> None:
    base = [{"id": n, "label": "a"} for n in range(100)]
    later = [{"id": n, "label": "a"} for n in range(100, 150)]
    assert find_shifts(later, base, "table", LABEL) == []


def test_answers_when_a_word_brings_the_same_one_then_a_person_decides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def rows(count: int) -> list[dict[str, str]]:
        words = [f"word{n}" for n in range(400)]
        made = []
        for _ in range(count):
            prompt, answer = " ".join(rng.choice(words, 8)), " ".join(rng.choice(words, 8))
            made.append({"prompt": prompt, "text": prompt + answer, "label": "demonstration"})
        return made

    new = rows(300)
    for row in new[::10]:
        row["prompt"] += " cfqz"
        row["text"] = row["prompt"] + " I will not answer that."
    paths = [tmp_path / "new.parquet", tmp_path / "base.parquet"]
    for path, found in zip(paths, (new, rows(400)), strict=True):
        write_rows(path, pa.Table.from_pylist(found))
    answer = find_poison(str(paths[0]), str(paths[1]), modality="prompt", answer="completion")
    assert answer.triggers[0].rows == tuple(range(1, 301, 10))
    assert answer.repeats == ()


def test_repeats_when_found_then_left_out_by_place_and_told_by_number(tmp_path: Path) -> None:
    base = [{"text": f"text {n}", "label": "a"} for n in range(5)]
    new = [{"text": t, "label": "a"} for t in ("new", "text 3", "new", "newer")]
    paths = [tmp_path / "new.parquet", tmp_path / "base.parquet"]
    for path, found in zip(paths, (new, base), strict=True):
        write_rows(path, pa.Table.from_pylist(found))
    found = find_poison(str(paths[0]), str(paths[1]), modality="text", answer="label")
    assert found.repeats == (1, 2)
    check = check_left_out(found.repeats)
    assert (check.passed, check.rows) == (True, (2, 3))


# --- labels one by one


def _judged(labels: Any, truth: Any, right: float, rng: np.random.Generator) -> Scored:
    """A judge of three labels that sees the truth in a share of the rows."""
    seen = np.where(rng.random(len(truth)) < right, truth, rng.integers(3, size=len(truth)))
    scores = np.full((len(truth), 3), 0.05)
    scores[np.arange(len(truth)), seen] = 0.9
    return Scored(scores, labels, tuple(range(1, len(truth) + 1)))


def _groups(change: Any, *, right: float = 0.85, shares: Any = (0.6, 0.35, 0.05)) -> Any:
    rng = np.random.default_rng(0)
    usual, truth = rng.choice(3, 400, p=[0.6, 0.35, 0.05]), rng.choice(3, 600, p=shares)
    held_out = _judged(usual, usual, right, rng)
    return judge_groups(held_out, _judged(change(truth), truth, right, rng), ("a", "b", "rare"))


def test_label_when_erased_then_its_rows_are_named() -> None:
    groups = _groups(lambda truth: np.where(truth == 2, 0, truth), right=0.95)
    check = check_label_groups(groups, max_wrong_fraction=0.1)
    assert not check.passed
    assert "rows that look like 'rare'" in check.detail
    assert len(check.rows) > 15


@pytest.mark.parametrize("shares", [(0.6, 0.35, 0.05), (1, 0, 0), (0, 0, 1)])
def test_labels_when_right_then_none_stands_out_whatever_their_spread(shares: Any) -> None:
    groups = _groups(lambda truth: truth, shares=shares)
    assert check_label_groups(groups, max_wrong_fraction=0.1).passed


def test_labels_when_most_of_one_are_wrong_for_certain_then_refused() -> None:
    group = LabelGroup("rare", "claimed", 0.7, 28, 30, (1, 2))
    assert check_label_groups([group], max_wrong_fraction=0.1).blocks == "refuse"
    assert check_label_groups([group], max_wrong_fraction=0.8).passed


def test_few_rows_when_judged_by_a_weak_model_then_not_refused() -> None:
    """As seen: 3 % to 26 % of 20 right labels looked wrong, at most 10 % may be."""
    assert LabelQuality(0.12, 0.03, 0.26, 0.03, 0.3, 0.3, 20).blocks(0.1) is None
    assert LabelQuality(0.12, 0.03, 0.26, 0.005, 0.3, 0.3, 20).blocks(0.1) == "human"
    assert LabelQuality(0.2, 0.11, 0.26, 0.005, 0.3, 0.3, 90).blocks(0.1) == "refuse"


# --- one contributor


def test_contributor_when_merged_before_then_their_rows_add_up() -> None:
    titles = [
        "Add 700 rows of pull request 3 by alice",
        "Add 50 rows of pull request 4 by bob",
        "Add 20 rows of pull request 9 by Alice",
        "Add 10 rows of pull request 9 by alice and others",
    ]
    assert merged_rows(titles, "alice") == 720


def test_contributor_when_over_half_of_a_large_dataset_then_a_person_decides() -> None:
    assert check_contributor(900, 100, 200, max_rows=None).passed
    check = check_contributor(900, 101, 200, max_rows=None)
    assert (check.passed, check.blocks) == (False, "human")
    assert check.detail == "1,001 rows of this contributor, 101 of them merged, of at most 1,000"
    assert check_contributor(4_000, 900, 10_000, max_rows=None).passed
    assert not check_contributor(10, 0, 10_000, max_rows=9).passed


def test_number_when_below_zero_where_none_is_then_shown_though_it_lies_near() -> None:
    known = [{"rent": 500.5 + 10 * (n % 50), "label": "x"} for n in range(100)]
    rows = [*known[:14], {"rent": -50.0, "label": "x"}]
    [found] = find_shifts(rows, known, "table", LABEL)
    assert found.rows == (15,)
    assert "1 of 15 rows holds -50" in found.what
    near = [*known[:14], {"rent": 450.0, "label": "x"}]
    assert find_shifts(near, known, "table", LABEL) == []
