"""A chat template that a recipe names, judged before rows are written down by it.

It is a program, and may be a stranger's: meant for a child with limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from hub_trainer.finetune.base_look import MAX_RENDERED, TEMPLATE_SECONDS, BaseLook
from hub_trainer.finetune.language.chat import GENERATION_TAG, TrainOn

Turns = Sequence[Mapping[str, str]]
DIALOGUE: Turns = (
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "second answer"},
    {"role": "user", "content": "third question"},
    {"role": "assistant", "content": "fourth answer"},
)
SYSTEM = {"role": "system", "content": "zeroth rule"}


def look_at_template(tokenizer: Any, template: str, train_on: TrainOn | None) -> list[str]:
    """What is wrong with it for this tokenizer, each a sentence about `it`."""
    look = BaseLook([])
    made = _Template(tokenizer, template)
    found = look.attempt("it", TEMPLATE_SECONDS, lambda: list(_faults(made, train_on)))
    return [*look.faults, *(found or [])]


class _Template:
    """A template with the tokenizer that fills it."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template

    def render(self, turns: Turns, *, ask: bool = False) -> str:
        """A dialogue written down; with `ask` up to where the assistant is to speak."""
        return str(
            self.tokenizer.apply_chat_template(
                list(turns),
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=ask,
            )
        )

    def learned(self) -> str:
        """What of the dialogue the template marks as the assistant's."""
        found = self.tokenizer.apply_chat_template(
            list(DIALOGUE),
            chat_template=self.template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        marked = zip(found["input_ids"], found["assistant_masks"], strict=True)
        return str(self.tokenizer.decode([token for token, mark in marked if mark]))


def _faults(made: _Template, train_on: TrainOn | None) -> Iterator[str]:
    try:
        whole = made.render(DIALOGUE)
    except TemplateSyntaxError as error:
        yield f"is no template: line {error.lineno}: {error.message}"
        return
    except TemplateError as error:
        yield f"does not take a dialogue of two questions and two answers: {error}"
        return
    if len(whole) > MAX_RENDERED:
        yield f"makes {len(whole):,} characters of a dialogue of eight words"
        return
    said = [turn["content"] for turn in DIALOGUE]
    places = [whole.find(text) for text in said]
    dropped = [text for text, place in zip(said, places, strict=True) if place < 0]
    if dropped:
        yield f"drops turns: of two questions and two answers it leaves out {_named(dropped)}"
        return
    if places != sorted(places):
        yield "does not keep the turns in their order"
    if not _keeps_rules(made):
        yield "drops what the system says; write it down, or refuse it by raise_exception"
    if GENERATION_TAG.search(made.template):
        yield from _wrongly_marked(made)
    elif train_on != "all":
        yield from _unmarked(made, whole)


def _keeps_rules(made: _Template) -> bool:
    """Whether the system's turn is written down; a template may refuse it aloud."""
    try:
        return SYSTEM["content"] in made.render((SYSTEM, *DIALOGUE))
    except TemplateError:
        return True


def _wrongly_marked(made: _Template) -> Iterator[str]:
    learned = made.learned()
    lost = [one["content"] for one in DIALOGUE[1::2] if one["content"] not in learned]
    if lost:
        yield f"does not mark as the assistant's, by {{% generation %}}, {_named(lost)}"
    others = [one["content"] for one in DIALOGUE[::2] if one["content"] in learned]
    if others:
        told = _named(others)
        yield f"marks as the assistant's, by {{% generation %}}, what the user says: {told}"


def _unmarked(made: _Template, whole: str) -> Iterator[str]:
    """Without marks an answer is what a rendering has beyond the one before it."""
    for place in range(1, len(DIALOGUE), 2):
        before = made.render(DIALOGUE[:place], ask=True)
        after = made.render(DIALOGUE[: place + 1])
        if not (after.startswith(before) and whole.startswith(after)):
            yield (
                "has no {% generation %} around what the assistant says, and writes the beginning"
                " of a dialogue in another way once it goes on, so that what is to be learned"
                " cannot be told; put {% generation %} and {% endgeneration %} there"
            )
            return


def _named(texts: Sequence[str]) -> str:
    return ", ".join(repr(text) for text in texts)
