from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.finetune.language.encode import (
    Encoded,
    Reading,
    check_batch,
    check_classes,
    encode,
)
from hub_trainer.finetune.language.preview import preview
from hub_trainer.rows.formats import read_examples
from tests.finetune.language.tiny import CHAT, WITH_TAGS, WITHOUT_TAGS, tokenizer

OUTSIDE = WITH_TAGS.replace(
    "{{m['content'] + '<|im_end|>'}}{% endgeneration %}{{'\\n'}}",
    "{{m['content']}}{% endgeneration %}{{'<|im_end|>\\n'}}",
)


def encoded(rows: list[dict[str, Any]], made: Any = None, **options: Any) -> Encoded:
    found, examples = read_examples(rows)
    return encode(examples, made or tokenizer(), found, Reading(**{"max_length": 200, **options}))


def answers(count: int, size: int = 3) -> list[dict[str, Any]]:
    return [{"prompt": "ask", "completion": "a" * size} for _ in range(count)]


def test_row_holds_tokens_marks_and_weight() -> None:
    made = tokenizer()
    found = encoded([{"messages": list(CHAT), "_weight": 0.5}], made)
    (row,) = found.rows
    assert found.kind == "sft"
    assert row["weight"] == 0.5
    assert row["prompt"] == []
    assert len(row["answers"][0]) == len(row["trained"][0]) == found.num_tokens


def test_prompt_counts_once_per_answer() -> None:
    row = {"prompt": "ab", "chosen": "cd", "rejected": "efg"}
    assert encoded([row]).num_tokens == 2 + (2 + 1) + 2 + (3 + 1)


def test_long_answer_is_cut_at_the_end_and_counted() -> None:
    found = encoded([*answers(1, 20), *answers(3)], max_length=10)
    assert (found.num_truncated, found.num_dropped) == (1, 0)
    assert len(found.rows[0]["answers"][0]) == len(found.rows[0]["trained"][0]) == 7


def test_answer_that_was_cut_off_teaches_no_end() -> None:
    made = tokenizer()
    end = made.convert_tokens_to_ids("<|im_end|>")
    asked, said = [{"role": "user", "content": "One?"}], [{"role": "assistant", "content": "Y"}]
    rows: list[dict[str, Any]] = [
        {"prompt": "ask", "completion": "abc", "_finished": [False]},
        {"prompt": asked, "completion": said, "_finished": [False]},
    ]
    for row in rows:
        (whole,) = encoded([{**row, "_finished": [True]}], made).rows
        (open_ended,) = encoded([row], made).rows
        ids = open_ended["answers"][0]
        assert end in whole["answers"][0]
        assert end not in ids
        assert ids == whole["answers"][0][: len(ids)]
        assert len(ids) == len(open_ended["trained"][0]) > 0


def test_preference_whose_rejected_answer_was_cut_off_keeps_the_end_of_the_chosen_one() -> None:
    row = {"prompt": "ab", "chosen": "cd", "rejected": "efg", "_finished": [True, False]}
    (found,) = encoded([row]).rows
    assert [len(ids) for ids in found["answers"]] == [3, 3]


def test_example_with_nothing_left_is_dropped_and_counted() -> None:
    long = {"prompt": "a" * 30, "completion": "b"}
    found = encoded([long, *answers(20)], max_length=10)
    assert (len(found.rows), found.num_dropped) == (20, 1)


def test_too_many_examples_with_nothing_left_are_refused() -> None:
    rows = [{"prompt": "a" * 30, "completion": "b"}, *answers(3)]
    with pytest.raises(DataError, match="nothing left to learn") as caught:
        encoded(rows, max_length=10)
    assert "1 of 4 examples" in str(caught.value.got)
    assert "max_length" in str(caught.value.do)


def test_dialogues_without_the_assistant_are_refused() -> None:
    with pytest.raises(DataError, match="nothing left to learn") as caught:
        encoded([{"messages": list(CHAT[:2])}])
    assert "0 were cut" in str(caught.value.got)


def test_template_that_never_learns_to_stop_is_refused() -> None:
    with pytest.raises(DataError, match="would never learn to stop") as caught:
        encoded([{"messages": list(CHAT)}], tokenizer(OUTSIDE))
    assert "the last learned token is '.'" in str(caught.value.got)


