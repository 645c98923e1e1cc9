"""Two models' answers side by side, and what can be said of them: which is better."""

from dataclasses import dataclass
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.chat.chat_events import ChatEvents, Turn
from hub_trainer.space.chat.chat_parts import Ask, ChatParts, into_form, wire_asking, wire_input
from hub_trainer.space.view import AT_ONCE, REMEMBER

SIDES = [("the left one", "report-left"), ("the right one", "report-right")]


@dataclass(frozen=True)
class PairVerdict:
    """Two answers, and the parts under them."""

    sides: Any
    left: Any
    right: Any
    block: Any
    choices: dict[str, Any]
    report: Any
    form: Any
    side: Any
    reason: Any
    send_report: Any


def show_pair_verdict(beside: str) -> PairVerdict:
    """The two answers, the choice between them, the form to report one, and the HTML `beside`."""
    with gr.Row(visible=False, equal_height=True, elem_id="sides") as sides:
        left, right = (gr.HTML(js_on_load=None, min_width=100) for _ in range(2))
    with gr.Column(visible=False, elem_id="verdict") as block:
        with gr.Row():
            choices = {
                "left": gr.Button("Left is better", size="md", min_width=110),
                "tie": gr.Button("Equally good", size="md", min_width=110),
                "right": gr.Button("Right is better", size="md", min_width=110),
            }
            report = gr.Button("Report", size="md", min_width=110)
        with gr.Column(visible=False, elem_id="report-form") as form:
            side = gr.Radio(SIDES, value="report-left", label="Which answer")
            reason = gr.Textbox(label="What is wrong with it", lines=2, max_lines=12)
            send_report = gr.Button("Send the report", variant="primary", size="md")
        gr.HTML(beside, elem_id="note", padding=False)
    return PairVerdict(sides, left, right, block, choices, report, form, side, reason, send_report)


def wire_pairs(parts: ChatParts, verdict: PairVerdict, events: ChatEvents, status: Any) -> None:
    """Ask for pairs of answers, and rate them."""
    outputs = [parts.chat, parts.turns, parts.message, verdict.left, verdict.right, verdict.sides]
    wire_asking(
        parts,
        [parts.send.click, parts.message.submit],
        Ask(events.answers, [parts.message, parts.turns], outputs),
        verdict.block,
    )
    wire_input(parts, events, verdict.block)
    chosen = [parts.said, parts.turns, parts.chat, verdict.sides, verdict.block]
    for rating, button in verdict.choices.items():
        told = button.click(events.prefer, [gr.State(rating), parts.turns], chosen, **AT_ONCE)
        told.then(events.status, None, status, **AT_ONCE).then(**REMEMBER)
    opened = verdict.report.click(_open_report, None, [verdict.form, verdict.reason], **AT_ONCE)
    opened.then(**into_form("report-form"))
    told = verdict.send_report.click(
        events.say, [verdict.side, verdict.reason, parts.turns], parts.said, **AT_ONCE
    )
    told.then(events.status, None, status, **AT_ONCE).then(**REMEMBER)
    parts.turns.change(_show_open_pair, parts.turns, [verdict.sides, verdict.form], **AT_ONCE)


def _show_open_pair(turns: list[Turn]) -> tuple[Any, ...]:
    """Answers are there until one of them is chosen; a form that was open is closed."""
    is_open = bool(turns) and "decided" not in turns[-1]
    return gr.update(visible=is_open), gr.update(visible=False)


def _open_report() -> tuple[Any, ...]:
    return gr.update(visible=True), ""
