"""The page: the task's inputs, its answer, and under that the question whether it is right."""

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.inputs import load_input
from hub_trainer.inputs.media import medium_of_content
from hub_trainer.space.components import component, input_component
from hub_trainer.space.events import Events, with_names
from hub_trainer.space.reading_notes import Reading
from hub_trainer.space.service import SpaceService
from hub_trainer.space.view import AT_ONCE, MAX_WAITING, UPLOADS, View, head, notice, terms
from hub_trainer.space.wording import space_title
from hub_trainer.tasks import Row

PICTURE_HEIGHT = 260
"""Pixels."""
WAITING = '<div class="empty">The answer appears here.</div>'


@dataclass(frozen=True)
class _Question:
    """The parts under an answer."""

    block: Any
    right: Any
    wrong: Any
    correction: Any
    answer: Any
    send: Any
    said: Any
    another: Any


@dataclass(frozen=True)
class _Answer:
    """The parts that show an answer."""

    waiting: Any
    block: Any
    """Shown and hidden in place of the output: Gradio makes a component that is updated anew for
    each visitor, from its class and arguments alone."""
    output: Any
    notes: Any
    notice: Any
    ticket: Any


def build_page(service: SpaceService, events: Events, view: View) -> gr.Blocks:
    """The Blocks of the Space, with the API names /predict and /rate."""
    settings, widgets = service.intake.settings, service.loaded.widgets
    modality = service.loaded.task.modality
    with gr.Blocks(
        title=space_title(settings), analytics_enabled=False, delete_cache=UPLOADS
    ) as page:
        gr.HTML(head(settings, modality, view.model_url), elem_id="head", padding=False)
        if view.sign_in:
            gr.LoginButton(size="sm")
        with gr.Row(equal_height=False, elem_id="desk"):
            with gr.Column(elem_id="asked", elem_classes="card"):
                with gr.Column(elem_id="inputs"):
                    inputs = [_input(name, options, view) for name, options in widgets.inputs]
                ask = gr.Button("Ask the model", variant="primary", elem_id="ask")
                _show_examples(modality, view.examples, inputs)
            with gr.Column(elem_id="answered", elem_classes="card"):
                answer = _answer(service)
                question = _question(service)
        status = gr.Markdown(elem_id="status")
        labels = [str(options.get("label")) for _, options in widgets.inputs]
        asked = ask.click(
            with_names(events.predict, labels),
            inputs,
            [answer.output, answer.ticket],
            api_name="predict",
            concurrency_id="model",
            show_progress_on=[answer.waiting, answer.output],
        )
        _wire_answer(asked, inputs, answer, question, Reading(service, view.ranges))
        _wire_rating(question, answer.ticket, events, status)
        _wire_another(question, answer, inputs, view)
        page.load(events.status, None, status, **AT_ONCE)
        gr.api(events.rate, api_name="rate", queue=False, concurrency_limit=None)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def _input(name: str, options: Mapping[str, Any], view: View) -> Any:
    """A component by its name; a picture has room, and a number says what is usual."""
    more: dict[str, Any] = {"height": PICTURE_HEIGHT} if name == "Image" else {}
    known = view.ranges.get(str(options.get("label")), {})
    if name == "Number" and "low" in known:
        more["info"] = f"{known['low']:,g} to {known['high']:,g} in training"
    return input_component(name, **{**more, **options})


def _answer(service: SpaceService) -> _Answer:
    waiting = gr.HTML(WAITING, elem_id="waiting", padding=False)
    name, options = service.answer.output(service.intake.settings.label_names)
    with gr.Column(visible=False) as block:
        output = component(name, **options, elem_id="prediction")
    notes = gr.HTML("", elem_id="notes", padding=False)
    told = gr.HTML(notice(service.intake.settings), visible=False, padding=False)
    ticket = gr.Textbox(label="generation_id", visible=False)
    return _Answer(waiting, block, output, notes, told, ticket)


def _question(service: SpaceService) -> _Question:
    with gr.Column(visible=False, elem_id="question") as block:
        gr.HTML(f"<h2>{service.answer.question}</h2>", padding=False)
        with gr.Row():
            right = gr.Button("Right", min_width=120, elem_id="right")
            wrong = gr.Button("Wrong", min_width=120, elem_id="wrong")
        with gr.Column(visible=False, elem_id="correction") as correction:
            name, options = service.answer.correction(service.intake.settings.label_names)
            answer = component(name, **options)
            send = gr.Button("Send the right answer", variant="primary", elem_id="send")
        gr.HTML(
            terms(service.intake.settings, service.intake.consent), elem_id="note", padding=False
        )
    # Not inside the block: what is read out where it changes must be there from the start.
    said = gr.Markdown(elem_id="said")
    another = gr.Button("Try another", variant="primary", visible=False, elem_id="another")
    return _Question(block, right, wrong, correction, answer, send, said, another)


