"""Ratings of one model's answer on the page: good or bad, a better answer, a report."""

from dataclasses import dataclass
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.chat.chat_parts import Ask, ChatParts, wire_asking, wire_input
from hub_trainer.space.chat.events import ChatEvents, Turn
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
    """The parts under an answer."""

    block: Any
    up: Any
    down: Any
    edit: Form
    report: Form
    again: Any


def show_answer_verdict(beside: str, *, can_vary: bool) -> AnswerVerdict:
    """The buttons and forms, and the HTML `beside` them.

    `can_vary` when another answer may be had by asking again.
    """
    with gr.Column(visible=False, elem_id="verdict") as block:
        with gr.Row():
            up = gr.Button("Good answer", size="md", min_width=110)
            down = gr.Button("Bad answer", size="md", min_width=110)
            edit = gr.Button("Edit the answer", size="md", min_width=110)
            report = gr.Button("Report", size="md", min_width=110)
            again = gr.Button("Another answer", size="md", min_width=110, visible=can_vary)
        forms = (
            _show_form(edit, "The answer as it should be", "Send the edited answer", lines=4),
            _show_form(report, "What is wrong with it", "Send the report", lines=2),
        )
        gr.HTML(beside, elem_id="note", padding=False)
    return AnswerVerdict(block, up, down, *forms, again)


def wire_answers(parts: ChatParts, verdict: AnswerVerdict, events: ChatEvents, status: Any) -> None:
    """Ask for answers, and rate them."""
    outputs = [parts.chat, parts.turns, parts.message]
    wire_asking(
        parts,
        [parts.send.click, parts.message.submit],
        Ask(events.answer, [parts.message, parts.turns], outputs),
        verdict.block,
    )
    again = Ask(events.again, [parts.turns], outputs)
    wire_asking(parts, [verdict.again.click], again, verdict.block)
    wire_input(parts, events, verdict.block)
    forms = [verdict.edit.block, verdict.report.block]
    verdict.edit.open.click(_open_edit, parts.turns, [*forms, verdict.edit.text], **AT_ONCE)
    verdict.report.open.click(_open_report, None, [*forms, verdict.report.text], **AT_ONCE)
    for button, rating, text in (
        (verdict.up, "up", gr.State("")),
        (verdict.down, "down", gr.State("")),
        (verdict.edit.send, "edit", verdict.edit.text),
        (verdict.report.send, "report", verdict.report.text),
    ):
        told = button.click(
            events.say, [gr.State(rating), text, parts.turns], parts.said, **AT_ONCE
        )
        told.then(events.status, None, status, **AT_ONCE).then(**REMEMBER)
    parts.turns.change(_close, None, forms, **AT_ONCE)


def _show_form(button: Any, label: str, send: str, *, lines: int) -> Form:
    with gr.Column(visible=False) as block:
        text = gr.Textbox(label=label, lines=lines, max_lines=12)
        return Form(button, block, text, gr.Button(send, variant="primary", size="md"))


def _open_edit(turns: list[Turn]) -> tuple[Any, ...]:
    """The form with the answer in it, to be changed."""
    return gr.update(visible=True), gr.update(visible=False), turns[-1]["assistant"].strip()


def _open_report() -> tuple[Any, ...]:
    return gr.update(visible=False), gr.update(visible=True), ""


def _close() -> tuple[Any, ...]:
    return gr.update(visible=False), gr.update(visible=False)
