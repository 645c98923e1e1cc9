"""Thresholds: chosen on rows for a wanted sensitivity, and what they make of probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.answers.decisions import (
    NOTHING_SOUGHT,
    Sought,
    assert_decidable,
    chosen_threshold,
    decide,
    decided,
    likeliest_as_decided,
    threshold_for,
    thresholds_for,
)
from hub_trainer.errors import DataError


def of(probability: float) -> Prediction:
    """What a model says that gives `ill` this probability."""
    scores = {"ill": probability, "well": 1 - probability}
    return Prediction(max(scores, key=scores.__getitem__), scores)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1
    ),
    st.floats(0.01, 1),
)
def test_threshold_for_when_chosen_then_it_is_the_largest_that_reaches_the_sensitivity(
    rows: list[tuple[float, bool]], wanted: float
) -> None:
    scores, truth = np.array([one for one, _ in rows]), np.array([has for _, has in rows])
    found = threshold_for(scores, truth, wanted)
    if not truth.any():
        assert found is None
        return
    assert found is not None
    assert np.mean(scores[truth] >= found) >= wanted - 1e-9
    for larger in sorted({one for one in scores if one > found})[1:]:
        assert np.mean(scores[truth] >= larger) < wanted


def test_threshold_for_when_probabilities_round_otherwise_then_no_row_moves_across() -> None:
    scores, truth = np.array([0.9, 0.4, 0.2]), np.array([True, True, False])
    limit = threshold_for(scores, truth, 1.0)
    assert limit == pytest.approx(0.3)
    moved = scores + np.array([-1e-6, -1e-6, 1e-6])
    assert ((moved >= limit) == (scores >= limit)).all()


def test_decided_when_there_are_more_than_two_labels_then_the_likeliest_other_remains() -> None:
    scores = {"ill": 0.35, "well": 0.25, "unsure": 0.4}
    assert decided(scores, {}) == "unsure"
    assert decided(scores, {"ill": 0.35}) == "ill"
    assert decided({**scores, "ill": 0.34}, {"ill": 0.35}) == "unsure"
    assert decided({"ill": 0.9, "well": 0.1}, {"ill": 0.95}) == "well"


def test_chosen_threshold_when_wanted_then_says_what_it_reaches_with_intervals() -> None:
    found = [of(p) for p in (0.9, 0.6, 0.3, 0.2, 0.4, 0.1)]
    truth = ["ill", "ill", "ill", "ill", "well", "well"]
    chosen = chosen_threshold(found, truth, Sought("ill", 0.75))
    assert chosen is not None
    assert (chosen["name"], chosen["wanted"]) == ("ill", 0.75)
    assert chosen["threshold"] == pytest.approx(0.25)
    assert chosen["sensitivity"]["value"] == 0.75
    assert 0.2 < chosen["sensitivity"]["low"] < 0.75 < chosen["sensitivity"]["high"] < 1
    assert chosen["specificity"]["value"] == 0.5
    assert (chosen["num_positive"], chosen["num_negative"]) == (4, 2)
    limits = thresholds_for(found, truth, Sought("ill", 0.75))
    assert [one.value for one in decide(found, limits)] == ["ill"] * 3 + ["well", "ill", "well"]


def test_chosen_threshold_when_none_is_wanted_then_there_is_none() -> None:
    assert chosen_threshold([of(0.9)], ["ill"], NOTHING_SOUGHT) is None
    assert chosen_threshold([of(0.9)], ["ill"], Sought("ill")) is None
    assert decide([of(0.4)], None)[0].value == "well"


def test_assert_decidable_when_no_validation_row_has_the_label_then_says_what_to_do() -> None:
    assert_decidable(Sought("ill"), ["well"])
    assert_decidable(Sought("ill", 0.9), ["well", "ill"])
    with pytest.raises(DataError, match="No validation row has the label") as caught:
        assert_decidable(Sought("ill", 0.9), ["well", "well"])
    assert caught.value.where == "evaluate.threshold"
    assert caught.value.got == "2 validation rows, none of them 'ill'"
    assert "validation_fraction" in str(caught.value.do)


def test_likeliest_as_decided_when_a_threshold_decides_otherwise_then_exchanges_two() -> None:
    scores = {"ill": 0.2, "well": 0.5, "unsure": 0.3}
    found = likeliest_as_decided(Prediction("ill", scores))
    assert found == {"ill": 0.5, "well": 0.2, "unsure": 0.3}
    assert likeliest_as_decided(Prediction("well", scores)) == scores


def test_over_when_a_threshold_decided_then_keeps_the_label_unless_it_is_unknown() -> None:
    answer = load_answer("label", "ill")
    given = Prediction("ill", {"ill": 0.3, "well": 0.7})
    assert answer.over([given], ["ill", "well"])[0].value == "ill"
    assert answer.over([given], ["well", "other"])[0].value == "well"


def test_shown_when_a_threshold_decided_then_the_heading_is_the_decided_label() -> None:
    answer = load_answer("label")
    assert answer.output(["ill", "well"])[0] == "LabelSet"
    assert answer.shown(Prediction("ill", {"ill": 0.3, "well": 0.7})) == {
        "label": "ill",
        "confidences": [
            {"label": "well", "confidence": 0.7},
            {"label": "ill", "confidence": 0.3},
        ],
    }


def test_detail_when_a_label_is_looked_for_then_says_sensitivity_and_specificity() -> None:
    answer = load_answer("label", "ill")
    found = decide([of(p) for p in (0.9, 0.3, 0.35, 0.1)], {"ill": 0.25})
    detail = answer.detail(["ill", "ill", "well", "well"], found, ["ill", "well"])
    assert detail["positive"]["sensitivity"]["value"] == 1
    assert detail["positive"]["specificity"]["value"] == 0.5
    assert "positive" not in load_answer("label").detail(
        ["ill", "well"], found[:2], ["ill", "well"]
    )
