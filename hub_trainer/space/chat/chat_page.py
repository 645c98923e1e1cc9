"""The page of a conversation: one model whose answers are rated, or two in blind pairs."""

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.space.chat.answer_parts import show_answer_verdict, wire_answers
from hub_trainer.space.chat.chat_events import ChatEvents
from hub_trainer.space.chat.chat_parts import (
    ONE_AT_A_TIME,
    ChatParts,
    show_conversation,
    show_input,
)
from hub_trainer.space.chat.chat_service import ChatService
from hub_trainer.space.chat.pair_parts import show_pair_verdict, wire_pairs
from hub_trainer.space.view import AT_ONCE, MAX_WAITING, UPLOADS, View, head, notice, terms
from hub_trainer.space.wording import space_title


def build_chat_page(service: ChatService, events: ChatEvents, view: View) -> gr.Blocks:
    """The Blocks of the Space, with the API names /rate, and /chat or /pair."""
    settings = service.intake.settings
    in_pairs = settings.rival is not None
    beside = notice(settings) + terms(settings, service.intake.consent)
    with gr.Blocks(
        title=space_title(settings), analytics_enabled=False, delete_cache=UPLOADS
    ) as page:
        top = head(settings, "dialogue", view.model_url, _manner(service))
        gr.HTML(top, elem_id="head", padding=False)
        if view.sign_in:
            gr.LoginButton(size="sm")
        with gr.Column(elem_id="conversation", elem_classes="card"):
            turns, chat = show_conversation()
            if in_pairs:
                pair = show_pair_verdict(beside)
            else:
                can_vary = service.sampling.temperature is not None
                answer = show_answer_verdict(beside, can_vary=can_vary)
            said = gr.Markdown(elem_id="said")
            parts = ChatParts(turns, chat, said, *show_input(view.examples))
        status = gr.Markdown(elem_id="status")
        if in_pairs:
            wire_pairs(parts, pair, events, status)
            gr.api(events.pair, api_name="pair", **ONE_AT_A_TIME)
        else:
            wire_answers(parts, answer, events, status)
            gr.api(events.chat, api_name="chat", **ONE_AT_A_TIME)
        gr.api(events.rate, api_name="rate", queue=False, concurrency_limit=None)
        page.load(events.status, None, status, **AT_ONCE)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def _manner(service: ChatService) -> str:
    """What a visitor would else wonder about."""
    manner = ""
    if service.sampling.temperature is None:
        manner += "The same message gets the same answer: the likeliest words are taken. "
    if not service.remembers:
        manner += "Only your latest message counts, not those before it. "
    return manner
