"""Ratings of one model's answers on the page: good or bad, a better answer, a report.

Any answer of the conversation can be rated; the latest is chosen until another one is.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.chat.bubbles import conversation
from hub_trainer.space.chat.chat_events import ChatEvents, Marks, Turn, rated_turn
from hub_trainer.space.chat.chat_parts import Ask, ChatParts, into_form, wire_asking, wire_input
from hub_trainer.space.view import AT_ONCE, REMEMBER


@dataclass(frozen=True)
class Form:
    """A text to send, which a button opens."""

    open: Any
    block: Any
    text: Any
    send: Any


@dataclass(frozen=True)
class AnswerVerdict:
    """The parts under a conversation: which of its answers is rated, and how."""

    block: Any
    which: Any
    """Place of the answer among the turns, from 0."""
    marks: Any
    up: Any
    down: Any
    edit: Form
    report: Form
    again: Any


def show_answer_verdict(beside: str, *, can_vary: bool) -> AnswerVerdict:
    """The buttons and forms, and the HTML `beside` them.

    `can_vary` when another answer may be had by asking again.
    """
    marks = gr.State({})
    with gr.Column(visible=False, elem_id="verdict") as block:
        which = gr.Radio([], label="Which answer", visible=False, elem_id="which")
        with gr.Row():
            up = gr.Button("Good answer", size="md", min_width=110)
            down = gr.Button("Bad answer", size="md", min_width=110)
            edit = gr.Button("Edit the answer", size="md", min_width=110)
            report = gr.Button("Report", size="md", min_width=110)
            again = gr.Button("Another answer", size="md", min_width=110, visible=can_vary)
        forms = (
            _show_form(
                edit, "edit-form", "The answer as it should be", "Send the edited answer", 4
            ),
            _show_form(report, "report-form", "What is wrong with it", "Send the report", 2),
        )
        gr.HTML(beside, elem_id="note", padding=False)
    return AnswerVerdict(block, which, marks, up, down, *forms, again)


def wire_answers(parts: ChatParts, verdict: AnswerVerdict, events: ChatEvents, status: Any) -> None:
    """Ask for answers, and rate them."""
    outputs = [parts.chat, parts.turns, parts.message, verdict.which]
    wire_asking(
        parts,
        [parts.send.click, parts.message.submit],
        Ask(events.answer, [parts.message, parts.turns, verdict.marks], outputs),
        verdict.block,
    )
    again = Ask(events.again, [parts.turns, verdict.marks], outputs)
    wire_asking(parts, [verdict.again.click], again, verdict.block)
    wire_input(parts, events, verdict.block)
    forms = [verdict.edit.block, verdict.report.block]
    chosen = [parts.turns, verdict.which]
    edited, reported = [*forms, verdict.edit.text], [*forms, verdict.report.text]
    opened = verdict.edit.open.click(_open_edit, chosen, edited, **AT_ONCE)
    opened.then(**into_form("edit-form"))
    opened = verdict.report.open.click(_open_report, None, reported, **AT_ONCE)
    opened.then(**into_form("report-form"))
    for button, rating, text in (
        (verdict.up, "up", gr.State("")),
        (verdict.down, "down", gr.State("")),
        (verdict.edit.send, "edit", verdict.edit.text),
        (verdict.report.send, "report", verdict.report.text),
    ):
        told = button.click(
            events.rate_answer,
            [gr.State(rating), text, *chosen, verdict.marks],
            [parts.said, verdict.marks],
            **AT_ONCE,
        )
        shown = told.then(_show_marks, [parts.turns, verdict.marks], parts.chat, **AT_ONCE)
        shown.then(events.status, None, status, **AT_ONCE).then(**REMEMBER)
    parts.turns.change(_close, None, forms, **AT_ONCE)
    verdict.which.input(_close, None, forms, **AT_ONCE)


def _show_form(button: Any, elem_id: str, label: str, send: str, lines: int) -> Form:
    with gr.Column(visible=False, elem_id=elem_id) as block:
        text = gr.Textbox(label=label, lines=lines, max_lines=12)
        return Form(button, block, text, gr.Button(send, variant="primary", size="md"))


def _show_marks(turns: list[Turn], marks: Marks) -> str:
    """The conversation with what was said of its answers."""
    return conversation(turns, marks=marks)


def _open_edit(turns: list[Turn], place: int | None) -> tuple[Any, ...]:
    """The form with the chosen answer in it, to be changed."""
    text = rated_turn(turns, place)["assistant"].strip()
    return gr.update(visible=True), gr.update(visible=False), text


def _open_report() -> tuple[Any, ...]:
    return gr.update(visible=False), gr.update(visible=True), ""


def _close() -> tuple[Any, ...]:
    return gr.update(visible=False), gr.update(visible=False)
