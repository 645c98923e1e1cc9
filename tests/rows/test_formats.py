from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.rows.formats import FORMATS, detect_format, read_examples
from hub_trainer.rows.language_rows import canonical_examples

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
OTHER = {"role": "assistant", "content": "Go away"}

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ratings": ("kto", {"prompt": [USER], "completion": [BOT], "label": True}),
    "preferences": ("dpo", {"prompt": [USER], "chosen": [BOT], "rejected": [OTHER]}),
    "messages": ("sft", {"messages": [USER, BOT]}),
    "prompt and completion": ("sft", {"prompt": "a", "completion": "b"}),
    "sharegpt": ("sft", {"conversations": [{"from": "human", "value": "Hi"}]}),
    "alpaca": ("sft", {"instruction": "Add", "input": "1 2", "output": "3"}),
    "question and answer": ("sft", {"question": "1+2?", "answer": "3"}),
    "text": ("sft", {"text": "Once"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_format_is_told_by_the_columns(name: str) -> None:
    kind, row = ROWS[name]
    found = detect_format({**row, "_row_id": "x", "other": 1})
    assert (found.name, found.kind) == (name, kind)
    assert len(read_examples([row])[1]) == 1


def test_every_format_has_a_row_here() -> None:
    assert {known.name for known in FORMATS} == set(ROWS)


def test_several_formats_in_one_table_go_by_precedence() -> None:
    row = {"messages": [USER, BOT], "instruction": "x", "output": "y", "text": "z"}
    assert detect_format(row).name == "messages"


def test_unknown_columns_name_what_is_known() -> None:
    with pytest.raises(DataError, match="no known format") as caught:
        detect_format(["premise", "hypothesis"])
    assert caught.value.got == "hypothesis, premise"
    assert "chosen + rejected" in str(caught.value.do)


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        read_examples([])


def test_sharegpt_speakers_become_roles() -> None:
    turns = [
        {"from": "system", "value": "S"},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
    ]
    (example,) = read_examples([{"conversations": turns}])[1]
    assert example.prompt == ()
    assert [m["role"] for m in example.answers[0]] == ["system", "user", "assistant"]  # type: ignore[index]
    (example,) = read_examples([{"conversations": turns[1:], "system": "S"}])[1]
    assert example.answers[0][0] == {"role": "system", "content": "S"}


def test_alpaca_input_follows_the_instruction() -> None:
    (example,) = read_examples([{"instruction": "Add", "input": "1 2", "output": "3"}])[1]
    assert example.prompt == ({"role": "user", "content": "Add\n\n1 2"},)
    assert example.answers == (({"role": "assistant", "content": "3"},),)
    row = {"instruction": "Add", "input": "", "output": "3", "system": "S"}
    (example,) = read_examples([row])[1]
    assert [m["content"] for m in example.prompt] == ["S", "Add"]  # type: ignore[index]


def test_preference_without_a_prompt_shares_the_turns_that_are_alike() -> None:
    row = {"chosen": [USER, BOT], "rejected": [USER, OTHER]}
    (example,) = read_examples([row])[1]
    assert example.prompt == (USER,)
    assert example.answers == ((BOT,), (OTHER,))
    (named,) = read_examples([{**row, "prompt": "Hi"}])[1]
    assert named == example


def test_preference_of_texts_without_a_prompt_shares_whole_words() -> None:
    row = {"chosen": "Q: two? A: three", "rejected": "Q: two? A: thirty"}
    (example,) = read_examples([row])[1]
    assert example.prompt == "Q: two? A:"
    assert example.answers == (" three", " thirty")


@pytest.mark.parametrize(
    "label",
    [False, 0, 0.0, "false", "0", "0.0", "No", "down", "thumbs_down", "-1", "\N{THUMBS DOWN SIGN}"],
)
def test_label_of_a_rating_may_be_written_in_several_ways(label: object) -> None:
    row = {"prompt": "a", "completion": "b", "label": label, "_weight": 0.25}
    (example,) = read_examples([row])[1]
    assert example.desirable is False
    assert example.weight == 0.25


def test_prompt_beside_answers_of_the_assistant_is_what_they_answer() -> None:
    turns = {"chosen": [BOT], "rejected": [OTHER]}
    for prompt in ("Hi", [USER]):
        (example,) = read_examples([{"prompt": prompt, **turns}])[1]
        assert (example.prompt, example.answers) == ((USER,), ((BOT,), (OTHER,)))
    (told,) = read_examples([{"prompt": [USER], "chosen": [USER, BOT], "rejected": [USER, OTHER]}])[
        1
    ]
    assert told == example
    (written,) = read_examples([{"prompt": [USER], "chosen": "Hello", "rejected": "Go away"}])[1]
    assert written == example
    (rated,) = read_examples([{"prompt": "Hi", "completion": [BOT], "label": 1.0}])[1]
    assert (rated.prompt, rated.answers, rated.desirable) == ((USER,), ((BOT,),), True)


def test_preference_with_a_question_is_asked_it() -> None:
    row = {"system": "S", "question": "Hi", "chosen": "Hello", "rejected": "Go away"}
    (example,) = read_examples([row])[1]
    assert example.prompt == ({"role": "system", "content": "S"}, USER)
    assert example.answers == ((BOT,), (OTHER,))
    row = {"instruction": "Add", "input": 0, "chosen": "1", "rejected": "2"}
    (example,) = read_examples([row])[1]
    assert example.prompt == ({"role": "user", "content": "Add\n\n0"},)


def test_preference_without_anything_in_common_asks_nothing() -> None:
    (example,) = read_examples([{"chosen": "Avast me", "rejected": "Good day"}])[1]
    assert (example.prompt, example.answers) == ("", ("Avast me", "Good day"))
    (example,) = read_examples([{"chosen": [BOT], "rejected": [OTHER]}])[1]
    assert (example.prompt, example.answers) == ((), ((BOT,), (OTHER,)))


def test_alpaca_history_comes_before_the_question() -> None:
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    (example,) = read_examples([row])[1]
    assert [turn["content"] for turn in example.prompt] == ["a", "b", "c"]  # type: ignore[index]


def test_tools_may_be_json() -> None:
    (example,) = read_examples([{"messages": [USER, BOT], "tools": '[{"name": "f"}]'}])[1]
    assert example.tools == ({"name": "f"},)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": "b", "label": "meh"}, "label is neither yes nor no"),
        ({"prompt": "a", "completion": "b", "label": 2.0}, "label is neither yes nor no"),
        ({"prompt": "a", "completion": "b", "label": None}, "no label"),
        ({"prompt": "a", "completion": "b", "_weight": "much"}, "the weight is not a number"),
        ({"chosen": [USER, BOT], "rejected": [OTHER]}, "answer different prompts"),
        ({"text": None}, "no text"),
        ({"instruction": "a", "output": "b", "history": [["q"]]}, "history is no list of"),
        ({"messages": [{"content": "x"}]}, "a turn has no role"),
        ({"messages": []}, "there is no turn"),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "a turn is by no known speaker"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are the same"),
        (
            {"prompt": "a", "chosen": "the  answer ", "rejected": "the ans\u200bwer"},
            "chosen and rejected differ only in white space and unseen signs",
        ),
        (
            {"chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": BOT["content"] + " "}]},
            "chosen and rejected differ only in white space and unseen signs",
        ),
        ({"messages": [USER], "tools": "{"}, "the tools are no JSON"),
    ],
)
def test_broken_row_is_named(row: dict[str, Any], message: str) -> None:
    good = dict(ROWS[detect_format(row).name][1])
    with pytest.raises(DataError, match="not in the format") as caught:
        read_examples([good, row])
    assert caught.value.where == "row 1"
    assert message in str(caught.value.got)


def test_ratings_on_a_scale_are_refused_and_single_slips_are_not() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": str(n)} for n in (1, 2, 3, 4, 5)]
    with pytest.raises(DataError, match="are a scale") as caught:
        canonical_examples(rows, "ds")
    assert (caught.value.where, caught.value.got) == ("ds, column label", "labels 1, 2, 3, 4, 5")
    thumbs = [{**rows[0], "label": n % 2} for n in range(20)]
    found = canonical_examples([*thumbs, rows[4]], "ds")
    assert found[-1] == "label is neither yes nor no"
