"""Answers that are no labels, held against a judge: wrong ones are seen, unusual ones are not."""

from typing import Any

import numpy as np
import pytest

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.checks import answer_errors
from hub_trainer.checks.answer_errors import compare_errors, compare_ranks, judge_errors
from hub_trainer.checks.judgement import Judgement
from hub_trainer.checks.published_model import PublishedModel
from tests.tasks.factory import tagged_rows

NUMBER = load_answer("number")
GROUPS = ["alike"] * 1200


def _rows(count: int, rng: np.random.Generator, *, low: float = 0.0) -> list[dict[str, Any]]:
    """A target that is known the less, the larger it is."""
    sizes = rng.uniform(low, 10, count)
    return [
        {
            "size": float(x),
            "other": float(rng.normal()),
            "target": float(x * (1 + rng.normal(0, 0.2))),
        }
        for x in sizes
    ]


def _judged(new: list[dict[str, Any]], base: list[dict[str, Any]]) -> Judgement:
    found = judge_errors(new, base, [], model=None, modality="table", answer=NUMBER)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_numbers_when_a_third_are_wrong_then_stopped_and_named(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, new = _rows(400, rng), _rows(90, rng)
    wrong = [
        {**row, "target": 10.0 - row["target"]} if n < 30 else row for n, row in enumerate(new)
    ]
    found = _judged(wrong, base).quality
    assert found.low > 0.05
    assert found.p_value < 0.001
    assert sum(number <= 30 for number in found.doubtful) >= 0.8 * len(found.doubtful)


def test_numbers_when_of_the_upper_half_where_the_judge_errs_more_then_pass() -> None:
    stopped = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = _judged(_rows(60, rng, low=6.0), _rows(400, rng)).quality
        stopped += found.p_value <= 0.01
    assert stopped <= 3


def test_errors_when_of_the_same_source_then_seldom_stopped() -> None:
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(200):
        held_out, new = np.abs(rng.normal(size=300)), np.abs(rng.normal(size=40))
        groups = ["a"] * 150 + ["b"] * 150 + ["a"] * 40
        stopped += compare_errors(held_out, new, groups, range(1, 41)).p_value <= 0.01
    assert stopped <= 6


def test_judge_when_rows_are_too_few_then_says_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = _rows(30, rng)
    assert judge_errors(rows, rows, [], model=None, modality="table", answer=NUMBER) is None


@pytest.mark.parametrize(
    ("held_out", "new", "expected"),
    [
        (0.05, 0.05, 0.0),
        (0.05, 0.43, 0.4),
        (0.3, 0.3, 0.0),  # errors that can be no larger, and that many held-out rows have
        (0.3, 0.65, 0.5),
        (0.8, 0.8, 0.0),  # a weak judge of label sets, which is wholly wrong on most rows
        (0.0, 1.0, 1.0),
    ],
)
def test_rows_when_more_are_off_than_held_out_ones_then_the_rest_looks_wrong(
    held_out: float, new: float, expected: float
) -> None:
    def errors(share: float, count: int) -> np.ndarray:
        return np.where(np.arange(count) < share * count, 0.0, -1.0 + np.arange(count) / 1e6)

    found = compare_errors(errors(held_out, 1000), errors(new, 200), GROUPS, range(1, 201))
    assert found.wrong_fraction == pytest.approx(expected, abs=0.06)
    assert len(found.doubtful) == round(found.wrong_fraction * 200)


@pytest.mark.parametrize(("moves", "least", "most"), [(0, 0.0, 0.1), (1, 0.7, 1.0)])
def test_spans_when_tags_stand_by_other_words_then_a_probe_of_words_doubts_them(
    moves: int, least: float, most: float
) -> None:
    new = tagged_rows(60, seed=5)
    for row in new:
        tags = [tag for _, tag in row["tags"]]
        row["tags"] = [[word, tag] for (word, _), tag in
                       zip(row["tags"], [*tags[moves:], *tags[:moves]], strict=True)]  # fmt: skip
    found = judge_errors(new, tagged_rows(120), [], model=None, modality="text",
                         answer=load_answer("spans"))  # fmt: skip
    assert found is not None
    assert found.judge == "a probe of the dataset"
    assert least <= found.quality.wrong_fraction <= most


def _of_a_weak_judge(
    share: float, seed: int, count: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Held-out errors, errors of exchanged answers, and new ones of which a share is exchanged."""
    rng = np.random.default_rng(seed)
    truth, held = rng.normal(size=count), rng.normal(size=600)
    said, of_held = (one + rng.normal(0, 0.7, len(one)) for one in (truth, held))
    given = truth.copy()
    wrong = np.arange(count) < share * count
    given[wrong] = rng.permutation(given[wrong])
    exchanged = np.stack([np.abs(rng.permutation(held) - of_held) for _ in range(5)])
    return np.abs(held - of_held), exchanged, np.abs(given - said)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_ranks_when_a_weak_judge_sees_exchanged_answers_then_they_say_how_many(
    share: float,
) -> None:
    found = []
    for seed in range(20):
        held_out, exchanged, new = _of_a_weak_judge(share, seed)
        one = compare_ranks(held_out, exchanged, new, ["a"] * 800, range(1, 201))
        assert one is not None
        found.append(one)
    assert np.mean([one.wrong_fraction for one in found]) == pytest.approx(
        share, abs=0.15
    )  # it is cut at 1
    assert sum(one.low <= share <= one.high for one in found) >= 16
    if share == 1.0:
        assert sum(one.blocks(0.1) == "refuse" for one in found) >= 18


def test_ranks_when_nothing_is_wrong_then_chance_alone_shows_it_seldom() -> None:
    stopped = 0
    for seed in range(300):
        held_out, exchanged, new = _of_a_weak_judge(0.0, seed, count=60)
        groups = ["a"] * 250 + ["b"] * 350 + ["a"] * 25 + ["b"] * 30 + ["rare"] * 5
        one = compare_ranks(held_out, exchanged, new, groups, range(1, 61))
        stopped += one is not None and one.p_value <= 0.01
    assert stopped <= 9


def test_ranks_when_a_judge_cannot_tell_answers_apart_then_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    errors = np.abs(rng.normal(size=(7, 300)))
    assert compare_ranks(errors[0], errors[1:6], errors[6], ["a"] * 600, range(1, 301)) is None


def test_numbers_when_all_are_exchanged_beside_a_weak_probe_then_refused() -> None:
    rng = np.random.default_rng(1)
    base, new = ([{**row, "target": row["target"] + float(rng.normal(0, 2))} for row in rows]
                 for rows in (_rows(400, rng), _rows(120, rng)))  # fmt: skip
    right = _judged(new, base).quality
    assert right.blocks(0.1) is None
    answers = rng.permutation([row["target"] for row in new])
    wrong = [{**row, "target": float(one)} for row, one in zip(new, answers, strict=True)]
    assert _judged(wrong, base).quality.blocks(0.1) == "refuse"


def test_judge_when_no_better_than_one_answer_for_all_then_says_nothing() -> None:
    rng = np.random.default_rng(3)
    base = [{**row, "target": float(rng.normal())} for row in _rows(300, rng)]
    new = [{**row, "target": float(rng.normal(3, 1))} for row in _rows(60, rng)]
    assert judge_errors(new, base, [], model=None, modality="table", answer=NUMBER) is None


def test_model_when_no_better_than_one_answer_for_all_then_a_probe_judges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    base, test, new = _rows(300, rng), _rows(80, rng), _rows(60, rng, low=9.0)

    def always_the_same(rows: Any, held_out: Any, *_: Any) -> list[Prediction]:
        return [Prediction(5.0)] * (len(rows) + len(held_out))

    monkeypatch.setattr(answer_errors, "_by_model", always_the_same)
    found = judge_errors(new, base, test, model=None, modality="table", answer=NUMBER)
    assert found is None or found.judge == "a probe of the dataset"
    monkeypatch.setattr(answer_errors, "_can_judge", lambda *_: True)
    found = judge_errors(
        new,
        base,
        test,
        model=PublishedModel("t", "number", folder="model"),
        modality="table",
        answer=NUMBER,
    )
    assert found is not None
    assert found.judge == "the published model"
    assert found.quality.p_value < 0.05  # what it would have said of good rows
