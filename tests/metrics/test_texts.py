"""The score of one answer, held to the field's own programs where there are such."""

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_trainer.errors import UsageError
from hub_trainer.metrics.answer_scores import (
    contains_all,
    exact_match,
    normalise,
    rouge_l,
    schema_check,
    token_f1,
)

TEXTS = st.text(alphabet="abAB a the, .'-01\n", max_size=40)
WORDS = st.lists(st.sampled_from(["cat", "sat", "mat", "on", "the", "a"]), max_size=30)


def squad_normalise(text):
    """As in the evaluation script of SQuAD 1.1."""
    lowered = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())


def squad_f1(prediction, truth):
    found, wanted = squad_normalise(prediction).split(), squad_normalise(truth).split()
    same = sum((Counter(found) & Counter(wanted)).values())
    if len(found) == 0 or len(wanted) == 0:
        return int(found == wanted)
    if same == 0:
        return 0
    precision, recall = same / len(found), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_exact_match_and_f1_of_any_texts_are_those_of_squad(answer, reference):
    assert normalise(answer) == squad_normalise(answer)
    assert exact_match(answer, reference) == (squad_normalise(answer) == squad_normalise(reference))
    assert token_f1(answer, reference) == pytest.approx(squad_f1(answer, reference), abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS)
def test_rouge_of_any_words_is_that_of_rouge_score(found, wanted):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    answer, reference = ", ".join(found), " ".join(wanted).title() + "."
    expected = scorer.score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference) == pytest.approx(expected, abs=1e-12)


def test_rouge_of_a_case_by_hand():
    # longest common sequence: "the cat the mat", 4 of 6 and of 5 words
    found = rouge_l("The cat sat on the mat.", "the cat and the mat")
    assert found == pytest.approx(2 * 4 / (6 + 5))
    assert rouge_l("", "") == 0
    assert rouge_l("mat the", "the mat") == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("Привет, мир", "привет мир", 1.0),
        ("東京は大きい", "東京", 2 * 2 / 8),
        ("naïve", "naive", 0),
    ],
)
def test_rouge_when_not_english_then_its_words_count_too(answer, reference, expected):
    assert rouge_l(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("Once, Tim\nate an apple.", ["tim", "an  APPLE"], 1),
        ("It was a long time.", ["Tim"], 0),
        ("Tim ate.", ["Tim", "apple"], 0),
        ("The total is 142.", ["42"], 0),
        ("The total is 42.", ["42"], 1),
        ("She said (hi) to us", ["(hi)"], 1),
        ("東京は大きい", ["東京"], 1),
        ("STRASSE", ["straße"], 1),
        ("anything", [], 1),
    ],
)
def test_contains_when_asked_for_texts_then_whole_words_in_any_case(answer, expected, score):
    assert contains_all(answer, expected) == score


SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "who": {"$ref": "#/$defs/name"}},
    "required": ["age"],
    "$defs": {"name": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"age": 3, "who": "Ann"}', 1),
        ('{"age": "3"}', 0),
        ('{"age": 3, "who": 4}', 0),
        ('{"age": 3', 0),
        ('Sure! {"age": 3}', 0),
        ("", 0),
        ('{"age": NaN}', 0),
        ("[" * 100_000, 0),
    ],
)
def test_schema_when_an_answer_is_held_to_it_then_json_that_is_valid_counts(answer, score):
    assert schema_check(SCHEMA)(answer) == score


def test_schema_when_wrong_then_says_why():
    with pytest.raises(UsageError, match="no JSON Schema") as caught:
        schema_check({"type": "nothing"})
    assert "'nothing' is not valid" in str(caught.value)
    assert "evaluate.json_schema" in str(caught.value)


def test_schema_when_it_names_a_place_elsewhere_then_nothing_is_fetched():
    check = schema_check({"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9/schema\.json is not in it"):
        check("{}")
