"""Rows that a chat template does not take."""

from pathlib import Path
from typing import Any

import pytest

from hub_trainer.errors import DataError
from hub_trainer.finetune.language import chat
from hub_trainer.finetune.language.chat import tokenize
from hub_trainer.finetune.language.fit import LanguageFit
from hub_trainer.finetune.language.preview import read_rows
from hub_trainer.finetune.language.refusals import refused_rows, unwritten_keys
from hub_trainer.inputs.language_examples import example_of
from hub_trainer.recipe import TrainSection
from hub_trainer.recipe.chat_templates import CHATML, PLAIN
from tests.finetune.language.tiny import FORGETFUL, WITHOUT_TAGS
from tests.tasks.language import language_base, rows_of

ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    + WITHOUT_TAGS.split("{% for m in messages %}")[1]
)
USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
GOOD, ODD = {"messages": [USER, BOT]}, {"messages": [USER, BOT, USER, USER]}
LONG = {"messages": [USER, BOT, USER, BOT]}


def fit(folder: Path, template: str | None, **language: Any) -> LanguageFit:
    base = language_base(folder / "base", template=template)
    train = TrainSection.model_validate({"method": "full", "language": language})
    return LanguageFit(base, None, train, None, lambda share, doing: None)


def reasons(rows: list[dict[str, Any]], fit: LanguageFit) -> list[str | None]:
    return [refusal and refusal.reason for refusal in refused_rows(rows_of(rows), fit)]


def test_rows_whose_roles_the_template_refuses_are_told(tmp_path: Path) -> None:
    made = fit(tmp_path, ALTERNATING)
    reason = "the chat template refuses the dialogue"
    assert reasons([GOOD, ODD, LONG], made) == [None, reason, None]
    asked = [{"prompt": [USER, USER], "chosen": [BOT], "rejected": [USER, USER, BOT]}]
    asked[0]["rejected"] = [{**BOT, "content": "No"}]
    assert reasons(asked, made) == [reason]
    (refusal,) = refused_rows(rows_of([ODD]), made)
    assert "user, assistant, user, user: roles must alternate" in str(refusal)


def test_rows_whose_answers_cannot_be_located_are_told(tmp_path: Path) -> None:
    reason = "what the assistant says cannot be told from the rest"
    assert reasons([GOOD, LONG], fit(tmp_path, FORGETFUL)) == [None, reason]
    tags = "{% if 0 %}{% generation %}{% endgeneration %}{% endif %}"
    unmarked = "{% for m in messages %}{{m['content']}}{% endfor %}" + tags
    found = reasons([GOOD], fit(tmp_path, unmarked))
    assert found == ["the chat template marks nothing as the assistant's"]


CALL = {"type": "function", "function": {"name": "f", "arguments": {"city": "Rome"}}}
CALLING = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    "{{ m.tool_call_id or '' }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def calling(**turn: Any) -> dict[str, Any]:
    answer = {"role": "tool", "content": "warm", "tool_call_id": "1"}
    return {"messages": [USER, {"role": "assistant", **turn}, answer, BOT]}


CALLED = [
    calling(content=None, tool_calls=[CALL]),
    calling(tool_calls=[CALL]),
    calling(content="", tool_calls=[CALL]),
    calling(content="One moment", tool_calls=[CALL]),
    calling(content=None, function_call=CALL["function"]),
]


@pytest.mark.parametrize("template", [CHATML, PLAIN, WITHOUT_TAGS])
def test_rows_whose_calls_the_template_has_no_place_for_are_told(
    template: str, tmp_path: Path
) -> None:
    made = fit(tmp_path, template)
    reason = "a tool is called, which the chat template does not write down"
    assert reasons([GOOD, *CALLED], made) == [None, *[reason] * len(CALLED)]
    (refusal,) = refused_rows(rows_of(CALLED[:1]), made)
    assert "name a template that writes tool_calls" in str(refusal)


def test_rows_whose_calls_have_no_content_are_written_as_if_it_were_empty(tmp_path: Path) -> None:
    made = fit(tmp_path, CALLING)
    assert reasons(CALLED, made) == [None] * len(CALLED)
    read, empty = (
        tokenize(made.tokenizer(), example_of(row)) for row in rows_of([CALLED[0], CALLED[2]])
    )
    assert read == empty
    assert 'assistant: {"name": "f", "arguments": {"city": "Rome"}}<' in made.tokenizer().decode(
        read.answers[0]
    )
    for template in (CHATML, PLAIN):
        told = made.tokenizer()
        told.chat_template = template
        null = told.apply_chat_template(
            [USER, {"role": "assistant", "content": None}], tokenize=False
        )
        none = told.apply_chat_template(
            [USER, {"role": "assistant", "content": ""}], tokenize=False
        )
        assert null == none


def test_keys_that_the_template_never_writes_are_counted_by_turns(tmp_path: Path) -> None:
    thinking = {**BOT, "reasoning_content": "hm", "weight": 1, "ts": 0, "empty": ""}
    rows = rows_of(
        [
            GOOD,
            {"messages": [USER, thinking, USER, thinking]},
            CALLED[0],
        ]
    )
    rows += rows_of([{"prompt": [USER], "completion": [{**BOT, "ts": 7}]}])
    assert unwritten_keys(rows, fit(tmp_path / "one", WITHOUT_TAGS)) == {
        "ts": 3,
        "reasoning_content": 2,
        "tool_call_id": 1,
    }
    assert "tool_call_id" not in unwritten_keys(rows, fit(tmp_path / "other", CALLING))
    assert unwritten_keys(rows[:1], fit(tmp_path / "none", None)) == {}


def test_rows_without_turns_need_no_template(tmp_path: Path) -> None:
    made = fit(tmp_path, None)
    plain = [{"text": "a"}]
    assert reasons(plain, made) == [None]
    assert reasons([{"question": "a", "answer": "b"}], made) == [None]
    assert reasons([GOOD], made) == ["a dialogue, for which the tokenizer has no chat template"]


def test_preview_when_some_rows_are_refused_then_they_are_counted(tmp_path: Path) -> None:
    made = fit(tmp_path, ALTERNATING)
    encoded, _ = read_rows(rows_of([ODD, GOOD, LONG]), made)
    assert (len(encoded.rows), encoded.num_dropped) == (2, 1)
    with pytest.raises(DataError, match="does not take this dialogue"):
        read_rows(rows_of([ODD]), made)


def test_template_when_it_comes_to_no_end_with_some_words_then_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "RENDER_SECONDS", 0.3)
    near = "{% for i in range(100000) %}" * 3 + "{% endfor %}" * 3
    made = fit(tmp_path, "{% if messages[0]['content'] == 'Hi' %}" + near + "{% endif %}")
    with pytest.raises(DataError, match="comes to no end") as caught:
        reasons([GOOD], made)
    assert "roles user" in str(caught.value)
