"""What a cell of language data may hold."""

import json
from typing import Any

import numpy
import pytest

from hub_trainer.inputs.language_examples import Example, is_learned
from hub_trainer.rows.turn_notes import turn_notes
from hub_trainer.rows.turns import RowFault, content_of, messages_of, text_of, tools_of

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "x.png"}}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("41", "41"),
        (41, "41"),
        (41.0, "41"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        ({"unit": "m", "n": None}, '{"unit": "m", "n": null}'),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"text": "a"}], "a"),
        (["a"], "a"),
    ],
)
def test_cell_that_is_no_text_is_written_as_one(cell: Any, text: str) -> None:
    assert text_of(cell, "output") == text


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "no output"),
        (float("nan"), "no output"),
        ([], "no output"),
        ([1, 2], "output is a list, not a text"),
        (["a", "b"], "output is a list of several texts"),
        ([{"type": "text", "text": "look"}, IMAGE], "output holds an image, which"),
        ([{"type": "input_audio"}], "output holds a sound, which"),
        ([{"type": "text", "text": 1}], "output holds a part that is not a text"),
        (b"x", "output holds bytes, not a text"),
    ],
)
def test_cell_without_a_text_says_why(cell: Any, reason: str) -> None:
    with pytest.raises(RowFault, match=f"^{reason}"):
        text_of(cell, "output")


@pytest.mark.parametrize(
    "cell",
    [
        [USER, BOT],
        json.dumps([USER, BOT]),
        str([USER, BOT]),
        [json.dumps(USER), json.dumps(BOT)],
        {"role": ["user", "assistant"], "content": ["Hi", "Hello"]},
        [{"from": "human", "value": "Hi"}, {"from": "GPT", "value": "Hello"}],
        [{"role": "User", "content": [{"type": "text", "text": "Hi"}]}, BOT],
    ],
)
def test_dialogue_may_be_written_in_several_ways(cell: Any) -> None:
    assert messages_of(cell, "messages") == (USER, BOT)
    assert content_of({"prompt": cell}, "prompt") == (USER, BOT)


@pytest.mark.parametrize(
    "text", ["[1, 2, 3]", "{}", '{"role": "admin"}', '["a", "b"]', '[{"type": "bus"}]', "[nothing"]
)
def test_text_that_looks_like_json_stays_a_text(text: str) -> None:
    assert content_of({"completion": text}, "completion") == text
    assert messages_of([USER, {**BOT, "content": text}], "messages")[1]["content"] == text


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "no messages"),
        ([], "there is no turn in messages"),
        ("hello", "messages is no list of turns"),
        (["hello"], "a turn is not an object"),
        ([{"content": "x"}], "a turn has no role"),
        ([{"role": "user", "content": None}], "a turn has no content"),
        ([{"role": "assistant", "tool_calls": 5}], "the calls of tools are no JSON"),
        ([{"role": "assistant", "tool_calls": [5]}], "a call of a tool is not an object"),
        ({"role": ["user"], "content": []}, "turns of a dialogue lack a role or a content"),
    ],
)
def test_dialogue_that_is_none_says_why(cell: Any, reason: str) -> None:
    with pytest.raises(RowFault, match=f"^{reason}"):
        messages_of(cell, "messages")


@pytest.mark.parametrize("arguments", [{"b": 1, "a": None}, '{"b": 1, "a": null}'])
def test_calls_keep_their_arguments_in_order_and_with_their_nulls(arguments: Any) -> None:
    call = {"id": None, "type": "function", "function": {"name": "f", "arguments": arguments}}
    for turn in (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": None, "tool_calls": json.dumps([call])},
        {"role": "assistant", "content": None, "function_call": call["function"]},
    ):
        (found,) = messages_of([turn], "messages")
        assert "content" not in found
        (made,) = found["tool_calls"]
        assert made["function"]["name"] == "f"
        assert list(made["function"]["arguments"].items()) == [("b", 1), ("a", None)]


def test_arguments_that_are_no_object_stay_as_they_are() -> None:
    call = {"function": {"name": "f", "arguments": "Rome"}}
    (found,) = messages_of([{"role": "assistant", "tool_calls": [call]}], "messages")
    assert found["tool_calls"] == [call]


