"""Rows that a base model's chat template does not take, and what it leaves out of those it takes,
found before anything is trained."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hub_trainer.errors import RowRefused
from hub_trainer.finetune.language.chat import prompt_tokens, tokenize, writes
from hub_trainer.finetune.language.encode import readable
from hub_trainer.finetune.language.fit import LanguageFit
from hub_trainer.finetune.language.serving import first_answer
from hub_trainer.inputs.language_examples import (
    Example,
    Message,
    Row,
    asked_and_answers,
    example_of,
)

CALLS = "tool_calls"
KNOWN_KEYS = frozenset(("role", "content", CALLS, "weight"))
MAX_TRIED = 8
"""Dialogues with a key that are written without it, before the template is said not to know it."""


def refused_rows(rows: Sequence[Row], fit: LanguageFit) -> list[RowRefused | None]:
    """Per row what the template, as the recipe trains and evaluate asks, does not take of it.

    Any row may become a sealed one, so each is read in both ways.
    """
    examples = [example_of(row) for row in rows]
    if not any(_is_dialogue(example) for example in examples):
        return [None] * len(rows)
    tokenizer = fit.tokenizer()
    return [_refusal(tokenizer, example, fit) for example in examples]


def unwritten_keys(rows: Sequence[Row], fit: LanguageFit) -> dict[str, int]:
    """Keys of turns that the template never writes down -> turns that have them, most first."""
    counts: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    written: set[str] = set()
    tokenizer: Any = None
    for example in map(example_of, rows):
        for messages in _dialogues(example):
            keys = Counter(key for turn in messages for key in _further_keys(turn))
            counts.update(keys)
            for key in keys:
                if key in written or tried[key] == MAX_TRIED:
                    continue
                tokenizer = tokenizer or fit.tokenizer()
                tried[key] += 1
                if _writes(tokenizer, messages, example.tools, key):
                    written.add(key)
    return {key: count for key, count in counts.most_common() if key not in written}


def _dialogues(example: Example) -> Iterator[tuple[Message, ...]]:
    before = () if isinstance(example.prompt, str) else example.prompt
    for answer in example.answers:
        if not isinstance(answer, str):
            yield (*before, *answer)


def _further_keys(turn: Message) -> list[str]:
    """Those that say something."""
    return [
        key for key, value in turn.items() if key not in KNOWN_KEYS and value not in ("", [], {})
    ]


def _writes(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], key: str) -> bool:
    def without(turn: Message) -> Message:
        return {name: value for name, value in turn.items() if name != key}

    try:
        return writes(tokenizer, messages, tools, without)
    except RowRefused:
        return True  # it is missed


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
    for messages in _dialogues(example):
        if any(CALLS in turn for turn in messages) and not _writes(
            tokenizer, messages, example.tools, CALLS
        ):
            return _no_calls()
    return None if all(map(any, found.trained)) else _unmarked()


def _no_calls() -> RowRefused:
    """Without its call a turn would teach to say nothing where a tool is to be called."""
    return RowRefused(
        "The chat template does not write down the calls of tools.",
        reason="a tool is called, which the chat template does not write down",
        do="name a template that writes tool_calls in train.language.chat_template, or take a base"
        " model that has one",
    )


def _unmarked() -> RowRefused:
    return RowRefused(
        "The chat template marks nothing as the assistant's.",
        reason="the chat template marks nothing as the assistant's",
        do="check its {% generation %} tags, and who speaks in the rows",
    )
