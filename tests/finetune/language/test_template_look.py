"""Chat templates that a recipe names: those that ship here, and what is told of bad ones."""

import pytest

from hub_trainer.finetune.language.chat import tokenize
from hub_trainer.finetune.language.template_look import look_at_template
from hub_trainer.inputs.language_examples import Example
from hub_trainer.recipe.chat_templates import SHIPPED
from tests.finetune.language.tiny import CHAT, FORGETFUL, WITH_TAGS, WITHOUT_TAGS, tokenizer

TURNS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"


def faults(template: str, train_on: str | None = None) -> list[str]:
    return look_at_template(tokenizer(None), template, train_on)  # type: ignore[arg-type]


@pytest.mark.parametrize("template", [*SHIPPED.values(), WITH_TAGS, WITHOUT_TAGS, TURNS])
@pytest.mark.parametrize("train_on", [None, "completion", "all"])
def test_template_when_good_then_nothing_is_told(template: str, train_on: str | None) -> None:
    assert faults(template, train_on) == []


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_template_when_applied_then_each_answer_and_its_end_are_learned(name: str) -> None:
    made = tokenizer(SHIPPED[name])
    tokens = tokenize(made, Example((), (CHAT,)))
    pairs = zip(tokens.answers[0], tokens.trained[0], strict=True)
    learned = made.decode([token for token, mark in pairs if mark])
    assert learned == "Yes.<|im_end|>No.<|im_end|>"
    whole = made.decode(tokens.answers[0])
    assert whole.startswith("<s>")
    assert all(turn["content"] in whole for turn in CHAT)


def test_chatml_when_the_tokenizer_has_its_end_then_it_is_chatml_to_the_letter() -> None:
    made = tokenizer(SHIPPED["chatml"], bos_token=None)
    shown = made.apply_chat_template(list(CHAT[:2]), tokenize=False, add_generation_prompt=True)
    assert shown == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


LAST_ONLY = "{{ messages[-1]['content'] }}"
BACKWARDS = TURNS.replace("in messages", "in messages | reverse")
NO_SYSTEM = TURNS.replace("{{ m", "{% if m['role'] == 'system' %}{% continue %}{% endif %}{{ m")
MARKS_USERS = TURNS.replace("{{", "{% generation %}{{").replace("}}", "}}{% endgeneration %}")
MARKS_NOTHING = TURNS + "{% generation %}{% endgeneration %}"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}", "is no template: line 1: Unexpected end of template"),
        ("{{ raise_exception('not today') }}", "does not take a dialogue of two questions"),
        (LAST_ONLY, "drops turns: of two questions and two answers it leaves out 'first question'"),
        (BACKWARDS, "does not keep the turns in their order"),
        (NO_SYSTEM, "drops what the system says; write it down, or refuse it by raise_exception"),
        (FORGETFUL, "has no {% generation %} around what the assistant says"),
        (MARKS_NOTHING, "does not mark as the assistant's, by {% generation %}, 'second answer'"),
        (MARKS_USERS, "marks as the assistant's, by {% generation %}, what the user says: 'first"),
        (TURNS + "{{ 'x' * 2000000 }}", "characters of a dialogue of eight words"),
    ],
)
def test_template_when_bad_then_says_what_it_does(template: str, told: str) -> None:
    found = faults(template)
    assert any(told in fault for fault in found), found


def test_template_when_it_refuses_the_system_aloud_then_that_is_no_fault() -> None:
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    assert faults(refuses + TURNS) == []


def test_template_without_marks_when_all_is_learned_then_it_needs_none() -> None:
    assert faults(FORGETFUL, "all") == []
