from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.finetune.language.chat import Tokens, TrainOn, tokenize
from hub_trainer.inputs.language_examples import Example
from tests.finetune.language.tiny import CHAT, FORGETFUL, WITH_TAGS, WITHOUT_TAGS, tokenizer


def learned(made: Any, tokens: Tokens, answer: int = 0) -> str:
    pairs = zip(tokens.answers[answer], tokens.trained[answer], strict=True)
    return str(made.decode([token for token, mark in pairs if mark]))


DIALOGUE = Example((), (CHAT,))
ANSWER = Example(CHAT[:4], (CHAT[4:],))


def test_generation_tags_say_what_the_assistant_wrote() -> None:
    made = tokenizer(WITH_TAGS)
    tokens = tokenize(made, DIALOGUE)
    assert learned(made, tokens) == "Yes.<|im_end|>No.<|im_end|>"
    assert tokens.prompt == []


def test_without_tags_each_turn_is_found_by_its_prefix() -> None:
    made = tokenizer(WITHOUT_TAGS)
    tokens = tokenize(made, DIALOGUE)
    assert learned(made, tokens) == "Yes.<|im_end|>\nNo.<|im_end|>\n"
    with_tags = tokenize(tokenizer(WITH_TAGS), DIALOGUE)
    assert tokens.answers == with_tags.answers


@pytest.mark.parametrize("template", [WITH_TAGS, WITHOUT_TAGS])
def test_completion_learns_the_last_turn_only(template: str) -> None:
    made = tokenizer(template)
    assert learned(made, tokenize(made, DIALOGUE, "completion")) == "No.<|im_end|>\n"


def test_dialogue_that_the_assistant_begins_learns_its_words_only() -> None:
    made = tokenizer(WITHOUT_TAGS)
    tokens = tokenize(made, Example((), (CHAT[2:],)))
    assert learned(made, tokens) == "Yes.<|im_end|>\nNo.<|im_end|>\n"


def test_answers_to_no_prompt_begin_where_they_differ() -> None:
    made = tokenizer(WITHOUT_TAGS)
    turns = [({"role": "assistant", "content": said},) for said in ("Avast", "Good day")]
    tokens = tokenize(made, Example((), tuple(turns)))
    assert made.decode(tokens.prompt) == "<|im_start|>assistant\n"
    assert [made.decode(ids) for ids in tokens.answers] == [
        "Avast<|im_end|>\n",
        "Good day<|im_end|>\n",
    ]
    tokens = tokenize(made, Example("", ("Avast", "Good day")))
    assert (tokens.prompt, learned(made, tokens, 1)) == ([], "Good day<|im_end|>")


def test_template_that_writes_arguments_as_they_are_gets_them_as_json() -> None:
    made = tokenizer(
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{'<|im_start|>' + c.function.name + c.function.arguments}}{% endfor %}"
        "{{m.content or ''}}<|im_end|>{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": None}}}
    turn = {"role": "assistant", "tool_calls": [call]}
    tokens = tokenize(made, Example((), ((CHAT[1], turn),)), "all")
    assert '<|im_start|>f{"b": 1, "a": null}<|im_end|>' in made.decode(tokens.answers[0])


def test_all_learns_every_token() -> None:
    made = tokenizer()
    for example in (DIALOGUE, ANSWER, Example("Hi ", ("there",))):
        tokens = tokenize(made, example, "all")
        assert tokens.prompt == []
        assert all(tokens.trained[0])
    assert made.decode(tokens.answers[0]) == "Hi there<|im_end|>"


def test_prompt_and_completion_meet_where_the_answer_begins() -> None:
    made = tokenizer()
    tokens = tokenize(made, ANSWER)
    assert made.decode(tokens.prompt).endswith("<|im_start|>assistant\n")
    assert made.decode(tokens.answers[0]) == "No.<|im_end|>\n"
    whole = tokenize(made, DIALOGUE).answers[0]
    assert tokens.prompt + tokens.answers[0] == whole


