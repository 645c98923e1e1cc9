"""Examples of language data: a prompt with answers to it, as canonical rows hold them.

A row holds `text`, the whole example as people read it; `prompt`, the part of it that a model is
asked; `label`, what may be learned from it; and `example`, the example as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]
Message = Mapping[str, Any]
Content = str | tuple[Message, ...]
"""A text, or the turns of a dialogue."""
Kind = Literal["sft", "dpo", "kto"]
KIND_OF: Mapping[str, Kind] = {
    "demonstration": "sft",
    "preference": "dpo",
    "desirable": "kto",
    "undesirable": "kto",
}
"""Label of a row -> what may be learned from rows like it."""


@dataclass(frozen=True)
class Example:
    """One thing to learn from: a prompt and one or two answers to it, or a whole dialogue.

    An empty prompt and one answer is a text or a dialogue that is learned as a whole or by its
    assistant's turns; an empty prompt and two answers is a preference for which nothing is asked.
    """

    prompt: Content
    answers: tuple[Content, ...]
    tools: tuple[Any, ...] = ()
    desirable: bool | None = None
    """What a rater said of the answer; None where nobody was asked."""
    weight: float = 1.0
    asked: bool = False
    """A question and its answer, given as texts: they can do without a chat template."""
    expected: tuple[str, ...] = ()
    """What a good answer contains, for the metric that looks for it."""
    finished: tuple[bool, ...] = ()
    """For each answer, whether it came to its own end; empty when all of them did."""


def example_of(row: Row) -> Example:
    """The example of a canonical row."""
    held = json.loads(row["example"])
    return Example(
        _content(held["prompt"]),
        tuple(_content(answer) for answer in held["answers"]),
        tuple(held["tools"]),
        held["desirable"],
        held["weight"],
        held["asked"],
        tuple(held["expected"]),
        tuple(held["finished"]),
    )


def asked_and_answers(example: Example) -> tuple[Content, tuple[Content, ...]]:
    """What a model is asked, and the answers that are known to it.

    A dialogue asks for the last of its assistant's turns that is to be learned; a text without a
    prompt asks for nothing.
    """
    turns = example.answers[0]
    if example.prompt or isinstance(turns, str) or len(example.answers) > 1:
        return example.prompt, example.answers
    said = [i for i, turn in enumerate(turns) if is_learned(turn)]
    if not said:
        return (), example.answers
    return tuple(turns[: said[-1]]), (tuple(turns[said[-1] :]),)


def as_prompts(rows: Sequence[Row]) -> list[Row]:
    """The rows with their prompts for texts, where they have prompts: what must not be leaked."""
    return [{**row, "text": row["prompt"]} if row.get("prompt") else row for row in rows]


def as_text(content: Content) -> str:
    """A text as it is, a dialogue with a line for each turn's speaker."""
    if isinstance(content, str):
        return content
    return "\n".join(f"{turn['role']}: {_said(turn)}" for turn in content)


def answer_text(answer: Content) -> str:
    """What an answer says: a text as it is, of turns the assistant's first that is learned."""
    if isinstance(answer, str):
        return answer
    return next((_said(turn) for turn in answer if is_learned(turn)), "")


def is_learned(turn: Message) -> bool:
    """Whether a turn is one to learn: the assistant's, unless its weight of 0 makes it context."""
    return bool(turn["role"] == "assistant" and turn.get("weight") != 0)


def _said(turn: Mapping[str, Any]) -> str:
    """What a turn says; a call of tools as JSON."""
    said = turn.get("content") or ""
    called = turn.get("tool_calls")
    return f"{said}{json.dumps(called, ensure_ascii=False)}" if called else str(said)


def _content(held: Any) -> Content:
    return held if isinstance(held, str) else tuple(held)
