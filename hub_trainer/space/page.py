"""The page: the task's inputs and outputs, and under an answer the question whether it is right."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.events import Events
from hub_trainer.space.service import SpaceService
from hub_trainer.space.view import AT_ONCE, MAX_WAITING, UPLOADS, View
from hub_trainer.space.visitors import as_markdown
from hub_trainer.tasks import Row

PICTURE_HEIGHT = 280
"""Pixels."""


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


def build_page(service: SpaceService, events: Events, view: View) -> gr.Blocks:
    """The Blocks of the Space, with the API names /predict and /rate."""
    widgets = service.loaded.widgets
    title = f"Is {service.desk.settings.model_repo_id} right?"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=UPLOADS) as page:
        gr.Markdown(_header(service, view.model_url))
        if view.sign_in:
            gr.LoginButton(size="sm")
        with gr.Row(equal_height=False):
            with gr.Column():
                inputs = [_component(name, options) for name, options in widgets.inputs]
                ask = gr.Button("Ask the model", variant="primary")
                _show_examples(service.loaded.task.modality, view.examples, inputs)
            with gr.Column():
                outputs = [_component(name, options) for name, options in widgets.outputs]
                ticket = gr.Textbox(label="generation_id", visible=False)
                question = _question(service)
        status = gr.Markdown(elem_id="status")
        asked = ask.click(
            events.predict, inputs, [*outputs, ticket], api_name="predict", concurrency_id="model"
        )
        shown = [question.block, question.correction, question.answer, question.said]
        asked.success(_ask_anew, None, shown, **AT_ONCE)
        asked.failure(_ask_nothing, None, [question.block, question.said], **AT_ONCE)
        _wire(question, ticket, events, status)
        page.load(events.status, None, status, **AT_ONCE)
        gr.api(events.rate, api_name="rate", queue=False, concurrency_limit=None)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def _component(name: str, options: Mapping[str, Any]) -> Any:
    """A component by its name; a picture has room, however small it is itself."""
    room = {"height": PICTURE_HEIGHT} if name == "Image" else {}
    return getattr(gr, name)(**{**room, **options})


def _question(service: SpaceService) -> _Question:
    with gr.Column(visible=False) as block:
        gr.Markdown("### Is this right?")
        gr.Markdown(as_markdown(service.desk.consent), elem_id="note")
        with gr.Row():
            right, wrong = gr.Button("Right", min_width=120), gr.Button("Wrong", min_width=120)
        with gr.Column(visible=False) as correction:
            labels = service.desk.settings.label_names
            answer = gr.Dropdown(labels, value=None, label="The right answer")
            send = gr.Button("Send the right answer", variant="primary")
    # Not inside the block: what is read out where it changes must be there from the start.
    said = gr.Markdown(elem_id="said")
    return _Question(block, right, wrong, correction, answer, send, said)


def _wire(question: _Question, ticket: Any, events: Events, status: Any) -> None:
    question.wrong.click(lambda: gr.update(visible=True), None, question.correction, **AT_ONCE)
    for button, handler, asked in (
        (question.right, events.rate_right, [ticket]),
        (question.send, events.rate_wrong, [ticket, question.answer]),
    ):
        said = button.click(handler, asked, question.said, **AT_ONCE)
        said.then(events.status, None, status, **AT_ONCE)


def _ask_anew() -> list[Any]:
    """Show the question under a new answer, with nothing chosen yet."""
    return [gr.update(visible=True), gr.update(visible=False), gr.update(value=None), ""]


def _ask_nothing() -> list[Any]:
    """Hide the question: there is no answer that it could be about."""
    return [gr.update(visible=False), ""]


def _show_examples(modality: str, examples: Sequence[Row], inputs: Sequence[Any]) -> None:
    if not examples or modality not in ("text", "image"):
        return
    values = [[_example_value(row[modality])] for row in examples]
    gr.Examples(values, list(inputs), label="Examples", api_visibility="private")


def _example_value(value: str | bytes) -> str:
    """Text as it is, a picture as a file that Gradio copies into its own folder."""
    if isinstance(value, str):
        return value
    with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
        file.write(value)
    return file.name


def _header(service: SpaceService, model_url: str) -> str:
    settings = service.desk.settings
    return (
        f"# Is it right?\n\nAsk [{settings.model_repo_id}]({model_url}) "
        f"(`{settings.commit_sha[:7]}`), then say whether its answer is right. "
        "What you say helps to train the next round."
    )
