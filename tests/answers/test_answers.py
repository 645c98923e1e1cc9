"""What each kind of answer reads, refuses, settles, shows, and makes of raters' words."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hub_trainer.answers import ANSWERS, Answer, Prediction, RatedAnswer, load_answer
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.recipe.columns import COLUMN_OF

LABEL, LABELS, NUMBER = (load_answer(name) for name in ("label", "labels", "number"))


def column(values: list[Any], kind: Any = None, **more: Any) -> Column:
    return Column(pa.chunked_array([pa.array(values, kind)]), **more)


def test_answers_when_listed_then_each_has_a_column_of_its_own() -> None:
    grouped_by = {name: load_answer(name).column for name in ANSWERS}
    assert grouped_by == {**COLUMN_OF, "completion": "label"}  # the kind of its example
    assert len(set(COLUMN_OF.values())) == len(COLUMN_OF)


# --- reading


@pytest.mark.parametrize("name", list(ANSWERS))
def test_answer_when_loaded_then_has_every_member_of_its_protocols(name: str) -> None:
    members = {
        member
        for protocol in (Answer if name == "completion" else RatedAnswer).__mro__
        for member in (*vars(protocol).get("__annotations__", ()), *vars(protocol))
        if not member.startswith("_")
    }
    assert {"asking", "column", "settle"} <= members
    assert (name == "completion") != ({"question", "agree", "fit_linear"} <= members)
    assert [member for member in sorted(members) if not hasattr(load_answer(name), member)] == []


@pytest.mark.parametrize(
    ("values", "more", "expected"),
    [
        ([["b", "a"], [], ["a", "a"]], {}, [["a", "b"], [], ["a"]]),
        ([[1, 0], [0]], {"class_names": ["x", "y"]}, [["x", "y"], ["x"]]),
        (["a|b", "b", "", None], {}, [["a", "b"], ["b"], [], []]),
        (["a, b", "c;"], {}, [["a, b"], ["c"]]),
        (["a, b", "c"], {}, [["a", "b"], ["c"]]),
        (['["b", "a"]', "[]"], {}, [["a", "b"], []]),
        ([[" a ", "a\u200b"], None], {}, [["a"], None]),
        ([[3, 1]], {}, [["1", "3"]]),
    ],
)
def test_labels_when_read_then_sorted_names(
    values: list[Any], more: dict[str, Any], expected: list[Any]
) -> None:
    assert LABELS.read(column(values, **more), "here").to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], None, [1.0, 2.0]),
        (["1.5", " 2 "], None, [1.5, 2.0]),
        ([None, 2.0], None, [None, 2.0]),
        ([1, 2], pa.decimal128(5, 2), [1.0, 2.0]),
    ],
)
def test_number_when_read_then_float(values: list[Any], kind: Any, expected: list[Any]) -> None:
    assert NUMBER.read(column(values, kind), "here").to_pylist() == expected


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "much"])
def test_number_when_a_cell_is_none_then_a_fault_of_its_own(value: Any) -> None:
    cells = [str(value), "1", "2"] if isinstance(value, str) else [value, 1.0, 2.0]
    first, *others = NUMBER.read(column(cells), "here").to_pylist()
    assert NUMBER.faults(first) == ["target is not a finite number"]
    assert [NUMBER.faults(one) for one in others] == [[], []]
    assert NUMBER.faults(None) == ["target is missing"]


@pytest.mark.parametrize(
    ("answer", "cells", "more", "message"),
    [
        (NUMBER, ["low", "high"], {}, "no numbers.*text, as 'low'"),
        (NUMBER, [0, 1], {"class_names": ["no", "yes"]}, "no numbers.*classes"),
        (NUMBER, [[1.0]], {}, "no numbers"),
        (LABELS, [1.5], {}, "no lists of labels.*for one label per row name it label"),
        (LABELS, [[{"name": "a"}]], {}, "no lists of labels.*struct"),
        (LABELS, [[2]], {"class_names": ["x", "y"]}, "outside the dataset's classes"),
        (LABEL, [["a"]], {}, "not a single value.*several labels per row are learned too"),
    ],
)
def test_read_when_the_column_holds_something_else_then_says_what(
    answer: Any, cells: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        answer.read(column(cells, **more), "here")
    import re

    assert re.search(message, str(error.value).replace("\n", " "), re.IGNORECASE)


# --- rows


def test_settle_when_values_repeat_then_what_they_come_to() -> None:
    assert LABEL.settle(["a", "b", "a"]) == "a"
    assert LABEL.settle(["a", "b"]) is None
    assert LABELS.settle([["a"], ["a"], ["a", "b"]]) == ["a"]
    assert LABELS.settle([["a"], ["b"]]) is None
    assert NUMBER.settle([10.0, 10.2, 10.1]) == 10.1
    assert NUMBER.settle([10.0, 20.0]) is None


def test_strata_when_split_then_every_part_has_its_share() -> None:
    assert LABELS.strata([["a"], ["a", "b"], []]) == ["a", "b", ""]
    groups = NUMBER.strata(np.arange(100).tolist())
    assert sorted({groups.count(one) for one in groups}) == [10]


@pytest.mark.parametrize(
    ("answer", "values", "message"),
    [
        (LABEL, {"train": ["a", "b"], "test": ["c"]}, "labels that no training row has"),
        (LABEL, {"train": [str(n) for n in range(30)]}, "label of its own"),
        (LABELS, {"train": [[], []]}, "No training row has a label"),
        (LABELS, {"train": [["a"], []], "test": [["z"]]}, "labels that no training row has"),
        (NUMBER, {"train": [2.0, 2.0]}, "all have one target"),
    ],
)
def test_assert_taught_when_it_cannot_be_learned_then_says_why(
    answer: Any, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        answer.assert_taught(values)


def test_labels_when_a_rare_one_of_the_test_is_untaught_then_let_through() -> None:
    LABELS.assert_taught({"train": [["a"]] * 9, "test": [["a"]] * 99 + [["rare"]]})


# --- raters


VOTES = [("row", "ann", "10"), ("row", "bob", "10.1"), ("row", "eve", "99"), ("other", "ann", "50")]


def agreed(answer: Any, votes: Any, gold: Any = None, **rule: Any) -> Any:
    chosen = {"rule": "majority", "min_raters": 3, "min_gold": 2, **rule}
    return answer.agree(votes, gold or {}, **chosen)


def test_number_when_one_rater_lies_then_the_median_of_the_others() -> None:
    found = agreed(NUMBER, VOTES).decided
    assert found == {"row": "10.05"}


def test_number_when_raters_are_far_apart_then_undecided() -> None:
    apart = [("row", "ann", "10"), ("row", "bob", "50"), ("row", "eve", "99")]
    assert agreed(NUMBER, apart).decided == {}


def test_number_when_only_the_proven_are_heard_then_liars_are_not() -> None:
    gold = {f"known {n}": str(10.0 * n) for n in range(1, 6)}
    votes = [(key, who, value) for key, value in gold.items() for who in ("ann", "bob", "cy")]
    votes += [(key, liar, "0") for key in gold for liar in ("x", "y", "z", "w")]
    votes += [("new", who, "30") for who in ("ann", "bob", "cy")]
    votes += [("new", liar, "0") for liar in ("x", "y", "z", "w")]
    found = agreed(NUMBER, votes, gold, rule="dawid_skene")
    assert found.decided["new"] == "30.0"
    assert {one.rater_id for one in found.raters if one.excluded} == {"x", "y", "z", "w"}


def test_labels_when_raters_agree_then_name_by_name() -> None:
    votes = [("row", "ann", '["a","b"]'), ("row", "bob", '["b"]'), ("row", "eve", '["b","c"]')]
    assert agreed(LABELS, votes).decided == {"row": '["b"]'}
    none = [("row", who, "[]") for who in ("ann", "bob", "eve")]
    assert agreed(LABELS, none).decided == {"row": "[]"}


@pytest.mark.parametrize(
    ("answer", "text", "message"),
    [
        (NUMBER, "", "missing"),
        (NUMBER, "ten", "no number"),
        (NUMBER, "inf", "no number"),
        (NUMBER, "5.0", "what the model said"),
        (LABELS, "a", "no JSON list"),
        (LABELS, "[" * 100_000, "no JSON list"),
        (LABELS, '["z"]', "'z' is no label"),
        (LABELS, '["b","a"]', "what the model said"),
        (LABEL, "z", "'z' is no label"),
    ],
)
def test_rating_when_it_is_none_then_says_why(answer: Any, text: str, message: str) -> None:
    predicted = {"number": "5.0", "labels": '["a", "b"]', "label": "a"}[answer.name]
    with pytest.raises(ValueError, match=message):
        answer.rating(text, predicted, ["a", "b"])


def test_rating_when_right_then_as_it_is_kept() -> None:
    assert NUMBER.rating(" 6 ", "5.0", []) == "6.0"
    assert LABELS.rating('["b", "b"]', "[]", ["a", "b"]) == '["b"]'


# --- figures


def test_difference_when_a_model_is_reloaded_then_small_or_endless() -> None:
    assert NUMBER.difference(Prediction(200.0), Prediction(200.01)) == pytest.approx(5e-5, rel=1e-2)
    assert NUMBER.difference(Prediction(1.0), Prediction(float("nan"))) == float("inf")
    one, other = Prediction(frozenset("a"), {"a": 0.9}), Prediction(frozenset(), {"a": 0.1})
    assert LABELS.difference(one, other) == float("inf")
    assert LABELS.difference(one, Prediction(frozenset("a"), {"a": 0.8})) == pytest.approx(0.1)


def test_detail_of_numbers_when_extremes_are_drawn_in_then_a_limit_says_so() -> None:
    truth = np.linspace(0, 100, 80)
    found = [Prediction(50 + 0.5 * (float(value) - 50)) for value in truth]
    detail = NUMBER.detail(truth.tolist(), found, ())
    said = " ".join(one.text for one in NUMBER.limits(detail, {}))
    assert "draws extremes to the middle" in said
    assert "errors are largest in the" in said


def test_detail_of_labels_when_one_is_never_predicted_then_a_limit_says_so() -> None:
    truth = [["a"]] * 30 + [["a", "b"]] * 5
    found = [Prediction(frozenset("a"), {"a": 0.9, "b": 0.1})] * 35
    detail = LABELS.detail(truth, found, ["a", "b"])
    assert [one["support"] for one in detail["per_label"]] == [35, 5]
    limits = LABELS.limits(detail, {"train": {"a": 35, "b": 5}})
    assert ("Never predicted: {}.", ("b",)) in [(one.text, tuple(one.values)) for one in limits]


def test_shown_when_labels_are_predicted_then_all_of_them_and_bars() -> None:
    shown = LABELS.shown(Prediction(frozenset({"a", "c"}), {"a": 0.9, "b": 0.1, "c": 0.6}))
    assert shown["label"] == "a, c"
    assert [one["label"] for one in shown["confidences"]] == ["a", "c", "b"]
