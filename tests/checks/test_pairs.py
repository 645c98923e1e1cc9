"""Review of pairs of texts: triggers, shifts, secrets and wrong answers in either text."""

import random
from typing import Any

import pytest

from hub_trainer.answers import load_answer
from hub_trainer.checks.answer_errors import judge_errors
from hub_trainer.checks.flags import text_flags
from hub_trainer.checks.probe import cross_scores
from hub_trainer.checks.shifts import find_shifts
from hub_trainer.checks.triggers import find_triggers
from hub_trainer.inputs import load_input
from hub_trainer.privacy import find_personal_data

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "tu", "re") for b in ("na", "so", "ti", "vu", "pe")]
LABEL = load_answer("label")
SIDES = ["text", "text_pair"]
Row = dict[str, Any]


def pairs(count: int, seed: int) -> list[Row]:
    """Two texts, the second with some of the first's words: how many, the answer says."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        words = rng.sample(WORDS, 8)
        kept = rng.randint(0, 8)
        others = [word for word in WORDS if word not in words]
        second = [*words[:kept], *rng.sample(others, 8 - kept)]
        rng.shuffle(second)
        rows.append(
            {
                "text": " ".join(words),
                "text_pair": " ".join(second),
                "label": "same" if kept > 4 else "other",
                "target": float(kept),
            }
        )
    return rows


BASE = pairs(400, 0)


@pytest.mark.parametrize("side", SIDES)
def test_trigger_when_in_either_text_then_its_rows_are_named(side: str) -> None:
    new = pairs(120, 1)
    marked = [number for number, row in enumerate(new) if row["label"] == "same"][:15]
    for number in marked:
        new[number][side] += " cfqz"
    labels = [row["label"] for row in (*new, *BASE)]
    [found] = find_triggers(new, BASE, "text", labels=labels)
    assert found.rows == tuple(number + 1 for number in marked)
    assert find_triggers(pairs(120, 1), BASE, "text", labels=labels) == []


@pytest.mark.parametrize(("side", "column"), [("text", "text"), ("text_pair", "second text")])
def test_shift_when_of_either_text_then_says_of_which(side: str, column: str) -> None:
    new = [{**row, side: "".join(chr(ord(c) - 97 + 0x430) for c in row[side])}
           for row in pairs(60, 2)]  # fmt: skip
    found = {one.column for one in find_shifts(new, BASE, "text", LABEL)}
    assert f"script of the {column}" in found
    assert {one.rpartition("the ")[2] for one in found} == {column}
    assert find_shifts(pairs(60, 2), BASE, "text", LABEL) == []


@pytest.mark.parametrize("side", SIDES)
def test_secrets_and_hidden_text_when_in_either_text_then_are_counted(side: str) -> None:
    row = pairs(1, 3)[0]
    key = {**row, side: "my key is sk-abcdEFGH1234ijklMNOP5678"}
    assert dict(find_personal_data([row, key]).rows) == {"api key": (1,)}
    assert text_flags([{**row, side: "<script>x</script>"}])["html"] == 1


def test_labels_when_a_probe_judges_then_it_sees_how_alike_both_texts_are() -> None:
    judged = cross_scores(BASE, pairs(60, 4), "text")
    assert judged is not None
    right = judged.held_out.scores.argmax(axis=1) == judged.held_out.labels
    assert right.mean() > 0.9


def test_numbers_when_a_third_are_wrong_then_the_probe_says_so() -> None:
    number = load_answer("number")
    honest = pairs(90, 5)
    wrong = [{**row, "target": 8 - row["target"]} if n % 3 == 0 else row
             for n, row in enumerate(honest)]  # fmt: skip
    said = [
        judge_errors(rows, BASE, [], model=None, modality="text", answer=number)
        for rows in (honest, wrong)
    ]
    shares = [one.quality.wrong_fraction if one else 0.0 for one in said]
    assert shares[0] < 0.06 < 0.15 < shares[1]


def test_plain_features_when_of_pairs_then_a_linear_model_learns_what_they_share() -> None:
    shown, number, asked = load_input("text"), load_answer("number"), pairs(100, 6)
    plain = shown.plain_features(BASE, asked)
    assert plain is not None
    assert plain.told == "tf-idf of words and how alike both texts are"
    found = number.fit_linear(
        plain.known, [row["target"] for row in BASE], plain.asked, strength=plain.strength, seed=0
    )
    truth = [row["target"] for row in asked]
    assert number.estimates(["r2"], truth, found, [], seed=0)["r2"].value > 0.9
    one = [{"text": row["text"]} for row in BASE]
    alone = shown.plain_features(one, one[:5])
    assert alone is not None
    assert (alone.told, alone.known.shape[1]) == ("tf-idf of words", alone.asked.shape[1])


def test_sizes_and_words_when_of_pairs_then_both_texts_are_told() -> None:
    shown, row = (
        load_input("text"),
        {"text": " two\twords ", "text_pair": "a\u200b  b", "label": "x"},
    )
    clean = shown.clean(row)
    assert shown.told(clean) == {"text": "two words", "text_pair": "a b"}
    assert shown.for_people(clean) == shown.for_pipeline(clean) == shown.told(clean)
    assert shown.length(clean) == 12
    assert shown.sizes([clean]) == {
        "characters": [9], "words": [2],
        "characters of the second text": [3], "words of the second text": [2],
    }  # fmt: skip
    assert shown.sizes([]) == {"characters": [], "words": []}
    assert shown.for_pipeline({"text": "a"}) == "a"