def test_assistant_learns_the_turns_of_the_prompt_too() -> None:
    made = tokenizer()
    assert tokenize(made, ANSWER, "assistant") == tokenize(made, DIALOGUE)


def test_both_answers_to_a_prompt_follow_it() -> None:
    made = tokenizer(WITHOUT_TAGS)
    other = ({"role": "assistant", "content": "Never."},)
    tokens = tokenize(made, Example(CHAT[:4], (CHAT[4:], other)))
    assert [learned(made, tokens, k) for k in (0, 1)] == [
        "No.<|im_end|>\n",
        "Never.<|im_end|>\n",
    ]


def test_tools_reach_the_template() -> None:
    made = tokenizer(WITHOUT_TAGS)
    tokens = tokenize(made, Example((), (CHAT,), tools=({"name": "search"},)))
    assert '"name": "search"' in made.decode(tokens.answers[0])
    assert learned(made, tokens) == "Yes.<|im_end|>\nNo.<|im_end|>\n"


def test_text_gets_one_end_of_text() -> None:
    made = tokenizer(None)
    for text in ("Once", "Once<|im_end|>"):
        assert made.decode(tokenize(made, Example("", (text,))).answers[0]) == "Once<|im_end|>"


def test_dialogue_without_the_assistant_has_nothing_to_learn() -> None:
    for template in (WITH_TAGS, WITHOUT_TAGS):
        tokens = tokenize(tokenizer(template), Example((), (CHAT[:2],)))
        assert not any(tokens.trained[0])


def test_template_that_rewrites_earlier_turns_is_refused() -> None:
    with pytest.raises(DataError, match="renders a dialogue's beginning in another way") as caught:
        tokenize(tokenizer(FORGETFUL), DIALOGUE)
    assert "<think>" in str(caught.value.got)
    assert "generation" in str(caught.value.do)


def test_last_turn_of_such_a_template_can_be_learned() -> None:
    made = tokenizer(FORGETFUL)
    tokens = tokenize(made, DIALOGUE, "completion")
    assert learned(made, tokens) == "<think></think>No.<|im_end|>\n"


def test_dialogue_without_a_chat_template_is_refused() -> None:
    with pytest.raises(DataError, match="has no chat template") as caught:
        tokenize(tokenizer(None), DIALOGUE)
    assert "plain text" in str(caught.value.do)


def test_template_that_raises_is_told_with_the_roles() -> None:
    made = tokenizer("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(DataError, match="does not take this dialogue") as caught:
        tokenize(made, DIALOGUE)
    assert "user, assistant, user, assistant: roles must alternate" in str(caught.value.got)


@pytest.mark.parametrize("template", [WITH_TAGS, WITHOUT_TAGS])
@pytest.mark.parametrize("train_on", ["assistant", "completion", "all"])
@pytest.mark.parametrize("asked", [False, True])
def test_turn_of_weight_zero_is_read_and_never_learned(
    template: str, train_on: TrainOn, asked: bool
) -> None:
    made = tokenizer(template)
    bad = {"role": "assistant", "content": "Never.", "weight": 0}
    turns = (*CHAT, {"role": "user", "content": "Three?"}, bad)
    example = Example(CHAT[:2], (turns[2:],)) if asked else Example((), (turns,))
    tokens = tokenize(made, example, train_on)
    assert "Never.<|im_end|>" in made.decode(tokens.answers[0])
    assert "Never" not in learned(made, tokens)
    assert "No.<|im_end|>" in learned(made, tokens)
    first = (*CHAT[:2], {**CHAT[2], "weight": 0}, *CHAT[3:])
    tokens = tokenize(made, Example((), (first,)), "assistant")
    assert learned(made, tokens).strip() == "No.<|im_end|>"


def test_turn_of_weight_zero_that_cannot_be_told_from_the_rest_is_refused() -> None:
    turns = ({**CHAT[2], "weight": 0}, *CHAT[3:])
    with pytest.raises(DataError, match="cannot be told from the rest"):
        tokenize(tokenizer(FORGETFUL), Example((), (turns,)), "all")
