"""Which kind of language data a table holds, by its columns, and its rows as examples.

The column names are TRL's (text, messages, prompt/completion, prompt/chosen/rejected,
prompt/completion/label) and those that people have: alpaca, sharegpt, question/answer.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hub_trainer.errors import DataError
from hub_trainer.rows.store import WEIGHT

Row = Mapping[str, Any]
Message = Mapping[str, Any]
Content = str | tuple[Message, ...]
Kind = Literal["sft", "dpo", "kto"]
EXPECTED = "expected"
FINISHED = "_finished"

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}


@dataclass(frozen=True)
class Example:
    """One thing to learn from: a prompt and one or two answers to it, or a whole dialogue.

    An empty prompt and one answer is a text or a dialogue that is learned as a whole or by its
    assistant's turns.
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
    """Of each answer whether it came to its own end; empty when all of them did."""


@dataclass(frozen=True)
class Format:
    """Columns that tell a format, and how its rows become examples."""

    name: str
    kind: Kind
    columns: frozenset[str]
    read: Callable[[Row], Example]

    def example(self, row: Row) -> Example:
        """The example of a row, with its weight and what is expected of an answer.

        Raises KeyError, TypeError or ValueError for a row that breaks the format.
        """
        weight, expected = row.get(WEIGHT), row.get(EXPECTED) or ()
        return replace(
            self.read(row),
            weight=1.0 if weight is None else float(weight),
            expected=(expected,) if isinstance(expected, str) else tuple(map(str, expected)),
            finished=tuple(bool(one) for one in row.get(FINISHED) or ()),
        )


def detect_format(columns: Iterable[str]) -> Format:
    """The first known format whose columns are all there."""
    found = set(columns)
    for known in FORMATS:
        if known.columns <= found:
            return known
    names = "; ".join(" + ".join(sorted(known.columns)) for known in FORMATS)
    raise DataError(
        "These columns are of no known format of language data.",
        got=", ".join(sorted(found)) or "no columns",
        do=f"map your columns to one of: {names}",
    )


def read_examples(rows: Sequence[Row]) -> tuple[Format, list[Example]]:
    """The format of the rows and one example per row; a row that breaks it is named."""
    if not rows:
        raise DataError("There are no rows to learn from.")
    known = detect_format(rows[0])
    return known, [_read(known, row, index) for index, row in enumerate(rows)]


def _read(known: Format, row: Row, index: int) -> Example:
    try:
        return known.example(row)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"A row is not in the format {known.name}.",
            where=f"row {index}",
            got=str(error) or type(error).__name__,
            do=f"see its columns {', '.join(sorted(known.columns))}",
        ) from error


# Formats


def _document(row: Row) -> Example:
    return Example("", (_text(row, "text"),))


def _dialogue(row: Row) -> Example:
    return Example((), (_messages(row["messages"], "messages"),), _tools(row))


def _sharegpt(row: Row) -> Example:
    turns = [_from_sharegpt(turn) for turn in row["conversations"]]
    if row.get("system") and (not turns or turns[0]["role"] != "system"):
        turns.insert(0, {"role": "system", "content": row["system"]})
    return Example((), (_messages(turns, "conversations"),), _tools(row))


def _from_sharegpt(turn: Mapping[str, Any]) -> dict[str, Any]:
    if "role" in turn:
        return dict(turn)
    role = SHAREGPT_ROLES.get(str(turn["from"]).lower())
    if role is None:
        raise ValueError(f"conversations: {turn['from']!r} is not a known speaker")
    return {"role": role, "content": turn["value"]}


def _answer(row: Row) -> Example:
    prompt, completion = _content(row, "prompt"), _content(row, "completion")
    return Example(prompt, (_alike(prompt, completion, "completion"),), _tools(row))


def _alpaca(row: Row) -> Example:
    asked = _text(row, "instruction")
    if row.get("input"):
        asked = f"{asked}\n\n{_text(row, 'input')}"
    return _asked(asked, _text(row, "output"), row)


