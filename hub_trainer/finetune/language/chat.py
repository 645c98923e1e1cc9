"""Examples as token ids, through the tokenizer's chat template, and which of them are learned.

A template with {% generation %} says itself what the assistant wrote. Without it, the dialogue up
to and after each of the assistant's turns is rendered, and each must be a prefix of the whole.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hub_trainer.errors import DataError
from hub_trainer.rows.formats import Content, Example, Message

TrainOn = Literal["completion", "assistant", "all"]
GENERATION_TAG = re.compile(r"{%-?\s*generation\b")


@dataclass(frozen=True)
class Tokens:
    """A prompt and its answers in tokens, and which tokens of each answer are learned."""

    prompt: list[int]
    answers: list[list[int]]
    trained: list[list[bool]]


def tokenize(tokenizer: Any, example: Example, train_on: TrainOn | None = None) -> Tokens:
    """By default the answer to a prompt, the assistant's turns of a dialogue, all of a text."""
    if example.prompt and train_on == "assistant" and not isinstance(example.prompt, str):
        (answer,) = example.answers
        return tokenize(
            tokenizer,
            replace(example, prompt=(), answers=((*example.prompt, *_turns(answer)),)),
            train_on,
        )
    if example.prompt:
        prompt, answers = _answers(tokenizer, example)
        if train_on == "all":
            whole = prompt + answers[0]
            return Tokens([], [whole], [[True] * len(whole)])
        return Tokens(prompt, answers, [[True] * len(ids) for ids in answers])
    (content,) = example.answers
    if isinstance(content, str):
        ids = _ended(tokenizer, _plain(tokenizer, content))
        trained = [True] * len(ids)
    else:
        ids, trained = _dialogue(tokenizer, content, example.tools, train_on or "assistant")
    return Tokens([], [ids], [trained])


def prompt_tokens(tokenizer: Any, asked: Content, tools: Sequence[Any] = ()) -> list[int]:
    """A prompt without its answer, up to where the assistant is to speak; nothing is nothing."""
    if isinstance(asked, str):
        return _plain(tokenizer, asked)
    return _ids(tokenizer, _render(tokenizer, asked, tools, ask=True)) if asked else []


def _answers(tokenizer: Any, example: Example) -> tuple[list[int], list[list[int]]]:
    """The answers begin where they leave the prompt's own tokens, the same for all of them."""
    prompt = example.prompt
    if isinstance(prompt, str):
        alone = prompt_tokens(tokenizer, prompt)
        whole = [_ended(tokenizer, _plain(tokenizer, prompt + str(a))) for a in example.answers]
    else:
        texts = [_render(tokenizer, (*prompt, *_turns(a)), example.tools) for a in example.answers]
        start = _render(tokenizer, prompt, example.tools, ask=True)
        for text in texts:
            _check_prefix(start, text)
        alone, whole = _ids(tokenizer, start), [_ids(tokenizer, text) for text in texts]
    size = min(_common_prefix(alone, ids) for ids in whole)
    return alone[:size], [ids[size:] for ids in whole]


def _dialogue(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], train_on: TrainOn
) -> tuple[list[int], list[bool]]:
    if train_on == "assistant" and GENERATION_TAG.search(_template(tokenizer, tools)):
        return _by_tags(tokenizer, messages, tools)
    text = _render(tokenizer, messages, tools)
    ids = _ids(tokenizer, text)
    if train_on == "all":
        return ids, [True] * len(ids)
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    trained = [False] * len(ids)
    for turn in turns if train_on == "assistant" else turns[-1:]:
        before = _render(tokenizer, messages[:turn], tools, ask=True)
        after = _render(tokenizer, messages[: turn + 1], tools)
        _check_prefix(before, after)
        _check_prefix(after, text)
        start = _common_prefix(_ids(tokenizer, before), ids)
        end = _common_prefix(_ids(tokenizer, after), ids)
        trained[start:end] = [True] * (end - start)
    return ids, trained


def _by_tags(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any]
) -> tuple[list[int], list[bool]]:
    found = _applied(
        tokenizer,
        messages,
        tools,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return list(found["input_ids"]), [bool(mark) for mark in found["assistant_masks"]]


def _template(tokenizer: Any, tools: Sequence[Any] = ()) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "The rows are dialogues and the tokenizer has no chat template.",
            where=str(getattr(tokenizer, "name_or_path", "")) or None,
            do="name a base model with a chat template, or give rows of plain text:"
            " text, or prompt and completion as strings",
        )
    return str(tokenizer.get_chat_template(tools=list(tools) or None))


def _render(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], *, ask: bool = False
) -> str:
    _template(tokenizer, tools)
    return str(_applied(tokenizer, messages, tools, tokenize=False, add_generation_prompt=ask))


def _applied(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], **options: Any
) -> Any:
    try:
        return tokenizer.apply_chat_template(list(messages), tools=list(tools) or None, **options)
    except Exception as error:
        # A template is a program that raises what it likes, for instance on an odd order of roles.
        raise DataError(
            "The chat template does not take this dialogue.",
            got=f"roles {', '.join(str(m['role']) for m in messages)}: {error}",
            do="give rows in the order of roles that the model's template knows",
        ) from error


def _check_prefix(start: str, whole: str) -> None:
    if whole.startswith(start):
        return
    at = _common_prefix(start, whole)
    raise DataError(
        "The chat template renders a dialogue's beginning in another way once it goes on,"
        " so what the assistant wrote cannot be told from the rest.",
        got=f"{start[at : at + 40]!r} became {whole[at : at + 40]!r}",
        do="use a template with {% generation %} around the assistant's turns, rows of prompt and"
        " completion, or train on all",
    )


def _turns(content: Content) -> tuple[Message, ...]:
    assert not isinstance(content, str)
    return content


def _ids(tokenizer: Any, rendered: str) -> list[int]:
    """A template writes its own special tokens, so the tokenizer adds none."""
    return list(tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"])


def _plain(tokenizer: Any, text: str) -> list[int]:
    ids = list(tokenizer(text, verbose=False)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token):
        ids.pop()
    return ids


def _ended(tokenizer: Any, ids: list[int]) -> list[int]:
    """Plain text ends with the end-of-text token, or the model would never learn to stop."""
    end = tokenizer.eos_token_id
    return ids if end is None or ids[-1:] == [end] else [*ids, end]


def _common_prefix(one: Sequence[Any], other: Sequence[Any]) -> int:
    size = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        size += 1
    return size