def _wire_answer(
    asked: Any, inputs: Sequence[Any], answer: _Answer, question: _Question, reading: Reading
) -> None:
    """Show an answer with what must be known of it, and move to it; or the empty place again."""
    shown = [answer.waiting, answer.block, answer.notice]
    parts = [question.block, question.correction, question.answer, question.said, question.another]
    there = asked.success(lambda: [_seen(False), _seen(True), _seen(True)], None, shown, **AT_ONCE)
    there.then(_ask_anew, None, parts, **AT_ONCE).then(
        None, None, None, js="() => window.hubTrainerFocus('answered')", **AT_ONCE
    )
    there.then(reading.notes, list(inputs), answer.notes, **AT_ONCE)
    asked.failure(lambda: [_seen(True), _seen(False), _seen(False)], None, shown, **AT_ONCE).then(
        _ask_nothing, None, [question.block, question.said, answer.notes], **AT_ONCE
    )


def _wire_rating(question: _Question, ticket: Any, events: Events, status: Any) -> None:
    mended = [question.correction, question.answer]
    question.wrong.click(events.mend, ticket, mended, **AT_ONCE).then(
        None,
        None,
        None,
        js="() => window.hubTrainerFocus('correction', 'input, textarea')",
        **AT_ONCE,
    )
    for button, handler, asked in (
        (question.right, events.rate_right, [ticket]),
        (question.send, events.rate_wrong, [ticket, question.answer]),
    ):
        said = button.click(handler, asked, question.said, **AT_ONCE)
        said.then(events.status, None, status, **AT_ONCE)
        offered = [question.another, question.correction]
        said.then(_next_step, question.said, offered, **AT_ONCE).then(
            None,
            None,
            None,
            js="() => { window.hubTrainerRated(); window.hubTrainerFocus('another'); }",
            **AT_ONCE,
        )


def _wire_another(question: _Question, answer: _Answer, inputs: Sequence[Any], view: View) -> None:
    """A further row, or an empty form, in place of what was asked."""
    count = gr.State()
    values = _as_inputs(view.asked or view.examples)

    def another(place: "Place | None") -> list[Any]:
        if not values:
            return [None, *[None] * len(inputs)]
        start = Place(1, 1) if not view.asked else Place.anywhere(len(values))
        place = place or start
        return [place.next(), *values[place.number % len(values)]]

    question.another.click(another, count, [count, *inputs], **AT_ONCE).then(
        lambda: [_seen(False)] * 2 + ["", ""],
        None,
        [question.block, question.another, question.said, answer.notes],
        **AT_ONCE,
    ).then(
        None,
        None,
        None,
        js="() => window.hubTrainerFocus('asked', 'textarea, #ask')",
        **AT_ONCE,
    )


class Place(NamedTuple):
    """A visitor's place among the rows to ask about; each row comes once before any comes again."""

    number: int
    step: int

    @classmethod
    def anywhere(cls, num_rows: int) -> "Place":
        """A start and a step of one's own, so that no two visitors share an order."""
        steps = [step for step in range(1, num_rows + 1) if gcd(step, num_rows) == 1]
        return cls(secrets.randbelow(num_rows), secrets.choice(steps))

    def next(self) -> "Place":
        """The row after this one."""
        return Place(self.number + self.step, self.step)


def _seen(is_visible: bool) -> Any:
    return gr.update(visible=is_visible)


def _next_step(said: str) -> tuple[Any, Any]:
    """Once a rating is saved, another example in place of the choice of an answer."""
    is_saved = said.startswith("**Saved.**")
    return _seen(is_saved), _seen(False) if is_saved else gr.skip()


def _ask_anew() -> list[Any]:
    """Show the question under a new answer, with nothing chosen yet."""
    return [_seen(True), _seen(False), gr.update(value=None), "", _seen(False)]


def _ask_nothing() -> list[Any]:
    """Hide the question: there is no answer that it could be about."""
    return [_seen(False), "", ""]


def _show_examples(modality: str, examples: Sequence[Row], inputs: Sequence[Any]) -> None:
    if not examples or load_input(modality).has_features:
        return
    gr.Examples(_as_inputs(examples), list(inputs), label="Examples", api_visibility="private")


def _as_inputs(rows: Sequence[Row]) -> list[list[Any]]:
    """A list of values per row, one for each input."""
    return [
        [_example_value(value, number) for value in row.values()]
        for number, row in enumerate(rows, start=1)
    ]


def _example_value(value: Any, number: int) -> Any:
    """A value as it is, a picture or a sound as a file that Gradio copies into its own folder.

    A sound is shown by the name of its file.
    """
    if not isinstance(value, bytes):
        return value
    medium = medium_of_content(value)
    suffix = medium.suffix(value) if medium else ""
    path = Path(tempfile.mkdtemp(prefix="example-")) / f"Example {number}{suffix}"
    path.write_bytes(value)
    return str(path)
