"""The parts of a page with which a visitor speaks, and what happens while an answer is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.chat.bubbles import conversation
from hub_trainer.space.chat.chat_events import ChatEvents, Turn
from hub_trainer.space.view import AT_ONCE
from hub_trainer.tasks import Row

WAITING = "The answer is on its way …"
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}


@dataclass(frozen=True)
class ChatParts:
    """A conversation, the input for the next message, and what is said of a rating."""

    turns: Any
    chat: Any
    said: Any
    message: Any
    send: Any
    stop: Any
    anew: Any


def show_conversation() -> tuple[Any, Any]:
    """The turns, which the server keeps, and the box that shows them as text."""
    turns = gr.State([])
    chat = gr.HTML(conversation([]), elem_id="chat", js_on_load=None)
    return turns, chat


def show_input(examples: Sequence[Row]) -> tuple[Any, Any, Any, Any]:
    """Message, Send, Stop and New conversation; messages to try beneath them."""
    with gr.Row(elem_id="entry"):
        message = gr.Textbox(
            label="Your message",
            placeholder="Write here; Enter sends.",
            lines=1,
            max_lines=8,
            elem_id="message",
        )
        send = gr.Button("Send", variant="primary", elem_id="send")
    with gr.Row(elem_id="controls"):
        stop = gr.Button("Stop", interactive=False, size="sm", min_width=80)
        anew = gr.Button("New conversation", size="sm", min_width=80)
    if examples:
        values = [[row["text"]] for row in examples]
        gr.Examples(values, [message], label="Examples", api_visibility="private")
    return message, send, stop, anew


def wire_asking(parts: ChatParts, triggers: Sequence[Any], ask: "Ask", block: Any) -> None:
    """Write an answer when a trigger fires; `block`, what is asked of it, waits until then."""
    shown = [block, parts.stop, parts.anew, parts.said]
    begun = gr.on(list(triggers), _begin, None, shown, **AT_ONCE)
    written = begun.then(
        ask.handler,
        list(ask.inputs),
        list(ask.outputs),
        show_progress="hidden",
        api_visibility="private",
        **ONE_AT_A_TIME,
    )
    for event in (written.success, written.failure):
        event(_end, parts.turns, shown, **AT_ONCE)


@dataclass(frozen=True)
class Ask:
    """A handler that streams, and the components that it reads and writes."""

    handler: Any
    inputs: Sequence[Any]
    outputs: Sequence[Any]


def wire_input(parts: ChatParts, events: ChatEvents, block: Any) -> None:
    """Stop the answer that is being written, or leave the conversation."""
    parts.stop.click(events.stop, None, None, **AT_ONCE)
    left = [parts.turns, parts.chat, parts.said, block]
    parts.anew.click(_forget, None, left, **AT_ONCE)


def into_form(form: str) -> dict[str, Any]:
    """An event that puts the cursor into a form which was opened."""
    js = f"() => window.hubTrainerFocus('{form}', 'textarea')"
    return {"fn": None, "inputs": None, "outputs": None, "js": js, **AT_ONCE}


def _begin() -> tuple[Any, ...]:
    return (
        gr.update(visible=False),
        gr.update(interactive=True),
        gr.update(interactive=False),
        WAITING,
    )


def _end(turns: list[Turn]) -> tuple[Any, ...]:
    """There is something to rate once there is an answer that nobody has decided on."""
    is_open = bool(turns) and "decided" not in turns[-1]
    updates = gr.update(visible=is_open), gr.update(interactive=False), gr.update(interactive=True)
    return *updates, ""


def _forget() -> tuple[Any, ...]:
    return [], conversation([]), "", gr.update(visible=False)
