"""What people say of answers, as examples with a weight."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_trainer.duplicates import content_keys
from hub_trainer.recipe import CurateSection
from hub_trainer.stages.curate.signals import (
    KnownExamples,
    canonical_of,
    count_opinions,
    examples_of_kind,
    summarise_opinions,
    trust_of,
)

NOTHING_KNOWN = KnownExamples(frozenset(), frozenset())
WHOLE = {"_weight": 1.0, "_finished": [True]}
TURNS = [{"role": "user", "content": "Hello"}]


def said(kind: str, rater: str = "ann", answer: str = "b", **changes: Any) -> dict[str, Any]:
    """One row of a shard: a rater's word on an answer to the prompt `a`."""
    said.count += 1  # type: ignore[attr-defined]
    row = {
        "rater": rater,
        "generation_id": f"generation-{said.count}",  # type: ignore[attr-defined]
        "task": "text-generation",
        "kind": kind,
        "prompt": json.dumps("a "),
        "prediction": answer,
        "answer": "",
        "rival": None,
        "sampling": json.dumps({"seed": 1}),
    }
    return {**row, **changes}


said.count = 0  # type: ignore[attr-defined]


def preferred(better: str, worse: str, rater: str = "ann") -> dict[str, Any]:
    rival = json.dumps({"model": "o/m@1", "completion": worse, "sampling": {}})
    return said("prefer", rater, better, rival=rival)


def opinions(*rows: dict[str, Any], cap: int = 100) -> Any:
    section = CurateSection(max_ratings_per_rater=cap)
    return count_opinions(rows, "text-generation", section)


def test_opinions_when_not_of_use_then_they_are_counted_by_reason() -> None:
    twice = said("up", generation_id="g")
    found = opinions(
        said("up", task="other"), said("tie"), twice, {**twice, "kind": "down"}, said("up"), cap=2
    )
    assert [one.value for one in found.all] == ["down"]
    assert found.dropped == {
        "of another task": 1,
        "without a preference": 1,
        "superseded": 1,
        "over the limit of a rater": 1,
    }


def test_opinions_when_a_preference_becomes_a_tie_then_it_is_gone() -> None:
    first = preferred("x", "y")
    assert list(opinions(first, {**first, "kind": "tie"}).all) == []


def test_edit_when_a_thumb_follows_then_both_count() -> None:
    edit = said("edit", generation_id="g") | {"answer": "new"}
    found = opinions(edit, said("down", generation_id="g"), {**edit, "answer": "newer"})
    assert [(one.signal, one.value) for one in found.all] == [("thumb", "down"), ("edit", "newer")]
    assert found.dropped == {"superseded": 1}


def test_opinions_when_a_rater_says_too_much_then_the_first_ones_count() -> None:
    found = opinions(said("up", answer="1"), said("up", answer="2"), said("up", answer="3"), cap=2)
    assert [one.row["prediction"] for one in found.all] == ["1", "2"]
    assert found.dropped == {"over the limit of a rater": 1}


def test_thumbs_when_for_ratings_then_prompt_completion_and_label() -> None:
    found = opinions(said("up", answer="good"), said("down", answer="bad"), said("report"))
    agreed = examples_of_kind(found.all, "kto", NOTHING_KNOWN, min_raters=1)
    assert list(agreed.examples) == [
        {"prompt": "a ", "completion": "b", "label": False, **WHOLE},
        {"prompt": "a ", "completion": "bad", "label": False, **WHOLE},
        {"prompt": "a ", "completion": "good", "label": True, **WHOLE},
    ]


def test_thumbs_when_the_prompt_is_a_dialogue_then_the_answer_is_a_turn() -> None:
    found = opinions(said("up", prompt=json.dumps(TURNS)))
    [example] = examples_of_kind(found.all, "kto", NOTHING_KNOWN, min_raters=1).examples
    assert example["prompt"] == TURNS
    assert example["completion"] == ({"role": "assistant", "content": "b"},)


def test_pairs_when_for_preferences_then_chosen_and_rejected() -> None:
    found = opinions(preferred("x", "y"), said("edit", answer="old", **{}) | {"answer": "new"})
    agreed = examples_of_kind(found.all, "dpo", NOTHING_KNOWN, min_raters=1)
    pairs = {(one["chosen"], one["rejected"]) for one in agreed.examples}
    assert pairs == {("x", "y"), ("new", "old")}


def test_edits_when_for_demonstrations_then_the_edited_answer() -> None:
    changed, same = said("edit") | {"answer": "new"}, said("edit") | {"answer": "b"}
    agreed = examples_of_kind(opinions(changed, same).all, "sft", NOTHING_KNOWN, min_raters=1)
    assert list(agreed.examples) == [{"prompt": "a ", "completion": "new", **WHOLE}]
    assert agreed.skipped == {"with nothing changed": 1}


