"""Spans: tags in every form, strict metrics held to seqeval, lines of raters, and their votes."""

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from hub_trainer.answers import Column, Prediction, load_answer
from hub_trainer.answers.span_lines import mended, span_lines
from hub_trainer.answers.tags import form_of, spans_of_tags, tags_of_spans
from hub_trainer.answers.word_lists import joined, written_words
from hub_trainer.errors import DataError
from hub_trainer.inputs.cleaning import clean_text
from hub_trainer.metrics.span_metrics import SPAN_METRICS, span_statistics
from hub_trainer.stats import measure

SPANS = load_answer("spans")
TYPES = ["Disease", "Gene"]
TEXT = "breast cancer and colon cancer run in families"
WORDS = TEXT.split()
PREDICTED = json.dumps({"text": TEXT, "spans": [{"start": 0, "end": 13, "label": "Disease"}]})


def drawn_tags(count: int, seed: int, prefixes: str = "BI") -> list[list[str]]:
    """Rows of tags at random, in no order that a form would have."""
    rng = random.Random(seed)
    tags = ["O", "O", *(f"{p}-{kind}" for p in prefixes for kind in TYPES)]
    return [rng.choices(tags, k=rng.randint(1, 12)) for _ in range(count)]


def found_in(rows: list[list[str]]) -> list[frozenset[Any]]:
    return [frozenset(spans_of_tags(tags)) for tags in rows]


def value(*pairs: str) -> list[list[str]]:
    return [pair.split("/") for pair in pairs]


def column(tags: Any, words: Any, kind: Any = None, **more: Any) -> Column:
    return Column(pa.chunked_array([pa.array(tags, kind)]), words=words, **more)


# --- tags and metrics

