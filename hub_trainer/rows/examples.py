"""Language data as canonical rows: what people read, what is compared, and the example itself.

A row holds `text`, the whole example as people read it; `prompt`, the part of it that a model is
asked; `label`, what may be learned from it; and `example`, the example as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.rows.formats import (
    FORMATS,
    Example,
    Format,
    Kind,
    assert_thumbs,
    detect_format,
)
from hub_trainer.rows.turns import Content, Row, RowFault

KIND_OF: Mapping[str, Kind] = {
    "demonstration": "sft",
    "preference": "dpo",
    "desirable": "kto",
    "undesirable": "kto",
}
"""Label of a row -> what may be learned from rows like it."""


def example_row(known: Format, example: Example) -> dict[str, str]:
    """The canonical row of an example."""
    asked, answers = asked_and_answers(example)
    prompt = as_text(asked)
    gap = "\n" if prompt and not isinstance(asked, str) else ""
    return {
        "text": prompt + gap + "\n\n".join(as_text(answer) for answer in answers),
        "prompt": prompt,
        "label": _label(known.kind, example),
        "example": _to_json(known, example),
    }


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


def examples_of(rows: Sequence[Row]) -> tuple[Format, list[Example]]:
    """The format of canonical rows and their examples.

    Raises DataError when the rows are of several kinds, which no one loss learns from.
    """
    kinds = {KIND_OF[row["label"]] for row in rows}
    if len(kinds) != 1:
        raise DataError(
            "The rows are of several kinds, and a model learns from one of them at a time.",
            got=", ".join(sorted({row["label"] for row in rows})) or "no rows",
            do="collect demonstrations, preferences or ratings, each with a recipe of its own",
        )
    name = json.loads(rows[0]["example"])["format"]
    (known,) = (one for one in FORMATS if one.name == name)
    return known, [example_of(row) for row in rows]


def asked_and_answers(example: Example) -> tuple[Content, tuple[Content, ...]]:
    """What a model is asked, and the answers that are known to it.

    A dialogue asks for its assistant's last turn; a text without a prompt asks for nothing.
    """
    turns = example.answers[0]
    if example.prompt or isinstance(turns, str) or len(example.answers) > 1:
        return example.prompt, example.answers
    said = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not said:
        return (), example.answers
    return tuple(turns[: said[-1]]), (tuple(turns[said[-1] :]),)


def canonical_examples(rows: Sequence[Row], where: str) -> list[dict[str, str] | str]:
    """Per row of a dataset its canonical row, or why it is none."""
    try:
        known = detect_format(rows[0] if rows else {})
    except DataError as error:
        error.where = where
        raise
    if known.kind == "kto":
        assert_thumbs([row.get("label") for row in rows], where=where)
    return [_canonical(known, row) for row in rows]


def as_prompts(rows: Sequence[Row]) -> list[Row]:
    """The rows with their prompts for texts, where they have prompts: what must not be leaked."""
    return [{**row, "text": row["prompt"]} if row.get("prompt") else row for row in rows]


def as_text(content: Content) -> str:
    """A text as it is, a dialogue with a line for each turn's speaker."""
    if isinstance(content, str):
        return content
    return "\n".join(f"{turn['role']}: {_said(turn)}" for turn in content)


def answer_text(answer: Content) -> str:
    """What an answer says: a text as it is, of turns the assistant's first."""
    if isinstance(answer, str):
        return answer
    return next((_said(turn) for turn in answer if turn["role"] == "assistant"), "")


def _canonical(known: Format, row: Row) -> dict[str, str] | str:
    try:
        made = example_row(known, known.example(row))
    except RowFault as fault:
        return str(fault)
    except RecursionError:
        return "nested too deeply"
    try:
        "".join(made.values()).encode()
    except UnicodeEncodeError:
        return "a text holds half of a surrogate pair, which is no character"
    return made


def _said(turn: Mapping[str, Any]) -> str:
    """What a turn says; a call of tools as JSON."""
    said = turn.get("content") or ""
    called = turn.get("tool_calls")
    return f"{said}{json.dumps(called, ensure_ascii=False)}" if called else str(said)


def _label(kind: Kind, example: Example) -> str:
    if kind == "kto":
        return "desirable" if example.desirable else "undesirable"
    return "demonstration" if kind == "sft" else "preference"


def _to_json(known: Format, example: Example) -> str:
    held = {**vars(example), "format": known.name}
    return json.dumps(held, ensure_ascii=False)


def _content(held: Any) -> Content:
    return held if isinstance(held, str) else tuple(held)
