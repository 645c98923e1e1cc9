"""Examples as token ids, through the tokenizer's chat template, and which of them are learned.

A template with {% generation %} says itself what the assistant wrote. Without it, the dialogue up
to and after each of the assistant's turns is rendered, and each must be a prefix of the whole.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any, Literal

from hub_trainer.errors import DataError, RowRefused
from hub_trainer.inputs.language_examples import Content, Example, Message, is_learned
from hub_trainer.sandbox import OutOfTime, within

TrainOn = Literal["completion", "assistant", "all"]
RENDER_SECONDS = 5.0
"""Of CPU, for one dialogue: a template is a stranger's program."""
MAX_ROLES = 12
"""Turns of a refused dialogue whose roles are shown."""
GENERATION_TAG = re.compile(r"{%-?\s*generation\b")


@dataclass(frozen=True)
class Tokens:
    """A prompt and its answers in tokens, and which tokens of each answer are learned."""

    prompt: list[int]
    answers: list[list[int]]
    trained: list[list[bool]]


def tokenize(tokenizer: Any, example: Example, train_on: TrainOn | None = None) -> Tokens:
    """By default the answer to a prompt, the assistant's turns of a dialogue, all of a text.

    Turns of the assistant that have the weight 0 are never learned.
    """
    by_turns = train_on in ("assistant", "all")
    if example.prompt and by_turns and not isinstance(example.prompt, str):
        (answer,) = example.answers
        return tokenize(
            tokenizer,
            replace(example, prompt=(), answers=((*example.prompt, *_turns(answer)),)),
            train_on,
        )
    if example.prompt or len(example.answers) > 1:
        prompt, answers = _answers(tokenizer, example)
        if train_on == "all":
            whole = prompt + answers[0]
            return Tokens([], [whole], [[True] * len(whole)])
        return Tokens(prompt, answers, _masks(tokenizer, example, prompt, answers))
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


def writes(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], without: Callable[..., Any]
) -> bool:
    """Whether a dialogue is written in another way than without something of its turns.

    Raises RowRefused where the template does not take the dialogue.
    """
    others = [without(message) for message in messages]
    return _render(tokenizer, messages, tools) != _render(tokenizer, others, tools)


def _answers(tokenizer: Any, example: Example) -> tuple[list[int], list[list[int]]]:
    """The answers begin where they leave the prompt's own tokens, the same for all of them."""
    prompt = example.prompt
    if isinstance(prompt, str):
        alone = prompt_tokens(tokenizer, prompt)
        whole = [_ended(tokenizer, _plain(tokenizer, prompt + str(a))) for a in example.answers]
    else:
        texts = [_render(tokenizer, (*prompt, *_turns(a)), example.tools) for a in example.answers]
        # Where nothing is asked, the prompt is what all answers begin with.
        start = (
            _render(tokenizer, prompt, example.tools, ask=True) if prompt else commonprefix(texts)
        )
        for text in texts:
            _check_prefix(start, text)
        alone, whole = _ids(tokenizer, start), [_ids(tokenizer, text) for text in texts]
    size = min(_common_prefix(alone, ids) for ids in whole)
    return alone[:size], [ids[size:] for ids in whole]


def _masks(
    tokenizer: Any, example: Example, prompt: list[int], answers: Sequence[list[int]]
) -> list[list[bool]]:
    """All of each answer, without the turns that are not to be learned."""
    masks = [[True] * (len(prompt) + len(ids)) for ids in answers]
    if not isinstance(example.prompt, str):
        for answer, ids, mask in zip(example.answers, answers, masks, strict=True):
            messages = (*example.prompt, *_turns(answer))
            _unlearn(tokenizer, messages, example.tools, prompt + ids, mask)
    return [mask[len(prompt) :] for mask in masks]


def _dialogue(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], train_on: TrainOn
) -> tuple[list[int], list[bool]]:
    if train_on == "assistant" and GENERATION_TAG.search(_template(tokenizer, tools)):
        ids, trained = _by_tags(tokenizer, messages, tools)
        _unlearn(tokenizer, messages, tools, ids, trained)
        return ids, trained
    text = _render(tokenizer, messages, tools)
    ids = _ids(tokenizer, text)
    trained = [train_on == "all"] * len(ids)
    if train_on == "all":
        _unlearn(tokenizer, messages, tools, ids, trained)
        return ids, trained
    turns = [i for i, message in enumerate(messages) if is_learned(message)]
    for turn in turns if train_on == "assistant" else turns[-1:]:
        start, end = _place(tokenizer, messages, tools, turn, ids)
        trained[start:end] = [True] * (end - start)
    return ids, trained


