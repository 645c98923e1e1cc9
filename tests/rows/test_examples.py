"""Language data as canonical rows."""

import pyarrow as pa
import pytest

from hub_trainer.errors import DataError
from hub_trainer.inputs.language_examples import as_prompts, asked_and_answers, example_of
from hub_trainer.rows.canonical import RowSpec, canonical_rows
from hub_trainer.rows.formats import detect_format
from hub_trainer.rows.language_rows import examples_of
from hub_trainer.rows.read import RawSplit

SPEC = RowSpec("prompt", {"example": "completion"})
TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
]


def made(rows: list[dict[str, object]], spec: RowSpec = SPEC, **names: list[str]):
    raw = RawSplit(pa.Table.from_pylist(rows), "default", names, {})
    return canonical_rows(raw, spec, source="o/d@sha")


def test_rows_when_question_and_answer_then_text_prompt_label_and_example() -> None:
    [row] = made([{"question": "2 + 2?", "answer": "4"}]).table.to_pylist()
    assert row["text"] == "user: 2 + 2?\nassistant: 4"
    assert (row["prompt"], row["label"]) == ("user: 2 + 2?", "demonstration")
    example = example_of(row)
    assert example == detect_format(["question", "answer"]).example(
        {"question": "2 + 2?", "answer": "4"}
    )


def test_rows_when_dialogue_then_the_last_answer_is_asked_for() -> None:
    [row] = made([{"messages": TURNS}]).table.to_pylist()
    assert row["prompt"] == "user: Hello\nassistant: Hi!\nuser: 2 + 2?"
    asked, answers = asked_and_answers(example_of(row))
    assert (list(asked), [list(a) for a in answers]) == (TURNS[:3], [TURNS[3:]])


def test_rows_when_rated_then_the_label_says_how() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": 1, "_weight": 0.5}]
    rows += [{"prompt": "a", "completion": "c", "label": 0, "_weight": 1.0}]
    rows += [{"prompt": "a", "completion": "d", "label": None, "_weight": 1.0}]
    found = made(rows, label=["false", "true"])
    assert found.dropped == {"no label": 1}
    table = found.table
    assert table["label"].to_pylist() == ["desirable", "undesirable"]
    known, examples = examples_of(table.to_pylist())
    assert (known.kind, [one.weight for one in examples]) == ("kto", [0.5, 1.0])
    assert table["text"].to_pylist() == ["ab", "ac"]


def test_rows_when_columns_are_mapped_then_they_are_read_under_our_names() -> None:
    spec = RowSpec("prompt", {"example": "completion"}, columns={"prompt": "q", "completion": "a"})
    [row] = made([{"q": "x", "a": "y", "expected": ["y", "z"]}], spec).table.to_pylist()
    assert example_of(row).expected == ("y", "z")


def test_rows_when_an_answer_was_cut_off_then_the_example_says_so() -> None:
    rows = [{"prompt": "x", "completion": "y", "_finished": [False]}]
    [row] = made(rows).table.to_pylist()
    assert example_of(row).finished == (False,)


def test_rows_when_a_column_is_a_slice_then_it_is_kept() -> None:
    spec = RowSpec("prompt", {"example": "completion"}, slices=("topic",))
    table = made([{"text": "x", "topic": "cats"}], spec).table
    assert table["topic"].to_pylist() == ["cats"]


def test_rows_when_a_slice_is_dropped_then_it_is_kept_all_the_same() -> None:
    spec = RowSpec(
        "prompt", {"example": "completion"}, slices=("prompt",), drop_columns=("prompt",)
    )
    table = made([{"text": "x", "prompt": "cats"}], spec).table
    assert table["prompt"].to_pylist() == ["cats"]
    assert table["text"].to_pylist() == ["x"]


def test_rows_when_one_breaks_the_format_then_it_is_dropped_and_counted() -> None:
    rows = [
        {"prompt": "a", "chosen": "b", "rejected": "b"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ]
    found = made(rows)
    assert found.dropped == {"chosen and rejected are the same": 1}
    assert found.first_dropped == [(1, "chosen and rejected are the same")]
    assert found.table["text"].to_pylist() == ["ab\n\nc"]


def test_rows_when_one_breaks_the_format_and_is_kept_then_an_error_names_it() -> None:
    spec = RowSpec("prompt", {"example": "completion"}, clean=False)
    with pytest.raises(DataError, match="A row cannot be used: chosen and rejected are") as found:
        made([{"prompt": "a", "chosen": "b", "rejected": "b"}], spec)
    assert found.value.where == "o/d@sha, row 1"


def test_rows_when_columns_are_of_no_format_then_the_error_says_where() -> None:
    with pytest.raises(DataError, match="no known format of language data") as found:
        made([{"x": "y"}])
    assert (found.value.where, found.value.got) == ("o/d@sha", "x")


def test_rows_when_a_mapped_column_is_missing_then_the_error_names_it() -> None:
    spec = RowSpec("prompt", {"example": "completion"}, columns={"prompt": "q"})
    with pytest.raises(DataError, match="no column 'q' for prompt"):
        made([{"prompt": "x", "completion": "y"}], spec)


def test_rows_when_a_dropped_column_is_missing_then_the_error_names_it() -> None:
    spec = RowSpec("prompt", {"example": "completion"}, drop_columns=("topic",))
    with pytest.raises(DataError, match="drop_columns names a column"):
        made([{"text": "y"}], spec)


def test_examples_when_of_several_kinds_then_they_are_refused() -> None:
    rows = made([{"text": "x"}]).table.to_pylist()
    rows += made([{"prompt": "a", "chosen": "b", "rejected": "c"}]).table.to_pylist()
    with pytest.raises(DataError, match="several kinds") as found:
        examples_of(rows)
    assert found.value.got == "demonstration, preference"


def test_prompts_when_rows_have_none_then_their_texts_stay() -> None:
    rows = [{"text": "ab", "prompt": "a"}, {"text": "c", "prompt": ""}, {"text": "d"}]
    assert [row["text"] for row in as_prompts(rows)] == ["a", "c", "d"]
