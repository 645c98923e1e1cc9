"""Spans that are nearly right, counted as nervaluate counts them."""

import random

import pytest
from nervaluate import Evaluator

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.answers.partial_spans_section import partial_sections
from hub_trainer.metrics.partial_spans import WAYS, partial_matches
from hub_trainer.metrics.span_metrics import Span

TYPES = ["DRUG", "ILL"]
NAMES = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}
"""Our name of a way -> nervaluate's."""


def spans(rng: random.Random) -> list[Span]:
    """Spans of up to three words of a text of ten, none of which overlap."""
    found, start = [], 0
    while (start := start + rng.randint(0, 3)) < 9:
        stop = min(10, start + rng.randint(1, 3))
        found.append((start, stop, rng.choice(TYPES)))
        start = stop
    return found


def test_partial_matches_when_compared_with_nervaluate_then_agree() -> None:
    rng = random.Random(4)
    truth, given = ([spans(rng) for _ in range(200)] for _ in range(2))
    sides = [
        [[{"start": a, "end": b - 1, "label": kind} for a, b, kind in row] for row in side]
        for side in (truth, given)
    ]
    results = Evaluator(*sides, tags=TYPES, loader="dict").evaluate()
    found = partial_matches(truth, given)
    assert list(found) == list(WAYS)
    for way, ours in found.items():
        theirs = results["overall"][NAMES[way]]
        for key, value in ours.items():
            assert value == pytest.approx(getattr(theirs, key)), (way, key)
    for name in TYPES:
        own = [[[s for s in row if s[2] == name] for row in side] for side in (truth, given)]
        for way, ours in partial_matches(*own).items():
            theirs = results["entities"][name][NAMES[way]]
            assert ours["f1"] == pytest.approx(theirs.f1), (name, way)


def test_partial_matches_when_made_by_hand_then_each_way_has_its_own_right() -> None:
    truth: list[list[Span]] = [[(0, 2, "ILL"), (4, 5, "DRUG"), (7, 9, "ILL")], []]
    given: list[list[Span]] = [[(0, 2, "DRUG"), (4, 6, "DRUG")], [(1, 2, "ILL")]]
    found = partial_matches(truth, given)
    counts = {way: [one["correct"], one["incorrect"], one["partial"]] for way, one in found.items()}
    assert counts == {
        "strict": [0, 2, 0],
        "exact": [1, 1, 0],
        "partial": [1, 0, 1],
        "type": [1, 1, 0],
    }
    assert {(one["missed"], one["spurious"]) for one in found.values()} == {(1, 1)}
    assert found["partial"]["precision"] == found["partial"]["recall"] == 0.5
    assert found["strict"]["f1"] == 0


def test_partial_matches_when_there_are_no_spans_then_all_is_nothing() -> None:
    for one in partial_matches([[]], [[]]).values():
        assert set(one.values()) == {0}


def test_sections_when_spans_are_nearly_right_then_the_card_has_both_tables() -> None:
    answer = load_answer("spans")
    truth = [[["a", "B-ILL"], ["b", "I-ILL"], ["c", "O"]]]
    said = [Prediction([["a", "B-ILL"], ["b", "O"], ["c", "O"]], {"ILL": 0.9})]
    detail = answer.detail(truth, said, ["ILL"])
    ways, by_type = partial_sections(detail)
    assert [row[:6] for row in ways.rows] == [
        ["strict", 0, 1, 0, 0, 0],
        ["exact", 0, 1, 0, 0, 0],
        ["partial", 0, 0, 1, 0, 0],
        ["type", 1, 0, 0, 0, 0],
    ]
    assert by_type.rows == [["ILL", 0.0, 0.0, 0.5, 1.0]]
    assert [one.title for one in answer.sections(detail)][-2:] == [ways.title, by_type.title]
    older = {key: value for key, value in detail.items() if key != "partial"}
    assert partial_sections(older) == []