def test_other_end_than_the_templates_is_refused_unless_generation_stops_there() -> None:
    made = tokenizer(WITHOUT_TAGS, eos_token="<s>", bos_token=None)
    rows = [{"messages": list(CHAT)}]
    with pytest.raises(DataError, match="would never learn to stop") as caught:
        encoded(rows, made)
    assert "the end is '<s>'" in str(caught.value.got)
    assert encoded(rows, made, stops=made.convert_tokens_to_ids(["<|im_end|>"])).rows


def test_examples_that_were_all_cut_need_no_end() -> None:
    assert encoded(answers(2, 20), max_length=10).num_truncated == 2


def test_padding_with_the_end_token_masks_nothing_away() -> None:
    usual, same = tokenizer(), tokenizer(pad_token="<|im_end|>")
    assert same.pad_token_id == same.eos_token_id
    rows = [{"messages": list(CHAT)}, *({"messages": list(CHAT)} for _ in range(3))]
    assert encoded(rows, same).rows == encoded(rows, usual).rows
    row = encoded(rows, same).rows[0]
    marks = dict.fromkeys(row["answers"][0], False)
    for token, mark in zip(row["answers"][0], row["trained"][0], strict=True):
        marks[token] |= mark
    assert marks[same.eos_token_id]


def test_two_begins_of_text_are_refused() -> None:
    made = tokenizer("{{bos_token}}" + "{{bos_token}}" + WITHOUT_TAGS)
    with pytest.raises(DataError, match="two begin-of-text tokens") as caught:
        encoded([{"messages": list(CHAT)}, {"messages": list(CHAT)}], made)
    assert caught.value.where == "example 0"
    assert "<s><s>" in str(caught.value.got)
    assert encoded([{"messages": list(CHAT)}], tokenizer("{{bos_token}}" + WITHOUT_TAGS)).rows


def test_ratings_of_one_kind_are_refused() -> None:
    rows = [{"prompt": "a", "completion": str(i), "label": True} for i in range(3)]
    with pytest.raises(DataError, match="ratings of both kinds") as caught:
        check_classes(encoded(rows))
    assert "3 desirable and 0 undesirable" in str(caught.value.got)
    rows[1]["label"] = False
    assert [row["desirable"] for row in encoded(rows).rows] == [True, False, True]


def test_batch_of_one_rating_is_refused() -> None:
    with pytest.raises(DataError, match="batches of two or more"):
        check_batch("kto", "kto", 1)
    check_batch("kto", "kto", 2)
    check_batch("kto", "apo_zero_unpaired", 1)
    check_batch("sft", "nll", 1)


@pytest.mark.parametrize(
    ("row", "train_on"),
    [
        ({"text": "Once"}, "completion"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "all"),
    ],
)
def test_choice_that_would_change_nothing_is_refused(row: dict[str, Any], train_on: str) -> None:
    with pytest.raises(DataError, match=f"cannot be learned by {train_on}"):
        encoded([row], train_on=train_on)


def test_questions_need_no_chat_template() -> None:
    made = tokenizer(None)
    (row,) = encoded([{"question": "1+2?", "answer": "3"}], made).rows
    assert made.decode(row["prompt"]) == "1+2?\n"
    assert made.decode(row["answers"][0]) == "3<|im_end|>"


def test_preview_tells_what_is_learned() -> None:
    made = tokenizer()
    (row,) = encoded([{"messages": list(CHAT[1:])}], made).rows
    (segments,) = preview(row, made)
    assert [text for text, mark in segments if mark] == ["Yes.<|im_end|>", "No.<|im_end|>"]
    assert "".join(text for text, _ in segments) == made.decode(row["answers"][0])


def test_preview_of_a_preference_shows_both_answers() -> None:
    made = tokenizer()
    (row,) = encoded([{"prompt": "ask", "chosen": "a", "rejected": "b"}], made).rows
    first, second = preview(row, made)
    assert first == [("ask", False), ("a<|im_end|>", True)]
    assert second == [("ask", False), ("b<|im_end|>", True)]
