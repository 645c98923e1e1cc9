"""Formats of language data, told apart by their columns, and rows read as examples.

The column names are TRL's (text, messages, prompt/completion, prompt/chosen/rejected,
prompt/completion/label) and those that people have: alpaca, sharegpt, question/answer. What a
cell may hold is in `turns`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.inputs.cleaning import clean_text
from hub_trainer.inputs.language_examples import Content, Example, Kind, Message, Row, as_text
from hub_trainer.rows.row_files import WEIGHT
from hub_trainer.rows.turns import (
    RowFault,
    content_of,
    messages_of,
    said_by,
    structured,
    text_of,
    tools_of,
)

MAX_ODD = 0.1
"""Share of the labels from which numbers that are no thumbs are a scale and no slips."""
EXPECTED = "expected"
FINISHED = "_finished"

THUMBS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "+1", "yes", "y", "up", "thumbs up", "good", "desirable"), True),
    **dict.fromkeys(("false", "0", "-1", "no", "n", "down", "thumbs down", "bad"), False),
    "undesirable": False,
    "\N{THUMBS UP SIGN}": True,
    "\N{THUMBS DOWN SIGN}": False,
}
"""How a rating is written, in lower case, whole numbers without a fraction."""


@dataclass(frozen=True)
class Format:
    """Columns that tell a format, and how its rows become examples."""

    name: str
    kind: Kind
    columns: frozenset[str]
    read: Callable[[Row], Example]

    def example(self, row: Row) -> Example:
        """The example of a row, with its weight and what is expected of an answer.

        Raises RowFault for a row that breaks the format.
        """
        return replace(
            self.read(row),
            weight=_weight(row.get(WEIGHT)),
            expected=_expected(row.get(EXPECTED)),
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
        got=", ".join(sorted(name for name in found if name[:1] != "_")) or "no columns",
        do=f"map your columns, as in columns: {{completion: ...}}, to one of: {names}",
    )


def read_examples(rows: Sequence[Row]) -> tuple[Format, list[Example]]:
    """The format of the rows and one example per row; a row that breaks it is named."""
    if not rows:
        raise DataError("There are no rows to learn from.", do="name a split that has rows")
    known = detect_format(rows[0])
    return known, [_read(known, row, index) for index, row in enumerate(rows)]


def _read(known: Format, row: Row, index: int) -> Example:
    try:
        return known.example(row)
    except RowFault as fault:
        raise DataError(
            f"A row is not in the format {known.name}.",
            where=f"row {index}",
            got=str(fault),
            do=f"see its columns {', '.join(sorted(known.columns))}",
        ) from fault


# Formats


def _document(row: Row) -> Example:
    return Example("", (text_of(row.get("text"), "text"),))


def _dialogue(row: Row) -> Example:
    return Example((), (_whole_dialogue(row, "messages"),), tools_of(row))


def _sharegpt(row: Row) -> Example:
    return Example((), (_whole_dialogue(row, "conversations"),), tools_of(row))


def _whole_dialogue(row: Row, column: str) -> tuple[Message, ...]:
    """A dialogue; a system prompt in a column of its own comes first."""
    messages = messages_of(row.get(column), column)
    return messages if messages[0]["role"] == "system" else (*_system(row), *messages)


def _system(row: Row) -> tuple[Message, ...]:
    system = row.get("system")
    return ({"role": "system", "content": text_of(system, "system")},) if system else ()


def _answer(row: Row) -> Example:
    prompt, completion = content_of(row, "prompt"), content_of(row, "completion")
    prompt, (answer,) = _alike(prompt, completion)
    return Example(prompt, (answer,), tools_of(row))


def _alpaca(row: Row) -> Example:
    return _asked(_instruction(row), text_of(row.get("output"), "output"), row)


def _instruction(row: Row) -> str:
    asked, further = text_of(row.get("instruction"), "instruction"), row.get("input")
    further = "" if further is None else text_of(further, "input")
    return f"{asked}\n\n{further}" if further else asked


def _question(row: Row) -> Example:
    return _asked(
        text_of(row.get("question"), "question"), text_of(row.get("answer"), "answer"), row
    )


def _asked(question: str, answer: str, row: Row) -> Example:
    prompt = (*_system(row), *_history(row), {"role": "user", "content": question})
    return Example(prompt, (({"role": "assistant", "content": answer},),), asked=True)


def _history(row: Row) -> tuple[Message, ...]:
    """Earlier questions and answers, as alpaca files have them: a list of pairs."""
    history = structured(row.get("history")) or ()
    pairs = history if isinstance(history, list | tuple) else ()
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise RowFault("history is no list of questions and answers")
    roles = ("user", "assistant")
    return tuple(
        {"role": role, "content": text_of(said, "history")}
        for pair in pairs
        for role, said in zip(roles, pair, strict=True)
    )


def _preference(row: Row) -> Example:
    chosen, rejected = content_of(row, "chosen"), content_of(row, "rejected")
    if chosen == rejected:
        raise RowFault("chosen and rejected are the same")
    if clean_text(as_text(chosen)) == clean_text(as_text(rejected)):
        raise RowFault("chosen and rejected differ only in white space and unseen signs")
    asked, is_question = _prompt_beside(row)
    if all(isinstance(one, str) for one in (chosen, rejected, asked)):
        if not asked:
            asked, chosen, rejected = _shared_text(chosen, rejected)
        return Example(asked, (chosen, rejected), tools_of(row))
    alone = isinstance(chosen, str) and isinstance(rejected, str)
    prompt, answers = _asked_turns(
        asked, said_by("assistant", chosen), said_by("assistant", rejected)
    )
    return Example(prompt, answers, tools_of(row), asked=is_question and alone)


def _prompt_beside(row: Row) -> tuple[Content, bool]:
    """What is asked in a column of its own, and whether that is a plain question."""
    if row.get("prompt") is not None:
        return content_of(row, "prompt"), False
    if row.get("question") is not None:
        question = text_of(row["question"], "question")
    elif row.get("instruction") is not None:
        question = _instruction(row)
    else:
        return "", False
    return (*_system(row), *_history(row), {"role": "user", "content": question}), True


def _asked_turns(
    asked: Content, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Content, tuple[Content, ...]]:
    """The dialogue before two answers: what a prompt says, and the turns that both begin with.

    A prompt beside answers that tell the whole dialogue repeats some of it.
    """
    size = 0
    while size < min(len(chosen), len(rejected)) - 1 and chosen[size] == rejected[size]:
        size += 1
    shared, chosen, rejected = chosen[:size], chosen[size:], rejected[size:]
    if {chosen[0]["role"], rejected[0]["role"]} & {"user", "system"}:
        raise RowFault("chosen and rejected answer different prompts")
    before = said_by("user", asked) if asked else ()
    begin = next((turn["role"] for turn in shared if turn["role"] != "system"), None)
    told = begin == "user" if isinstance(asked, str) else shared[: len(before)] == before
    return (shared if told else (*before, *shared)), (chosen, rejected)


def _shared_text(chosen: Content, rejected: Content) -> tuple[str, str, str]:
    assert isinstance(chosen, str)
    assert isinstance(rejected, str)
    size = 0
    while size < min(len(chosen), len(rejected)) and chosen[size] == rejected[size]:
        size += 1
    # As TRL: the answers keep the space before their first differing word.
    size = max(chosen.rfind(" ", 0, size), 0)
    return chosen[:size], chosen[size:], rejected[size:]


def _rated(row: Row) -> Example:
    return replace(_answer(row), desirable=_thumb(row.get("label")))


# Values


def _alike(prompt: Content, *answers: Content) -> tuple[Content, tuple[Content, ...]]:
    """All of them texts, or all of them turns: one turn makes turns of the others."""
    if isinstance(prompt, str) and all(isinstance(answer, str) for answer in answers):
        return prompt, answers
    before = said_by("user", prompt) if prompt else ()
    return before, tuple(said_by("assistant", answer) for answer in answers)


def _thumb(label: Any) -> bool:
    written = text_of(label, "label").strip().lower().replace("_", " ").replace("-up", " up")
    written = written.replace("-down", " down")
    found = THUMBS.get(written.removesuffix(".0"))
    if found is None:
        raise RowFault("label is neither yes nor no")
    return found


def assert_thumbs(labels: Sequence[Any], *, where: str) -> None:
    """Raise DataError for labels that are a scale, of which 1 is the worst and no thumb up."""
    scale = [label for label in labels if _number(label) not in (None, -1.0, 0.0, 1.0)]
    if len(scale) > MAX_ODD * len(labels):
        shown = sorted({_number(label) or 0.0 for label in labels if _number(label) is not None})
        raise DataError(
            "The labels are a scale, and a rating is one of two.",
            where=f"{where}, column label",
            got=f"labels {', '.join(f'{one:g}' for one in shown[:8])}",
            do="Write true for the answers that are good and false for the others.",
        )


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _weight(value: Any) -> float:
    try:
        return 1.0 if value is None else float(value)
    except (TypeError, ValueError):
        raise RowFault("the weight is not a number") from None


def _expected(value: Any) -> tuple[str, ...]:
    value = structured(value)
    if value is None or value == "":
        return ()
    many = value if isinstance(value, list | tuple) else [value]
    return tuple(text_of(one, EXPECTED) for one in many)


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