def _unlearn(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Any],
    ids: list[int],
    trained: list[bool],
) -> None:
    """Take the assistant's turns of weight 0 out of what is learned, in place."""
    for turn, message in enumerate(messages):
        if message["role"] == "assistant" and not is_learned(message):
            start, end = _place(tokenizer, messages, tools, turn, ids)
            trained[start:end] = [False] * (end - start)


def _place(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Any], turn: int, ids: list[int]
) -> tuple[int, int]:
    """Where in a dialogue's tokens the words of one of the assistant's turns begin and end."""
    text = _render(tokenizer, messages, tools)
    after = _render(tokenizer, messages[: turn + 1], tools)
    before = (
        _render(tokenizer, messages[:turn], tools, ask=True) if turn else _head(after, messages[0])
    )
    _check_prefix(before, after)
    _check_prefix(after, text)
    start = _common_prefix(_ids(tokenizer, before), ids)
    return start, _common_prefix(_ids(tokenizer, after), ids)


def _head(text: str, first: Message) -> str:
    """What a dialogue that the assistant begins has before its words: none is asked for them."""
    said = str(first.get("content") or "").strip()
    return text[: max(text.find(said), 0)] if said else ""


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
        # Long rows are told by prepare and evaluate, not by a warning of transformers.
        tokenizer_kwargs={"verbose": False},
    )
    return list(found["input_ids"]), [bool(mark) for mark in found["assistant_masks"]]


def _template(tokenizer: Any, tools: Sequence[Any] = ()) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise RowRefused(
            "The rows are dialogues and the tokenizer has no chat template.",
            reason="a dialogue, for which the tokenizer has no chat template",
            where=str(getattr(tokenizer, "name_or_path", "")) or None,
            do="name a template in train.language.chat_template, as chatml, plain, or a file beside"
            " the recipe; or take a base model with a chat template, or rows of plain text: text,"
            " or prompt and completion as strings",
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
    def apply(dialogue: Sequence[Message]) -> Any:
        return tokenizer.apply_chat_template(list(dialogue), tools=list(tools) or None, **options)

    try:
        with within(RENDER_SECONDS):
            return apply(messages)
    except OutOfTime:
        raise DataError(
            "The chat template comes to no end with a dialogue.",
            got=f"roles {_roles(messages)}, more than {RENDER_SECONDS:g} s of a processor",
            do="name a base model whose template only writes the turns down",
        ) from None
    except Exception as error:
        # A template is a program that raises what it likes, for instance on an odd order of roles.
        for other in _other_ways(messages):
            with suppress(Exception):
                return apply(other)
        raise RowRefused(
            "The chat template does not take this dialogue.",
            reason="the chat template refuses the dialogue",
            got=f"roles {_roles(messages)}: {error}",
            do="give rows in the order of roles that the model's template knows",
        ) from error


def _roles(messages: Sequence[Message]) -> str:
    """Who speaks in turn; of a long dialogue the beginning."""
    shown = [str(message["role"])[:20] for message in messages[:MAX_ROLES]]
    return ", ".join(shown + ["..."] * (len(messages) > MAX_ROLES))


def _other_ways(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The same dialogue as templates want it that do not take it as it is.

    A turn that only calls tools has no content, which some templates write down all the same.
    """
    contents = [{"content": "", **message} for message in messages]
    for known in (messages, contents):
        for way in (list(known), [_with_written_arguments(message) for message in known]):
            if way != list(messages):
                yield way


def _with_written_arguments(message: Message) -> Message:
    """Some templates write the arguments of a call as they are, and want JSON in a text."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_written_call(call) for call in calls]}


def _written_call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    found = dict(call)
    if isinstance(found.get("function"), Mapping):
        found["function"] = _written_call(found["function"])
    if isinstance(found.get("arguments"), Mapping):
        found["arguments"] = json.dumps(found["arguments"], ensure_ascii=False)
    return found


def _check_prefix(start: str, whole: str) -> None:
    if whole.startswith(start):
        return
    at = _common_prefix(start, whole)
    raise RowRefused(
        "The chat template renders a dialogue's beginning in another way once it goes on,"
        " so what the assistant wrote cannot be told from the rest.",
        reason="what the assistant says cannot be told from the rest",
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
