"""Cells of language data: a text, or the turns of a dialogue, however written.

A cell is JSON in a CSV file, a structure in a parquet file, a number where a text was meant. What
cannot be learned raises RowFault, whose reason holds nothing of the row.
"""

import ast
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub_trainer.inputs.language_examples import Content, Message, Row
from hub_trainer.rows.written import Unread, number_text, parse_json

SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
}
"""Who speaks, in lower case -> the role that chat templates know."""
ROLE_KEYS = ("role", "from")
SAID_KEYS = ("content", "value")
OTHER_ROLE_KEYS = ("speaker", "author")
OTHER_SAID_KEYS = ("text", "message", "utterance")
"""What the two are called where a turn has none of the usual keys."""
TEXT_PARTS = (None, "text", "input_text", "output_text")
UNSEEN_PARTS: Mapping[str, str] = {
    "image": "an image",
    "image_url": "an image",
    "input_image": "an image",
    "audio": "a sound",
    "audio_url": "a sound",
    "input_audio": "a sound",
    "video": "a video",
    "video_url": "a video",
}
LIKENESS = 0.8
"""From which share of common letters on a word is taken for a misspelt one, as asistant."""
PYTHON_MARKS = ("'role'", "'from'", "'type'", "'name'")
"""One of these is in every dialogue, part and tool that Python printed."""


NUMPY_GAP = re.compile(r"\}[ \t]*\n[ \t]*\{")
"""What numpy prints between two objects, as in a CSV file that pandas wrote of a parquet file."""


class RowFault(ValueError):
    """Why a row cannot be learned from, in words that are the same for all such rows."""


def text_of(value: Any, column: str) -> str:
    """A cell as text: numbers as written, objects as JSON, the texts of a list of parts.

    Raises RowFault for a cell without a value, and for what has no text.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise RowFault(f"no {column}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise RowFault(f"no {column}")
        return number_text(value)
    if isinstance(value, list | tuple):
        return _joined(value, column)
    _assert_readable(value, column)
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _assert_readable(value: Any, where: str) -> None:
    """Raise RowFault for what is neither a text nor of a value of which one can be made."""
    if isinstance(value, Unread):
        raise RowFault(f"{where} holds {value.what}")
    if isinstance(value, bytes | bytearray):
        raise RowFault(f"{where} holds bytes, not a text")
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            _assert_readable(inner, where)


def content_of(row: Row, column: str) -> Content:
    """A cell as a text, or as turns where it holds turns."""
    value = row.get(column)
    found = structured(value)
    if _holds_turns(found, written=isinstance(value, str)):
        return messages_of(found, column)
    return text_of(_as_parts(value), column)


def messages_of(value: Any, column: str) -> tuple[Message, ...]:
    """The turns of a dialogue: at least one."""
    value = structured(value)
    if value is None:
        raise RowFault(f"no {column}")
    if isinstance(value, Unread):
        raise RowFault(f"{column} holds {value.what}")
    if isinstance(value, Mapping):
        value = _turns_of_columns(value)
    if not isinstance(value, list | tuple):
        raise RowFault(f"{column} is no list of turns")
    if not value:
        raise RowFault(f"there is no turn in {column}")
    return tuple(_turn(structured(turn)) for turn in value)


def said_by(role: str, content: Content) -> tuple[Message, ...]:
    """Turns as they are, and a text as one turn of this role."""
    return ({"role": role, "content": content},) if isinstance(content, str) else content


def structured(value: Any) -> Any:
    """A cell of JSON, or of what Python prints of a list, as what it stands for.

    A text that is neither, or that stands for plain values only, stays a text. Raises RowFault for
    what numpy prints of a list of objects.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        found = parse_json(value)
    except ValueError:
        found = _of_python(value)
        if found is None and _is_of_numpy(value.strip()):
            raise RowFault(
                "a list as numpy prints it, without commas: write the table as parquet or JSON"
                " lines"
            ) from None
    return found if _is_structure(found) else value


def tools_of(row: Row) -> tuple[Any, ...]:
    """The tools that a dialogue may call: a list, or JSON of one."""
    tools = row.get("tools")
    if isinstance(tools, str):
        found = structured(tools)
        if isinstance(found, str) and found.strip() not in ("", "[]", "null"):
            raise RowFault("the tools are no JSON")
        tools = found
    if not tools or isinstance(tools, str):
        return ()
    if not isinstance(tools, list | tuple | Mapping):
        raise RowFault("the tools are no JSON")
    _assert_readable(tools, "tools")
    return tuple(structured(one) for one in ([tools] if isinstance(tools, Mapping) else tools))


def _has_marks(text: str) -> bool:
    return any(mark in text for mark in PYTHON_MARKS)


def _is_of_numpy(text: str) -> bool:
    is_list = text.startswith("[{") and text.endswith("}]")
    return is_list and _has_marks(text) and NUMPY_GAP.search(text) is not None


def _of_python(text: str) -> Any:
    if not _has_marks(text):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _is_structure(value: Any) -> bool:
    """Whether JSON stands for turns, parts, tools or other lists, and is no text of its own."""
    if isinstance(value, Mapping):
        return any(key in value for key in (*ROLE_KEYS, "function", "name"))
    return isinstance(value, list) and bool(value)


def _holds_turns(value: Any, *, written: bool) -> bool:
    """Whether a cell is a dialogue; a text `written` as JSON must show it in every turn."""
    if isinstance(value, Mapping):
        return not written and _is_turn(value)
    if not isinstance(value, list | tuple) or not value:
        return False
    if written:
        return all(_is_turn(one) for one in value)
    keys = (*ROLE_KEYS, *SAID_KEYS)
    found = [structured(one) for one in value]
    return any(isinstance(one, Mapping) and any(key in one for key in keys) for one in found)