def test_answers_when_cut_off_then_their_examples_say_so() -> None:
    cut, whole = json.dumps({"finished": False}), json.dumps({"finished": True})
    rival = json.dumps({"completion": "y", "sampling": {"finished": False}})
    rows = [
        said("up", answer="good", sampling=cut),
        said("prefer", answer="x", rival=rival, sampling=whole),
        said("edit", answer="old", sampling=cut) | {"answer": "new"},
    ]
    found = opinions(*rows).all
    kinds = {
        kind: [
            one["_finished"]
            for one in examples_of_kind(found, kind, NOTHING_KNOWN, min_raters=1).examples
        ]
        for kind in ("kto", "dpo", "sft")
    }
    assert kinds["kto"] == [[False]]
    assert sorted(kinds["dpo"]) == [[True, False], [True, False]]
    assert kinds["sft"] == [[True]]


def test_raters_when_they_disagree_evenly_then_there_is_no_example() -> None:
    found = opinions(said("up", "ann"), said("down", "bob"))
    agreed = examples_of_kind(found.all, "kto", NOTHING_KNOWN, min_raters=1)
    assert (list(agreed.examples), agreed.skipped) == ([], {"without agreement": 1})


def test_raters_when_too_few_then_there_is_no_example() -> None:
    agreed = examples_of_kind(opinions(said("up")).all, "kto", NOTHING_KNOWN, min_raters=2)
    assert (list(agreed.examples), agreed.skipped) == ([], {"with too few raters": 1})


def test_pairs_when_seen_from_both_sides_then_they_are_one_item() -> None:
    rows = [preferred("x", "y", "ann"), preferred("y", "x", "bob"), preferred("x", "y", "eve")]
    [example] = examples_of_kind(opinions(*rows).all, "dpo", NOTHING_KNOWN, min_raters=3).examples
    assert (example["chosen"], example["rejected"]) == ("x", "y")
    assert 0 < example["_weight"] < 0.5


def test_trust_when_a_rater_disagrees_with_everybody_then_they_do_not_count() -> None:
    rows = []
    for number in range(40):
        right = "up" if number % 2 else "down"
        wrong = "down" if number % 2 else "up"
        rows += [said(right, name, f"answer {number}") for name in ("ann", "bob", "eve")]
        rows += [said(wrong, "mallory", f"answer {number}")]
    rows += [said("up", "mallory", "hers alone"), said("up", "new", "new")]
    found = opinions(*rows).all
    trust = trust_of(found)
    assert trust["mallory"] == 0.0
    assert trust["ann"] > trust["new"] == pytest.approx(1.0)
    agreed = examples_of_kind(found, "kto", NOTHING_KNOWN, min_raters=1)
    assert agreed.skipped == {"without agreement": 1}
    assert len(agreed.examples) == 41


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans())))
def test_weights_when_made_then_they_are_positive_and_bounded(
    votes: list[tuple[str, str, bool]],
) -> None:
    rows = [said("up" if up else "down", rater, answer) for rater, answer, up in votes]
    found = opinions(*rows).all
    agreed = examples_of_kind(found, "kto", NOTHING_KNOWN, min_raters=1)
    assert all(0 < one["_weight"] <= 1 / 0.6 for one in agreed.examples)


def test_examples_when_known_or_sealed_then_they_are_left_out() -> None:
    known = canonical_of({"prompt": "a ", "completion": "b"})
    seen = KnownExamples(frozenset(content_keys([known], "text")), frozenset())
    agreed = examples_of_kind(opinions(said("up")).all, "kto", seen, min_raters=1)
    assert agreed.skipped == {"in the dataset already": 1}
    sealed = KnownExamples(frozenset(), frozenset(content_keys([{"text": "a "}], "text")))
    agreed = examples_of_kind(opinions(said("up")).all, "kto", sealed, min_raters=1)
    assert agreed.skipped == {"sealed for the test": 1}


def test_numbers_when_summarised_then_signals_and_trust_are_there() -> None:
    found = opinions(said("up"), said("report", "bob"), preferred("x", "y"))
    agreed = examples_of_kind(found.all, "kto", NOTHING_KNOWN, min_raters=1)
    numbers = summarise_opinions(found, agreed)
    assert numbers["signals"] == {"pair": 1, "thumb": 2}
    assert (numbers["num_ratings"], numbers["num_raters"]) == (3, 2)
    assert numbers["trust"]["min"] <= numbers["trust"]["max"]
    empty = opinions()
    assert summarise_opinions(empty, agreed)["trust"] == {}


def test_thumbs_when_repeated_for_the_same_answer_are_one() -> None:
    """An answer written by taking the likeliest words is the same each time it is asked for."""
    found = opinions(*(said("up", "eve") for _ in range(30)), said("down"), said("down", "bob"))
    assert [one.rater for one in found.all] == ["eve", "ann", "bob"]
    assert found.dropped == {"of the same rater about the same answer": 29}
    assert found.notes == ["30 ratings of one source about one row count as one"]


def test_thumbs_when_anonymous_weigh_nothing_or_as_one_source() -> None:
    flood = [
        said("up", f"s{n}", rater_tier="anonymous", source=f"net{n % 2}", answer="b")
        for n in range(40)
    ]
    assert list(opinions(*flood).all) == []
    section = CurateSection(anonymous="capped")
    found = count_opinions(flood, "text-generation", section)
    assert [one.rater for one in found.all] == ["net0", "net1"]
