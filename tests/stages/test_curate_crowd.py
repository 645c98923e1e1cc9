"""Which ratings count, what they come to, and which examples they make."""

from typing import Any

import pytest

from hub_trainer.answers import load_answer
from hub_trainer.duplicates import content_keys
from hub_trainer.errors import DataError
from hub_trainer.recipe import CurateSection
from hub_trainer.stages.curate.crowd import (
    KnownRows,
    aggregate,
    examples_of,
    read_votes,
    summarise,
)
from hub_trainer.tasks import Task, load_task

NOTHING = KnownRows({}, frozenset())
LABEL = load_answer("label")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("text-classification")


def _rating(text: str, rater: str, answer: str, **changes: Any) -> dict[str, Any]:
    values = {"generation_id": f"{text}-{rater}", "task": "text-classification", "kind": "wrong"}
    return {**values, "rater": rater, "answer": answer, "row": {"text": text}, **changes}


def _three(text: str, *answers: str) -> list[dict[str, Any]]:
    return [_rating(text, f"r{n}", answer) for n, answer in enumerate(answers)]


def _key(text: str) -> str:
    return content_keys([{"text": text}], "text")[0]


def _examples(
    task: Task, ratings: list[dict[str, Any]], known: KnownRows = NOTHING, **section: Any
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    counted = read_votes(ratings, task, CurateSection(**section))
    aggregation = aggregate(counted, known, CurateSection(**section), LABEL)
    outcome = examples_of(
        counted, aggregation, known, task, min_raters=section.get("min_raters", 3)
    )
    return [(e["text"], e["label"]) for e in outcome.examples], dict(outcome.skipped)


def test_ratings_when_most_agree_make_an_example(task: Task) -> None:
    assert _examples(task, _three("hello", "a", "a", "b")) == ([("hello", "a")], {})


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (("a", "a"), "with too few raters"),
        (("a", "b", "c"), "without agreement"),
        (("a", "a", "b", "b"), "without agreement"),
    ],
)
def test_ratings_when_few_or_tied_make_none(task: Task, answers: tuple[str, ...], why: str) -> None:
    assert _examples(task, _three("hello", *answers)) == ([], {why: 1})


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
    counted = read_votes(ratings, task, CurateSection())
    assert counted.dropped == {"superseded": 1}
    assert sorted((rater, label) for _, rater, label in counted.votes) == [
        ("r0", "b"),
        ("r1", "b"),
        ("r2", "b"),
    ]


def test_rater_when_over_the_cap_counts_with_the_earliest(task: Task) -> None:
    ratings = [*_three("one", "a", "a", "a"), *_three("two", "a", "a", "a")]
    assert _examples(task, ratings, max_ratings_per_rater=1) == ([("one", "a")], {})
    counted = read_votes(ratings, task, CurateSection(max_ratings_per_rater=1))
    assert counted.dropped == {"over the limit of a rater": 3}


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
    counted = read_votes(ratings, task, CurateSection())
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
    counted = read_votes(
        [*_three("one", "a", "a", "b"), *_three("two", "a", "b")], task, CurateSection()
    )
    aggregation = aggregate(counted, NOTHING, CurateSection(), LABEL)
    numbers = summarise(counted, examples_of(counted, aggregation, NOTHING, task, min_raters=3))
    assert numbers["num_ratings"] == 5
    assert numbers["num_raters"] == 3
    assert (numbers["num_rated_rows"], numbers["num_decided"]) == (2, 1)
    assert numbers["agreement"] == pytest.approx(2 / 3)


def _session(text: str, number: int, answer: str, source: str | None = "net") -> dict[str, Any]:
    """A rating without an account, each in a session of its own."""
    one = _rating(text, f"session{number}", answer)
    return {**one, "rater_tier": "anonymous", "source": source}


@pytest.mark.parametrize("source", ["net", None])
def test_sessions_when_a_hundred_of_one_network_are_one_source(
    task: Task, source: str | None
) -> None:
    flood = [_session("hello", n, "lie", source) for n in range(100)]
    honest = _three("hello", "a", "a", "a")
    counted = read_votes([*flood, *honest], task, CurateSection(anonymous="capped"))
    assert counted.dropped == {"of the same rater about the same row": 99}
    assert counted.notes == ["100 ratings of one source about one row count as one"]
    assert _examples(task, [*flood, *honest], anonymous="capped")[0] == [("hello", "a")]
    assert _examples(task, flood, anonymous="capped")[0] == []


def test_sessions_when_the_recipe_does_not_say_otherwise_weigh_nothing(task: Task) -> None:
    flood = [_session(f"row {n % 9}", n, "lie", f"net{n % 4}") for n in range(100)]
    counted = read_votes(flood, task, CurateSection())
    assert (list(counted.votes), counted.dropped) == ([], {"anonymous and without weight": 100})
    assert counted.notes == [
        "100 anonymous ratings of 4 sources weigh nothing (curate.anonymous: none)"
    ]
    assert read_votes(flood[:1], task, CurateSection()).notes == [
        "1 anonymous rating of 1 source weighs nothing (curate.anonymous: none)"
    ]


def test_sessions_when_of_one_network_share_its_limit(task: Task) -> None:
    flood = [_session(f"row {n}", n, "lie") for n in range(10)]
    section = CurateSection(anonymous="capped", max_ratings_per_rater=4)
    counted = read_votes(flood, task, section)
    assert len(counted.votes) == 4
    assert counted.dropped == {"over the limit of a rater": 6}


def test_accounts_when_they_ask_again_and_again_have_one_vote_a_row(task: Task) -> None:
    again = [_rating("hello", "r9", "lie", generation_id=f"g{n}") for n in range(50)]
    counted = read_votes([*again, *_three("hello", "a", "a", "a")], task, CurateSection())
    assert len(counted.votes) == 4
    assert counted.dropped == {"of the same rater about the same row": 49}


def test_raters_when_gold_is_asked_for_count_once_they_were_right(task: Task) -> None:
    """The new, who have answered no gold, and the careless, who have answered it wrongly."""
    gold = {f"gold {n}": "a" for n in range(3)}
    known = KnownRows({_key(t): frozenset({"a"}) for t in gold}, frozenset({_key("gold 0")}))
    careful = [_rating(text, f"r{n}", "a") for text in gold for n in range(3)]
    careless = [_rating(text, f"x{n}", "b") for text in gold for n in range(4)]
    asked = _three("new", "a", "a", "a")
    liars = [_rating("new", f"x{n}", "b") for n in range(4)]
    unknown = [_rating("new", f"y{n}", "b") for n in range(4)]
    ratings = [*careful, *careless, *asked, *liars, *unknown]
    assert dict(_examples(task, ratings, known)[0])["new"] == "b"
    assert _examples(task, ratings, known, gold=2)[0] == [("new", "a")]
    assert _examples(task, ratings, known, gold=3)[0] == []  # a sealed row is no gold
    counted = read_votes(ratings, task, CurateSection())
    aggregation = aggregate(counted, known, CurateSection(gold=2), LABEL)
    numbers = summarise(counted, examples_of(counted, aggregation, known, task, min_raters=3))
    assert numbers["dropped_ratings"] == {"of raters who lack right answers to known rows": 20}