def _is_turn(value: Any) -> bool:
    said = (*SAID_KEYS, "tool_calls", "function_call")
    return (
        isinstance(value, Mapping)
        and any(value.get(key) is not None for key in ROLE_KEYS)
        and any(key in value for key in said)
    )


# Turns


def _turn(turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise RowFault("a turn is not an object")
    turn = _with_usual_keys(turn)
    calls = _calls(turn.get("tool_calls") or _older_calls(turn))
    said = next((turn[key] for key in SAID_KEYS if turn.get(key) is not None), None)
    if said is None and not calls:
        raise RowFault("a turn has no content")
    known: dict[str, Any] = {"role": _role(turn)}
    known |= {} if said is None else {"content": text_of(_as_parts(said), "content")}
    known |= {"tool_calls": calls} if calls else {}
    own = (*ROLE_KEYS, *SAID_KEYS, "tool_calls", "function_call")
    known |= {k: v for k, v in turn.items() if v is not None and k not in own}
    if known["role"] == "assistant" and "weight" in known:
        known["weight"] = _turn_weight(known["weight"])
    _assert_readable(known, "a turn")
    return known


def _with_usual_keys(turn: Message) -> Message:
    for usual, others in ((ROLE_KEYS, OTHER_ROLE_KEYS), (SAID_KEYS, OTHER_SAID_KEYS)):
        if any(turn.get(key) is not None for key in usual):
            continue
        found = next((key for key in others if isinstance(turn.get(key), str)), None)
        if found:
            turn = {usual[1]: turn[found], **{k: v for k, v in turn.items() if k != found}}
    return turn


def _older_calls(turn: Message) -> list[Any]:
    """A call as it was written before a turn could hold several."""
    call = turn.get("function_call")
    return [] if call is None else [{"type": "function", "function": structured(call)}]


def _role(turn: Message) -> str:
    named = next((turn[key] for key in ROLE_KEYS if turn.get(key) is not None), None)
    if not isinstance(named, str) or not named.strip():
        raise RowFault("a turn has no role")
    said = named.strip().lower()
    known = SPEAKERS.get(said)
    if known is None:
        meant = difflib.get_close_matches(said, SPEAKERS, n=1, cutoff=LIKENESS)
        if meant:
            raise RowFault(f"the role of a turn is misspelt, probably {SPEAKERS[meant[0]]}")
        if turn.get("role") is None:
            raise RowFault("a turn is by no known speaker")
    return known or named.strip()


def _turn_weight(value: Any) -> float:
    """How much a turn counts, as OpenAI's files say it: 0 is context that is not learned."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not found >= 0:
        raise RowFault("the weight of a turn is not a number from 0 on")
    return int(found) if found in (0, 1) else found


def _turns_of_columns(value: Message) -> Sequence[Any]:
    """Turns that `datasets` keeps as one structure of lists; a single turn is a dialogue too."""
    if not any(isinstance(value.get(key), list) for key in ROLE_KEYS):
        return [value]
    lists = {key: cells for key, cells in value.items() if isinstance(cells, list)}
    if len({len(cells) for cells in lists.values()}) != 1:
        raise RowFault("turns of a dialogue lack a role or a content")
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]


def _calls(calls: Any) -> list[Any]:
    """Calls of tools, their arguments as objects wherever they are objects in JSON."""
    calls = structured(calls)
    if not calls:
        return []
    calls = [calls] if isinstance(calls, Mapping) else calls
    if not isinstance(calls, list | tuple):
        raise RowFault("the calls of tools are no JSON")
    return [_call(one) for one in calls]


def _call(call: Any) -> Any:
    call = structured(call)
    if not isinstance(call, Mapping):
        raise RowFault("a call of a tool is not an object")
    made = {key: value for key, value in call.items() if value is not None}
    if isinstance(made.get("function"), Mapping):
        made["function"] = _call(made["function"])
    if isinstance(made.get("arguments"), str):
        try:
            found = parse_json(made["arguments"])
        except ValueError:
            return made
        if isinstance(found, Mapping):
            made["arguments"] = found
    return made


# Content


def _joined(parts: Sequence[Any], column: str) -> str:
    """The texts of a list of parts, one below the other."""
    if not parts:
        raise RowFault(f"no {column}")
    texts = all(isinstance(part, str) for part in parts)
    if texts and len(parts) > 1 and column != "content":
        raise RowFault(f"{column} is a list of several texts")
    return "\n".join(_part(part, column) for part in parts)


def _part(part: Any, column: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RowFault(f"{column} is a list, not a text")
    kind = part.get("type")
    if kind in TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    unseen = UNSEEN_PARTS.get(kind) if isinstance(kind, str) else None
    unseen = unseen or next((UNSEEN_PARTS[key] for key in part if key in UNSEEN_PARTS), None)
    if unseen:
        raise RowFault(f"{column} holds {unseen}, which a language model of texts cannot read")
    raise RowFault(f"{column} holds a part that is not a text")


def _as_parts(said: Any) -> Any:
    """The parts that a text of JSON stands for; every other value is what it was."""
    found = structured(said)
    known = (*UNSEEN_PARTS, *TEXT_PARTS[1:])
    if isinstance(said, Mapping) and said.get("type") in known:
        return [said]
    if isinstance(found, list) and all(
        isinstance(p, Mapping) and p.get("type") in known for p in found
    ):
        return found
    return said
