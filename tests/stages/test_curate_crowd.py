"""Which ratings count, what they come to, and which examples they make."""

from typing import Any

import pytest

from hub_trainer.duplicates import content_keys
from hub_trainer.errors import DataError
from hub_trainer.recipe import CurateSection
from hub_trainer.stages.curate.crowd import (
    KnownRows,
    aggregate,
    count_ratings,
    examples_of,
    summarise,
)
from hub_trainer.tasks import Task, load_task

NOTHING = KnownRows({}, frozenset())


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("text-classification")


def _rating(text: str, rater: str, answer: str, **changes: Any) -> dict[str, Any]:
    values = {"generation_id": f"{text}-{rater}", "task": "text-classification"}
    return {**values, "rater": rater, "answer": answer, "row": {"text": text}, **changes}


def _three(text: str, *answers: str) -> list[dict[str, Any]]:
    return [_rating(text, f"r{n}", answer) for n, answer in enumerate(answers)]


def _key(text: str) -> str:
    return content_keys([{"text": text}], "text")[0]


def _examples(
    task: Task, ratings: list[dict[str, Any]], known: KnownRows = NOTHING, **section: Any
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    counted = count_ratings(ratings, task)
    aggregation = aggregate(counted, known, CurateSection(**section))
    outcome = examples_of(counted, aggregation, known, task)
    return [(e["text"], e["label"]) for e in outcome.examples], dict(outcome.skipped)


def test_ratings_when_most_agree_make_an_example(task: Task) -> None:
    assert _examples(task, _three("hello", "a", "a", "b")) == ([("hello", "a")], {})


@pytest.mark.parametrize("answers", [("a", "a"), ("a", "b", "c"), ("a", "a", "b", "b")])
def test_ratings_when_few_or_tied_make_none(task: Task, answers: tuple[str, ...]) -> None:
    assert _examples(task, _three("hello", *answers)) == (
        [],
        {"too few raters, or no agreement": 1},
    )


def test_ratings_when_contents_are_equal_once_normalised_count_together(task: Task) -> None:
    ratings = [
        _rating("Hello there", "r1", "a"),
        _rating("hello  there", "r2", "a"),
        _rating("HELLO THERE ", "r3", "a"),
    ]
    assert _examples(task, ratings) == ([("Hello there", "a")], {})


def test_rating_when_the_rater_changed_it_counts_once_as_last_said(task: Task) -> None:
    ratings = _three("hello", "a", "b", "b")
    ratings.append(_rating("hello", "r0", "b"))
    counted = count_ratings(ratings, task)
    assert counted.dropped == {"superseded": 1}
    assert sorted((rater, label) for _, rater, label in counted.votes) == [
        ("r0", "b"),
        ("r1", "b"),
        ("r2", "b"),
    ]


def test_rater_when_over_the_cap_counts_with_the_earliest(task: Task) -> None:
    ratings = [*_three("one", "a", "a", "a"), *_three("two", "a", "a", "a")]
    found, skipped = _examples(task, ratings, max_ratings_per_rater=1)
    assert found == [("one", "a")]
    assert skipped == {"too few raters, or no agreement": 1}


def test_rows_when_in_the_dataset_are_new_only_under_another_label(task: Task) -> None:
    known = KnownRows(
        {_key("same"): frozenset({"a"}), _key("other"): frozenset({"b"})}, frozenset()
    )
    ratings = [*_three("same", "a", "a", "a"), *_three("other", "a", "a", "a")]
    assert _examples(task, ratings, known) == ([("other", "a")], {"in the dataset already": 1})


def test_rows_when_sealed_never_become_examples(task: Task) -> None:
    known = KnownRows({}, frozenset({_key("secret")}))
    assert _examples(task, _three("secret", "a", "a", "a"), known) == (
        [],
        {"sealed for the test": 1},
    )


def test_ratings_when_of_another_task_or_broken_are_dropped_and_counted(task: Task) -> None:
    ratings = [
        _rating("hello", "r1", "a", task="image-classification"),
        _rating(" ", "r2", "a"),
        _rating("hello", "r3", "a", row={"image": b"x"}),
        _rating("hello", "r4", "a"),
    ]
    counted = count_ratings(ratings, task)
    assert counted.dropped == {"of another task": 1, "not usable by the task": 2}
    assert len(counted.votes) == 1


def test_dawid_skene_when_half_of_the_crowd_colludes_follows_the_gold(task: Task) -> None:
    gold = {f"gold {n}": "ab"[n % 2] for n in range(12)}
    new = {f"new {n}": "ab"[n % 2] for n in range(12)}
    flipped = {"a": "b", "b": "a"}
    ratings = [
        _rating(text, f"{kind}{n}", label if kind == "honest" else flipped[label])
        for text, label in {**gold, **new}.items()
        for kind in ("honest", "liar")
        for n in range(3)
    ]
    known = KnownRows({_key(t): frozenset({label}) for t, label in gold.items()}, frozenset())
    found, skipped = _examples(task, ratings, known, aggregate="dawid_skene")
    assert dict(found) == new
    assert skipped == {"in the dataset already": 12}
    assert _examples(task, ratings, known)[0] == []


def test_dawid_skene_when_no_rated_row_is_known_says_so(task: Task) -> None:
    with pytest.raises(DataError, match="no gold"):
        _examples(task, _three("hello", "a", "a", "a"), aggregate="dawid_skene")
    assert _examples(task, [], aggregate="dawid_skene") == ([], {})


def test_summary_when_made_counts_ratings_raters_and_agreement(task: Task) -> None:
    counted = count_ratings([*_three("one", "a", "a", "b"), *_three("two", "a", "b")], task)
    aggregation = aggregate(counted, NOTHING, CurateSection())
    numbers = summarise(counted, examples_of(counted, aggregation, NOTHING, task))
    assert numbers["num_ratings"] == 5
    assert numbers["num_raters"] == 3
    assert (numbers["num_rated_rows"], numbers["num_decided"]) == (2, 1)
    assert numbers["agreement"] == pytest.approx(2 / 3)
