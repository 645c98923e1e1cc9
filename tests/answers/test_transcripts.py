"""Transcripts: error rates held to jiwer, the normaliser to Whisper's, raters, the card."""

import random
from typing import Any

import jiwer
import numpy as np
import pyarrow as pa
import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from hub_trainer.answers import Prediction, load_answer
from hub_trainer.answers.transcript import MAX_CHARACTERS, one_line
from hub_trainer.answers.transcript_votes import distance
from hub_trainer.errors import DataError
from hub_trainer.inputs import Column
from hub_trainer.metrics.senses import lower_is_better
from hub_trainer.metrics.transcripts import (
    MEANINGS,
    TRANSCRIPT_METRICS,
    edits_of,
    normalised,
    transcript_statistics,
    word_accuracy,
)
from hub_trainer.stats import measure

TRANSCRIPT = load_answer("transcript")
SAID = ["the", "cat", "sat", "on", "the", "mat", "and", "ate", "a", "red", "fish", "today"]


def column(values: list[Any], kind: Any = None, **more: Any) -> Column:
    return Column(pa.chunked_array([pa.array(values, kind)]), **more)


def drawn(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences, and what a poor listener makes of them; some of it is nothing."""
    rng = random.Random(seed)
    truth = [" ".join(rng.choices(SAID, k=rng.randint(1, 9))) for _ in range(count)]
    given = []
    for text in truth:
        words = [rng.choice(SAID) if rng.random() < 0.3 else word for word in text.split()]
        kept = [word for word in words if rng.random() > 0.2]
        given.append(" ".join(kept + ["um"] * (rng.random() < 0.2)))
    return truth, given


def predictions(texts: list[str]) -> list[Prediction]:
    return [Prediction(text) for text in texts]


# --- metrics


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "oracle"), [("wer", jiwer.wer), ("cer", jiwer.cer)])
def test_metric_when_compared_with_jiwer_then_equal(name: str, oracle: Any, seed: int) -> None:
    truth, given = drawn(40, seed)
    found = measure(TRANSCRIPT_METRICS[name], transcript_statistics(name, truth, given))
    assert found == pytest.approx(oracle(truth, given), abs=1e-12)
    spelled = [text.title() + "." for text in truth]
    as_written = transcript_statistics(f"{name}_ortho", spelled, given)
    assert measure(TRANSCRIPT_METRICS[f"{name}_ortho"], as_written) == pytest.approx(
        oracle(spelled, given), abs=1e-12
    )
    unspelled = transcript_statistics(name, spelled, given)
    assert measure(TRANSCRIPT_METRICS[name], unspelled) == pytest.approx(found, abs=1e-12)


def test_metrics_when_listed_then_each_has_a_meaning_and_a_sense() -> None:
    assert set(MEANINGS) == set(TRANSCRIPT_METRICS) == set(TRANSCRIPT.metrics)
    assert [name for name in MEANINGS if not lower_is_better(name)] == ["exact_match"]


def test_exact_match_when_only_case_and_punctuation_differ_then_a_match() -> None:
    statistics = transcript_statistics("exact_match", ["Yes, no.", "yes"], ["yes no", "no"])
    assert measure(TRANSCRIPT_METRICS["exact_match"], statistics) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Don't  SHOUT, [laughter] (he said) <unk> it's 5.50!",
        "Größe: ÉCOLE naïve café",
        "Привет, МИР — «да»",
        "ｆｕｌｌ ｗｉｄｔｈ，今日は",
        "(unclosed [bracket",
        "",
    ],
)
def test_normalised_when_the_text_has_no_marks_of_its_own_then_as_whisper_has_it(text: str) -> None:
    assert normalised(text) == BasicTextNormalizer()(text).strip()


def test_normalised_when_the_script_needs_marks_then_words_stay_whole() -> None:
    assert len(normalised("हिन्दी में बोलो").split()) == 3
    assert len(BasicTextNormalizer()("हिन्दी में बोलो").split()) > 3


def test_edits_when_aligned_then_each_kind_has_its_words() -> None:
    [one, nothing] = edits_of(["the cat sat down", "yes"], ["a cat sat on the mat", ""])
    assert (one.hits, one.replaced, one.left_out) == (2, (("the", "a"), ("down", "mat")), ())
    assert (one.inserted, one.count) == (("on", "the"), 4)
    assert (nothing.left_out, nothing.count) == (("yes",), 1)
    assert edits_of([], []) == []


def test_word_accuracy_when_more_is_wrong_than_was_said_then_zero() -> None:
    references = ["yes no", "yes", "yes yes yes yes", "...", "..."]
    found = ["yes no", "no no no", "yes yes yes no", "", "um"]
    assert word_accuracy(references, found).tolist() == [1.0, 0.0, 0.75, 1.0, 0.0]


# --- rows


def test_read_when_texts_then_one_line_each() -> None:
    cells = [" two\nlines\u200b ", "e\u0301", None, "\u200b"]
    assert TRANSCRIPT.read(column(cells), "here").to_pylist() == ["two lines", "é", None, ""]
    classes = column([1, 0], class_names=["no", "yes"])
    assert TRANSCRIPT.read(classes, "here").to_pylist() == ["yes", "no"]
    untyped = column([5, None], written=pa.chunked_array([pa.array(["05", None])]))
    assert TRANSCRIPT.read(untyped, "here").to_pylist() == ["05", None]


@pytest.mark.parametrize(
    ("cells", "got"),
    [([1, 2], "int64"), ([{"a": 1}], "struct"), ([["a"]], "list"), ([b"a"], "bin")],
)
def test_read_when_the_column_holds_no_texts_then_says_what(cells: list[Any], got: str) -> None:
    with pytest.raises(DataError, match="holds no transcripts") as error:
        TRANSCRIPT.read(column(cells), "here")
    assert got in str(error.value.got)
    assert "columns: {text: ...}" in str(error.value.do)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, ["text is missing"]),
        (" ", ["text is empty"]),
        ("...", ["text has no word"]),
        ("[noise]", ["text has no word"]),
        ("a" * (MAX_CHARACTERS + 1), ["text is longer than 2,000 characters"]),
        ("yes", []),
    ],
)
def test_faults_when_a_value_is_none_then_named(value: Any, fault: list[str]) -> None:
    assert TRANSCRIPT.faults(value) == fault


def test_settle_when_the_words_are_the_same_then_the_commonest_spelling() -> None:
    assert TRANSCRIPT.settle(["Yes.", "yes", "yes"]) == "yes"
    assert TRANSCRIPT.settle(["yes", "no"]) is None


def test_assert_taught_when_all_rows_say_the_same_then_says_so() -> None:
    with pytest.raises(DataError, match="all have one transcript"):
        TRANSCRIPT.assert_usable({"train": ["Yes", "yes."], "test": ["no"]})
    TRANSCRIPT.assert_taught({"train": ["yes", "no"], "test": ["maybe"]})


def test_notes_when_some_are_in_capitals_then_told() -> None:
    assert TRANSCRIPT.notes(["YES", "no", "5", ""])[0].startswith("1 of 2 transcripts are all in")
    assert TRANSCRIPT.notes(["YES", "NO"]) == TRANSCRIPT.notes(["yes", "no"]) == []


def test_overview_when_told_then_lengths_and_words() -> None:
    told = TRANSCRIPT.overview(["Yes no.", "yes"], ())
    assert told == "transcripts of 1 to 2 words, 2 different ones"
    assert TRANSCRIPT.overview([], ()) == "no transcripts"
    assert TRANSCRIPT.sizes(["yes no"]) == {"words": [2.0]}


# --- measured


def test_constant_when_chosen_then_none_of_the_common_is_better() -> None:
    values = ["yes yes no"] * 3 + ["yes no no", "no yes no", "yes no yes"]
    for metric in ("wer", "cer"):
        best = TRANSCRIPT.constant(values, metric)[1].value
        rates = {
            text: measure(
                TRANSCRIPT_METRICS[metric], transcript_statistics(metric, values, [text] * 6)
            )
            for text in set(values)
        }
        assert rates[best] == min(rates.values()) < 1
    assert TRANSCRIPT.constant(values, "exact_match")[1].value == "yes yes no"
    assert TRANSCRIPT.constant(values, "")[1].value in values


def test_compare_when_the_new_model_errs_less_then_better_in_the_metrics_sense() -> None:
    truth, given = drawn(120, 1)
    better = [t if n % 2 else g for n, (t, g) in enumerate(zip(truth, given, strict=True))]
    pair = predictions(better), predictions(given)
    found = TRANSCRIPT.compare("wer", truth, pair, (), seed=0)
    assert found.metric == "wer"
    assert found.p_value < 0.01
    estimates = TRANSCRIPT.estimates(["wer", "exact_match"], truth, pair[0], (), seed=0)
    assert estimates["wer"].value in estimates["wer"].interval
    assert estimates["exact_match"].method == "wilson"


def test_probe_when_fitted_then_the_nearest_rows_transcript() -> None:
    rng = np.random.default_rng(0)
    middles = {"yes": [0.0, 0.0, 5.0], "no": [900.0, 0.0, 5.0]}
    values = ["yes", "no"] * 20
    features = np.array([middles[value] for value in values]) + rng.normal(0, 1, (40, 3))
    asked = np.array([middles["no"], middles["yes"]])
    found = TRANSCRIPT.fit_linear(features, values, asked, strength=1.0, seed=0)
    assert [one.value for one in found] == ["no", "yes"]


def test_slices_when_lengths_differ_then_short_and_long() -> None:
    assert TRANSCRIPT.slices(["yes", "no", "yes no yes"]) == {
        "words said": ["up to the median", "up to the median", "over the median"]
    }
    assert TRANSCRIPT.slices(["yes", "no"]) == {}


def test_detail_when_words_are_wrong_then_card_and_limits_name_them() -> None:
    truth = ["seven is lucky"] * 4 + ["yes"]
    found = predictions(["eleven is lucky", "eleven is lucky", "heaven is lucky", "is lucky", ""])
    detail = TRANSCRIPT.detail(truth, found, ())
    assert detail["edits"] == {"said": 13, "replaced": 3, "left_out": 2, "inserted": 0}
    assert detail["worst_words"][0] == {"word": "seven", "said": 4, "wrong": 4, "instead": "eleven"}
    errors, words = TRANSCRIPT.sections(detail)
    assert "13 words that were said in 5 test clips; 0 clips are without an error" in errors.text
    assert words.rows[0] == ["seven", "eleven", 4, 4]
    said = [one.text.format(*one.values) for one in TRANSCRIPT.limits(detail, {})]
    assert said == [
        "It writes nothing for 1 test clips.",
        "Of 4 times that seven was said, it was wrong 4 times.",
    ]


def test_limits_when_the_model_babbles_then_they_say_so() -> None:
    found = predictions(["yes so it goes on"] * 3)
    said = [one.text for one in TRANSCRIPT.limits(TRANSCRIPT.detail(["yes"] * 3, found, ()), {})]
    assert said[0] == "It writes the same for every test clip."
    assert said[1].startswith("Most of its errors are words that nobody said")
    perfect = TRANSCRIPT.detail(["yes", "no"], predictions(["Yes.", "no"]), ())
    assert TRANSCRIPT.limits(perfect, {}) == []
    assert [one.title for one in TRANSCRIPT.sections(perfect)] == ["Errors"]


def test_difference_when_a_letter_differs_then_endless() -> None:
    assert TRANSCRIPT.difference(Prediction("Yes."), Prediction("Yes.")) == 0.0
    assert TRANSCRIPT.difference(Prediction("Yes."), Prediction("yes")) == float("inf")
    assert TRANSCRIPT.same("Yes.", "yes")


# --- raters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "missing"),
        (" yes  no", "what the model said"),
        ("...", "The text has no word."),
        ("a" * 3_000, "The text is longer than 2,000 characters."),
    ],
)
def test_rating_when_it_is_none_then_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSCRIPT.rating(text, "yes no", ())


def test_rating_when_mended_then_in_one_line() -> None:
    assert TRANSCRIPT.rating(" Yes,\nno ", "yes no", ()) == "Yes, no"
    assert TRANSCRIPT.draft("yes", ()) == {"value": "yes"}
    assert (TRANSCRIPT.told(""), TRANSCRIPT.told("yes")) == ("nothing", "yes")
    assert one_line(TRANSCRIPT.said(None)) == ""


def agreed(votes: Any, gold: Any = None, **rule: Any) -> Any:
    chosen = {"rule": "majority", "min_raters": 3, "min_gold": 2, **rule}
    return TRANSCRIPT.agree(votes, gold or {}, **chosen)


def test_agree_when_spellings_differ_then_the_nearest_to_all() -> None:
    votes = [
        ("clip", "ann", "the cat sat on the mat"),
        ("clip", "bob", "The cat sat on the mat."),
        ("clip", "cy", "the cat sat on a mat"),
        ("clip", "eve", "buy my watches"),
    ]
    assert agreed(votes).decided == {"clip": "The cat sat on the mat."}
    [row] = agreed(votes).labels
    assert (row.confidence, row.num_raters) == (0.75, 4)
    assert {one.rater_id: one.accuracy for one in agreed(votes).raters}["eve"] == 0.0


def test_agree_when_too_few_or_far_apart_then_undecided() -> None:
    assert agreed([("clip", "ann", "yes"), ("clip", "bob", "yes")]).decided == {}
    apart = [("clip", who, text) for who, text in (("a", "one"), ("b", "two"), ("c", "horse"))]
    assert agreed(apart).decided == {}


def test_agree_when_only_the_proven_are_heard_then_a_coalition_is_not() -> None:
    gold = {f"known {n}": f"clip number {n} says {SAID[n]}" for n in range(5)}
    votes = [(key, who, text) for key, text in gold.items() for who in ("ann", "bob", "cy")]
    votes += [(key, liar, "nonsense") for key in gold for liar in "wxyz"]
    votes += [("new", who, "a red fish") for who in ("ann", "bob", "cy")]
    votes += [("new", liar, "nonsense") for liar in "wxyz"]
    assert agreed(votes).decided["new"] == "nonsense"
    found = agreed(votes, gold, rule="dawid_skene")
    assert found.decided["new"] == "a red fish"
    assert {one.rater_id for one in found.raters if one.excluded} == set("wxyz")
    assert "known" in TRANSCRIPT.rule("dawid_skene", "3 raters")
    assert "known" not in TRANSCRIPT.rule("majority", "3 raters")


def test_agree_when_a_rater_is_more_often_right_then_weighs_more() -> None:
    gold = {f"known {n}": "one two three four five six seven" for n in range(4)}
    votes = [(key, "ann", text) for key, text in gold.items()]
    votes += [
        (key, who, "one too three four five six seven") for key in gold for who in ("bob", "cy")
    ]
    votes += [("new", "ann", "seven"), ("new", "bob", "eleven")]
    found = agreed(votes, gold, rule="dawid_skene", min_raters=2)
    [row] = [one for one in found.labels if one.example_id == "new"]
    assert row.decided
    assert row.label == "seven"


def test_distance_when_one_is_empty_then_all_of_it() -> None:
    assert distance("", "") == 0.0
    assert distance("", "abc") == distance("abc", "") == 1.0
    assert distance("abcd", "abce") == 0.25