@pytest.mark.parametrize(
    "tools", [[{"name": "f"}], '[{"name": "f"}]', ['{"name": "f"}'], {"name": "f"}]
)
def test_tools_may_be_written_in_several_ways(tools: Any) -> None:
    assert tools_of({"tools": tools}) == ({"name": "f"},)


def test_tools_that_are_none_are_refused() -> None:
    assert tools_of({"tools": ""}) == tools_of({"tools": "[]"}) == ()
    for tools in ("oops", 5):
        with pytest.raises(RowFault, match="the tools are no JSON"):
            tools_of({"tools": tools})


@pytest.mark.parametrize(
    "turns",
    [
        [{"speaker": "user", "text": "q"}, {"speaker": "bot", "text": "a"}],
        [{"author": "human", "message": "q"}, {"author": "AI", "utterance": "a"}],
        [{"role": "user", "content": {"type": "text", "text": "q"}}, {"from": "gpt", "text": "a"}],
    ],
)
def test_turns_may_call_their_keys_otherwise(turns: list[dict[str, Any]]) -> None:
    assert messages_of(turns, "messages") == (
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    )


def test_turn_with_the_usual_keys_keeps_others_of_such_names() -> None:
    turn = {"role": "user", "content": "q", "speaker": "ann", "text": "x"}
    assert messages_of([turn], "messages") == (turn,)
    with pytest.raises(RowFault, match="no known speaker"):
        messages_of([{"speaker": "ann", "text": "x"}], "messages")


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (
            {"role": "asistant", "content": "x"},
            "the role of a turn is misspelt, probably assistant",
        ),
        ({"role": "Users", "content": "x"}, "the role of a turn is misspelt, probably user"),
        ({"from": "humn", "value": "x"}, "the role of a turn is misspelt, probably user"),
        ({"from": "narrator", "value": "x"}, "a turn is by no known speaker"),
        (
            {"role": "assistant", "content": "x", "weight": "much"},
            "the weight of a turn is not a number from 0 on",
        ),
        (
            {"role": "assistant", "content": "x", "weight": -1},
            "the weight of a turn is not a number from 0 on",
        ),
    ],
)
def test_turn_whose_role_or_weight_is_a_slip_says_which(turn: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowFault) as fault:
        messages_of([{"role": "user", "content": "q"}, turn], "messages")
    assert str(fault.value) == reason


@pytest.mark.parametrize("weight", [0, 0.0, "0", False])
def test_turn_of_no_weight_is_context_however_it_is_written(weight: Any) -> None:
    turns = [
        {"role": "user", "content": "q", "weight": "of a user"},
        {"role": "assistant", "content": "bad", "weight": weight},
        {"role": "assistant", "content": "good", "weight": 1},
    ]
    assert [is_learned(turn) for turn in messages_of(turns, "messages")] == [False, False, True]


def test_roles_and_weights_that_nobody_knows_are_noted_once_with_their_turns() -> None:
    dialogue = (
        {"role": "critic", "content": "q"},
        {"role": "assistant", "content": "a", "weight": 0.5},
    )
    examples = [Example((), (dialogue,)), Example(({"role": "critic", "content": "x"},), ("a",))]
    assert list(turn_notes(examples)) == [
        "2 turns have the role 'critic', which no format knows: the chat template decides how it is"
        " written, and it is not learned",
        "1 turn of the assistant has a weight other than 0 and 1, which only a whole row can have,"
        " in the column _weight: it is learned as 1",
    ]
    many = tuple({"role": f"speaker {n}", "content": "x"} for n in range(7))
    assert list(turn_notes([Example((), (many,))]))[5:] == [
        "there are 2 more roles that no format knows"
    ]


@pytest.mark.parametrize("read", [messages_of, lambda cell, name: content_of({name: cell}, name)])
def test_list_as_numpy_prints_it_says_what_helps(read: Any) -> None:
    cell = str(numpy.array([USER, BOT], dtype=object))
    assert "}\n {" in cell
    with pytest.raises(RowFault, match="write the table as parquet or JSON lines"):
        read(cell, "messages")
    assert content_of({"text": "[{a}\n {b}]"}, "text") == "[{a}\n {b}]"