SEQEVAL = {
    "entity_f1": f1_score,
    "entity_precision": precision_score,
    "entity_recall": recall_score,
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", SEQEVAL)
@pytest.mark.filterwarnings("ignore")
def test_metric_when_compared_with_seqeval_then_equal(name: str, seed: int) -> None:
    assert set(SEQEVAL) == set(SPAN_METRICS)
    truth = drawn_tags(40, seed, "BIES")
    rng = random.Random(seed)
    given = [[tag if rng.random() < 0.8 else "O" for tag in tags] for tags in truth]
    found = measure(SPAN_METRICS[name], span_statistics(found_in(truth), found_in(given)))
    assert found == pytest.approx(SEQEVAL[name](truth, given), abs=1e-12)
    regular = [tags_of_spans(spans_of_tags(tags), len(tags)) for tags in truth]
    others = [tags_of_spans(spans_of_tags(tags), len(tags)) for tags in given]
    strict = SEQEVAL[name](regular, others, mode="strict", scheme=IOB2)
    assert found == pytest.approx(strict, abs=1e-12)


@pytest.mark.parametrize("name", SPAN_METRICS)
def test_metric_when_no_span_is_there_then_zero(name: str) -> None:
    nothing = [frozenset[Any]()] * 5
    assert measure(SPAN_METRICS[name], span_statistics(nothing, nothing)) == 0.0


@pytest.mark.parametrize(
    ("scheme", "name", "tags"),
    [
        (IOB1, "IOB1", ["I-Gene", "I-Gene", "B-Gene", "O", "I-Disease", "I-Gene"]),
        (IOB2, "IOB2", ["B-Gene", "I-Gene", "B-Gene", "O", "B-Disease", "B-Gene"]),
        (IOBES, "BIOES", ["B-Gene", "E-Gene", "S-Gene", "O", "S-Disease", "S-Gene"]),
        (BILOU, "BILOU", ["B-Gene", "L-Gene", "U-Gene", "O", "U-Disease", "U-Gene"]),
    ],
)
def test_tags_when_in_a_usual_form_then_read_as_seqeval_reads_them(
    scheme: Any, name: str, tags: list[str]
) -> None:
    [entities] = Entities([tags], scheme).entities
    expected = [(one.start, one.end, one.tag) for one in entities]
    assert spans_of_tags(tags) == expected == [(0, 2, "Gene"), (2, 3, "Gene"), (4, 5, "Disease"),
                                               (5, 6, "Gene")]  # fmt: skip
    assert tags_of_spans(expected, 6) == ["B-Gene", "I-Gene", "B-Gene", "O", "B-Disease", "B-Gene"]
    assert (form_of([tags]).name, form_of([tags]).num_repaired) == (name, 0)


def test_tags_when_one_goes_on_with_nothing_then_begun_and_counted() -> None:
    rows = [["O", "I-Gene", "I-Gene"], ["B-Gene", "I-Disease"], ["B-Gene", "O", "B-Gene"]]
    assert form_of(rows).num_repaired == 2
    values = SPANS.read(column(rows, [["a", "b", "c"], ["d", "e"], ["f", "g", "h"]]), "here")
    assert values.to_pylist()[0] == value("a/O", "b/B-Gene", "c/I-Gene")
    assert values.to_pylist()[1] == value("d/B-Gene", "e/B-Disease")


# --- reading


def test_read_when_tags_are_classes_then_their_names_and_the_types_declared() -> None:
    names = ["O", "B-Disease", "I-Disease"]
    found = SPANS.read(column([[0, 1, 2]], [["a", "b", "c"]], class_names=names), "here")
    assert found.to_pylist() == [value("a/O", "b/B-Disease", "c/I-Disease")]
    assert SPANS.cell(found.to_pylist()[0]) == ["O", "B-Disease", "I-Disease"]
    assert SPANS.declared(names) == ["Disease"]


def test_read_when_the_form_is_another_then_a_note_says_so() -> None:
    read = column([["I-Gene", "O"]], [["a", "b"]])
    SPANS.read(read, "here")
    assert read.notes == ["the tags are IOB1; they are learned as IOB2"]
    read = column([["B-Gene", "O", "B-Gene"], ["O", "I-Gene", "O"]], [["a", "b", "c"]] * 2)
    SPANS.read(read, "here")
    assert "1 spans begin with a tag that only goes on" in read.notes[0]


def test_read_when_tokens_are_odd_then_words_and_tags_stay_together() -> None:
    tokens = [["New York", "", " is\u200b", "\u200b", "big"]]
    tags = [["B-Place", "I-Place", "O", "B-Place", "I-Place"]]
    [found] = SPANS.read(column(tags, tokens), "here").to_pylist()
    assert found == value("New/B-Place", "York/I-Place", "is/O", "big/B-Place")
    text = joined(tokens[0])
    assert text == clean_text(text) == "New York is big"
    assert [word for word, _ in found] == text.split()


@pytest.mark.parametrize(
    ("words", "tags", "fault"),
    [
        (["a", "b"], ["O"], "tags and tokens differ in number"),
        (["a"], ["B-"], "a tag is not O, and not a prefix and a type as B-Disease"),
        (["a"], None, "tags are missing"),
        (["a"], ["O"], None),
    ],
)
def test_row_when_its_tags_are_broken_then_the_fault_is_named(
    words: list[str], tags: Any, fault: str | None
) -> None:
    good = [["a", "b"]] * 2, [["O", "O"]] * 2
    first = SPANS.read(column([tags, *good[1]], [words, *good[0]]), "here").to_pylist()[0]
    assert SPANS.faults(first) == ([] if fault is None else [fault])


@pytest.mark.parametrize(
    ("tags", "more", "message"),
    [
        ([["NOUN", "VERB"]], {}, "other tags than those of spans.*NOUN"),
        ([[3, 4]], {}, "'3'.*Name the classes of the numbers"),
        ([[0, 7]], {"class_names": ["O", "B-x"]}, "outside the dataset's classes.*class 7"),
        (["O O"], {}, "no lists of tags"),
    ],
)
def test_read_when_the_column_holds_something_else_then_says_what(
    tags: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        SPANS.read(column(tags, [["a", "b"]], **more), "here")
    assert __import__("re").search(message, str(error.value).replace("\n", " "))


def test_words_when_written_by_people_then_signs_stand_alone() -> None:
    assert written_words('He said: "T-cell (BRCA1), ok..."') == [
        "He", "said", ":", '"', "T-cell", "(", "BRCA1", ")", ",", "ok", ".", ".", ".", '"',
    ]  # fmt: skip


# --- rows


def test_settle_when_rows_repeat_then_the_commonest_spans() -> None:
    one, other = value("a/O", "b/B-Gene"), value("a/B-Gene", "b/O")
    assert SPANS.settle([one, other, one]) == one
    assert SPANS.settle([one, other]) is None
    assert SPANS.same(value("a/O"), [])


def test_values_when_written_and_read_then_the_same() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        words = [rng.choice(["a", "bä", "->", '"', "#2"]) for _ in range(8)]
        tags = tags_of_spans(spans_of_tags(drawn_tags(1, seed)[0][:8]), 8)
        row = [list(pair) for pair in zip(words, tags, strict=True)]
        assert SPANS.loads(SPANS.dumps(row)) == row


@pytest.mark.parametrize(
    "text",
    [
        "", "O", "[" * 100_000, '{"text": "a"}', '{"text": "a  b", "spans": []}',
        '{"text": "a b", "spans": [{"start": 1, "end": 3, "label": "Gene"}]}',
        '{"text": "a b", "spans": [{"start": 2, "end": 1, "label": "Gene"}]}',
        '{"text": "a", "spans": [{"start": 0, "end": 1, "label": ""}]}',
        '{"text": "a", "spans": [{"start": 0, "end": 1, "label": "x"},'
        ' {"start": 0, "end": 1, "label": "y"}]}',
    ],
)  # fmt: skip
def test_loads_when_the_text_is_none_then_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no text with its spans|overlap"):
        SPANS.loads(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": [value("a/O")]}, "No training row has a span"),
        ({"train": [value("a/B-x")], "test": [value("a/B-y")]}, "labels that no training row has"),
    ],
)
def test_assert_taught_when_it_cannot_be_learned_then_says_why(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        SPANS.assert_taught(values)


# --- figures


def test_compare_when_one_model_is_better_then_its_p_value_says_so() -> None:
    truth = [value("a/B-Gene", "b/O", "c/B-Disease")] * 200
    nothing = Prediction(value("a/O", "b/O", "c/O"))
    good = [Prediction(one) if n % 5 else nothing for n, one in enumerate(truth)]
    bad = [Prediction(one) if n % 2 else nothing for n, one in enumerate(truth)]
    found = SPANS.compare("entity_f1", truth, (good, bad), TYPES, seed=0)
    assert (found.p_value < 0.001, found.improvement > 0) == (True, True)
    estimate = SPANS.estimates(["entity_f1"], truth, good, TYPES, seed=0)["entity_f1"]
    assert estimate.interval.low < estimate.value < estimate.interval.high
    assert SPANS.constant(truth, "entity_f1") == (
        "no span in any of the test rows",
        Prediction([]),
    )
    none = [Prediction([])] * 200
    assert SPANS.estimates(["entity_f1"], truth, none, TYPES, seed=0)["entity_f1"].value == 0


def test_detail_when_there_are_mistakes_then_each_kind_is_counted() -> None:
    truth = [value("a/B-Gene", "b/I-Gene", "c/O"), value("a/B-Gene", "b/O", "c/B-Disease")]
    found = [value("a/B-Gene", "b/O", "c/B-Gene"), value("a/B-Disease", "b/O", "c/O")]
    detail = SPANS.detail(truth, [Prediction(one) for one in found], TYPES)
    assert detail["mistakes"] == {
        "right words, another type": 1,
        "some of the right words": 1,
        "not found": 1,
        "found where none is": 1,
    }
    rows = {one["label"]: (one["support"], one["predicted"]) for one in detail["per_type"]}
    assert rows == {"Disease": (1, 1), "Gene": (2, 2)}
    said = [one.text for one in SPANS.limits(detail, {"train": {"Gene": 9, "Disease": 1}})]
    assert said[0].startswith("The weakest type is")
    titles = [one.title for one in SPANS.sections(detail)]
    assert titles == ["Per type", "Mistakes", "Nearly right", "Nearly right by type"]


def test_fit_linear_when_words_are_known_then_their_commonest_tag() -> None:
    known = [value("New/B-Place", "York/I-Place"), value("york/O", "New/B-Place"), value("York/O")]
    [found] = SPANS.fit_linear([], known, ["york NEW in"], strength=1.0, seed=0)
    assert found.value == value("york/O", "NEW/B-Place", "in/O")


def test_difference_when_a_model_is_reloaded_then_small_or_endless() -> None:
    one = Prediction(value("a/B-Gene"), {"Gene": 0.9})
    assert SPANS.difference(one, Prediction(value("a/O"), {"Gene": 0.9})) == np.inf
    near = Prediction(value("a/B-Gene"), {"Gene": 0.8})
    assert SPANS.difference(one, near) == pytest.approx(0.1)


def test_over_when_types_are_unknown_then_left_out() -> None:
    one = Prediction(value("a/B-Gene", "b/B-Disease"), {"Gene": 0.9, "Disease": 0.8})
    [found] = SPANS.over([one], ["Disease", "Drug"])
    assert found == Prediction(value("a/O", "b/B-Disease"), {"Disease": 0.8, "Drug": 0.0})


# --- raters


def test_shown_when_predicted_then_pieces_of_the_whole_text() -> None:
    shown = SPANS.shown(Prediction(SPANS.loads(PREDICTED)))
    assert shown == [("breast cancer", "Disease"), ("and colon cancer run in families", None)]
    assert " ".join(piece for piece, _ in shown) == TEXT
    assert SPANS.told(PREDICTED) == "breast cancer (Disease)"
    assert SPANS.told("none") == "no span"


def test_draft_when_shown_then_a_line_for_each_span() -> None:
    assert SPANS.draft(PREDICTED, TYPES) == {"value": "breast cancer -> Disease"}
    assert SPANS.said("") == "none"


@pytest.mark.parametrize("seed", range(30))
def test_draft_when_sent_back_then_the_same_spans(seed: int) -> None:
    rng = random.Random(seed)
    words = rng.choices(["cancer", "can", "cer", "#2", "of", "->"], k=9)
    spans = spans_of_tags(drawn_tags(1, seed)[0][:9])
    assert mended(span_lines(words, spans) or "none", words, TYPES) == spans


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("cancer #2 -> disease\nbreast cancer -> Gene", [(0, 13, "Gene"), (24, 30, "Disease")]),
        ("cancer -> Disease", [(7, 13, "Disease")]),
        ("none", []),
        ("breast\tcancer->Gene", [(0, 13, "Gene")]),
    ],
)
def test_rating_when_lines_name_spans_then_they_are_placed(
    said: str, expected: list[tuple[int, int, str]]
) -> None:
    kept = json.loads(SPANS.rating(said, PREDICTED, TYPES))
    assert [(one["start"], one["end"], one["label"]) for one in kept["spans"]] == expected
    assert kept["text"] == TEXT
    again = SPANS.rating(json.dumps(kept), PREDICTED, TYPES)
    assert json.loads(again) == kept


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "missing"),
        ("breast cancer", "is no line such as"),
        ("-> Gene", "is no line such as"),
        ("lung -> Disease", "does not stand in the text"),
        ("cancer #3 -> Disease", "stands there less often"),
        ("cancer -> Drug", "'Drug' is no type; write one of Disease, Gene"),
        ("breast cancer -> Gene\nbreast -> Gene", "overlaps with another line"),
        ("breast cancer -> Disease", "what the model said"),
        (PREDICTED, "what the model said"),
        (PREDICTED.replace("Disease", "Drug"), "'Drug' is no type"),
        ('{"text": "other", "spans": []}', "another text"),
    ],
)
def test_rating_when_it_is_none_then_says_why(said: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPANS.rating(said, PREDICTED, TYPES)


def rated(*spans: tuple[int, int, str]) -> str:
    placed = [{"start": a, "end": b, "label": kind} for a, b, kind in spans]
    return json.dumps({"text": TEXT, "spans": placed})


BREAST, COLON, WRONG = (0, 13, "Disease"), (18, 30, "Disease"), (0, 6, "Gene")


def agreed(votes: Any, gold: Any = None, rule: str = "majority", **more: Any) -> Any:
    chosen = {"rule": rule, "min_raters": 3, "min_gold": 2, **more}
    return SPANS.agree(votes, gold or {}, **chosen)


def test_raters_when_they_agree_on_some_spans_then_span_by_span() -> None:
    votes = [("row", "ann", rated(BREAST, COLON)), ("row", "bob", rated(BREAST)),
             ("row", "cy", rated(BREAST, COLON)), ("none", "ann", rated()),
             ("none", "bob", rated()), ("none", "cy", rated(WRONG)), ("two", "ann", rated(BREAST)),
             ("two", "bob", rated(BREAST))]  # fmt: skip
    found = agreed(votes)
    assert {key: SPANS.told(said) for key, said in found.decided.items()} == {
        "row": "breast cancer (Disease), colon cancer (Disease)",
        "none": "no span",
    }
    raters = {one.rater_id: (one.num_ratings, one.num_counted) for one in found.raters}
    assert raters == {"ann": (3, 3), "bob": (3, 3), "cy": (2, 2)}


def test_raters_when_only_the_proven_are_heard_then_liars_are_not() -> None:
    gold = {f"known {n}": rated(BREAST) for n in range(4)}
    votes = [(key, who, said) for key, said in gold.items() for who in ("ann", "bob", "cy")]
    votes += [(key, liar, rated(WRONG)) for key in gold for liar in ("x", "y", "z", "w")]
    votes += [("new", who, rated(COLON)) for who in ("ann", "bob", "cy")]
    votes += [("new", liar, rated(WRONG)) for liar in ("x", "y", "z", "w", "fresh")]
    found = agreed(votes, gold, rule="dawid_skene")
    assert SPANS.told(found.decided["new"]) == "colon cancer (Disease)"
    assert {one.rater_id for one in found.raters if one.excluded} == {"fresh"}


def test_overview_when_no_row_has_a_span_then_says_so() -> None:
    assert SPANS.overview([[["a", "O"]]], ()) == "no spans"
    assert SPANS.overview([[["a", "B-x"]]], ()).startswith("1.0 spans per row of 1 type")