def _question(row: Row) -> Example:
    return _asked(_text(row, "question"), _text(row, "answer"), row)


def _asked(question: str, answer: str, row: Row) -> Example:
    system = row.get("system")
    before = [{"role": "system", "content": str(system)}] if system else []
    prompt = (*before, {"role": "user", "content": question})
    return Example(prompt, (({"role": "assistant", "content": answer},),), asked=True)


def _preference(row: Row) -> Example:
    chosen, rejected = _content(row, "chosen"), _content(row, "rejected")
    prompt = _content(row, "prompt") if row.get("prompt") is not None else ""
    if not isinstance(chosen, str) and isinstance(prompt, str):
        # The dialogue so far is told in both answers; a prompt beside them repeats its last turn.
        prompt, chosen, rejected = _shared_turns(chosen, _alike(chosen, rejected, "rejected"))
    elif isinstance(chosen, str) and not prompt:
        prompt, chosen, rejected = _shared_text(chosen, _alike(chosen, rejected, "rejected"))
    answers = (_alike(prompt, chosen, "chosen"), _alike(prompt, rejected, "rejected"))
    if answers[0] == answers[1]:
        raise ValueError("chosen and rejected are the same")
    return Example(prompt, answers, _tools(row))


def _shared_turns(chosen: Content, rejected: Content) -> tuple[Content, Content, Content]:
    assert not isinstance(chosen, str)
    assert not isinstance(rejected, str)
    size = 0
    while size < min(len(chosen), len(rejected)) - 1 and chosen[size] == rejected[size]:
        size += 1
    return chosen[:size], chosen[size:], rejected[size:]


def _shared_text(chosen: str, rejected: Content) -> tuple[Content, Content, Content]:
    assert isinstance(rejected, str)
    size = 0
    while size < min(len(chosen), len(rejected)) and chosen[size] == rejected[size]:
        size += 1
    # As TRL: the answers keep the space before their first differing word.
    size = max(chosen.rfind(" ", 0, size), 0)
    return chosen[:size], chosen[size:], rejected[size:]


def _rated(row: Row) -> Example:
    return replace(_answer(row), desirable=_thumb(row["label"]))


def _thumb(label: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    found = known.get(str(label).lower())
    if found is None:
        raise ValueError(f"label: {label!r} is neither true nor false")
    return found


# Values


def _text(row: Row, column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise TypeError(f"{column}: {type(value).__name__} where a text was expected")
    return value


def _content(row: Row, column: str) -> Content:
    value = row[column]
    return value if isinstance(value, str) else _messages(value, column)


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    messages = []
    for turn in value:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise ValueError(f"{column}: a turn has no role: {_short(turn)}")
        messages.append({key: value for key, value in turn.items() if value is not None})
    if not messages:
        raise ValueError(f"{column}: there is no turn in it")
    return tuple(messages)


def _alike(one: Content, other: Content, column: str) -> Content:
    if isinstance(one, str) != isinstance(other, str):
        raise ValueError(f"{column}: prompt and answers must all be texts or all be messages")
    return other


def _tools(row: Row) -> tuple[Any, ...]:
    tools = row.get("tools")
    if isinstance(tools, str):
        tools = json.loads(tools)
    return tuple(tools or ())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


FORMATS = (
    Format("ratings", "kto", frozenset({"prompt", "completion", "label"}), _rated),
    Format("preferences", "dpo", frozenset({"chosen", "rejected"}), _preference),
    Format("messages", "sft", frozenset({"messages"}), _dialogue),
    Format("prompt and completion", "sft", frozenset({"prompt", "completion"}), _answer),
    Format("sharegpt", "sft", frozenset({"conversations"}), _sharegpt),
    Format("alpaca", "sft", frozenset({"instruction", "output"}), _alpaca),
    Format("question and answer", "sft", frozenset({"question", "answer"}), _question),
    Format("text", "sft", frozenset({"text"}), _document),
)
"""In order of precedence: a table may hold the columns of several."""
