"""Rows that a base model's chat template does not take, found before anything is trained."""

from collections.abc import Sequence
from typing import Any

from hub_trainer.errors import RowRefused
from hub_trainer.finetune.language.chat import prompt_tokens, tokenize
from hub_trainer.finetune.language.encode import readable
from hub_trainer.finetune.language.fit import LanguageFit
from hub_trainer.finetune.language.serving import first_answer
from hub_trainer.inputs.language_examples import Example, Row, asked_and_answers, example_of


def refused_rows(rows: Sequence[Row], fit: LanguageFit) -> list[RowRefused | None]:
    """Per row what the template, as the recipe trains and evaluate asks, does not take of it.

    Any row may become a sealed one, so each is read in both ways.
    """
    examples = [example_of(row) for row in rows]
    if not any(_is_dialogue(example) for example in examples):
        return [None] * len(rows)
    tokenizer = fit.tokenizer()
    return [_refusal(tokenizer, example, fit) for example in examples]


def _is_dialogue(example: Example) -> bool:
    return any(not isinstance(said, str) for said in (example.prompt, *example.answers))


def _refusal(tokenizer: Any, example: Example, fit: LanguageFit) -> RowRefused | None:
    example = readable(tokenizer, example)
    if not _is_dialogue(example):
        return None
    train_on = fit.language.train_on
    try:
        found = tokenize(tokenizer, example, train_on)
        if train_on is not None or len(example.answers) > 1:
            first_answer(tokenizer, example, None)
        asked, _ = asked_and_answers(example)
        prompt_tokens(tokenizer, asked, example.tools)
    except RowRefused as refusal:
        return refusal
    return None if all(map(any, found.trained)) else _unmarked()


def _unmarked() -> RowRefused:
    return RowRefused(
        "The chat template marks nothing as the assistant's.",
        reason="the chat template marks nothing as the assistant's",
        do="check its {% generation %} tags, and who speaks in the rows",
    )
