"""The Space as an ASGI application: the model, the intake of ratings, the routes and the page."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub_trainer.finetune.model_folder import download_folders, download_model
from hub_trainer.hub import Hub
from hub_trainer.ratings import Outbox, RatingStore
from hub_trainer.ratings.outbox import Destination
from hub_trainer.recipe.columns import OPTIONAL_INPUTS
from hub_trainer.space.chat.chat_service import ChatModel, ChatService
from hub_trainer.space.durability import Durability
from hub_trainer.space.guard import guarded
from hub_trainer.space.raters import Raters, build_raters, rater_key
from hub_trainer.space.rating_intake import RatingIntake
from hub_trainer.space.request_sources import Sources, derived_keys, kept_keys
from hub_trainer.space.routes import RatedService, lifespan, rate_route, with_headers
from hub_trainer.space.service import Loaded, SpaceService
from hub_trainer.space.settings import SpaceSettings, is_on_the_hub
from hub_trainer.space.shown_rows import ShownRows
from hub_trainer.space.view import View, page_options
from hub_trainer.space.zerogpu import announce, is_zerogpu, on_gpu
from hub_trainer.tasks import (
    ModelFolders,
    Row,
    Task,
    load_task,
)

log = logging.getLogger(__name__)
MAX_UPLOAD = "10mb"
MAX_PIXELS = 16_000_000


def build_app(
    settings: SpaceSettings,
    hub: Hub,
    store: RatingStore,
    *,
    shown: ShownRows,
    durability: Durability = "disk",
) -> Any:
    """The whole Space as an ASGI application; its lifespan starts and stops the outbox."""
    key, raters = raters_at(store.path.parent, hub, durability)
    beside = tuple(name for name in OPTIONAL_INPUTS if name in settings.columns)
    task: Task = on_gpu(load_task(settings.task, settings.answer, beside=beside))
    destination = Destination(
        settings.ratings_repo_id,
        settings.space_repo_id,
        settings.task,
        task.modality,
    )
    outbox = Outbox(store, hub, destination, flush_seconds=settings.flush_seconds)
    signs_in = bool(os.environ.get("OAUTH_CLIENT_ID"))
    intake = RatingIntake(settings, outbox, key=key, needs_account=signs_in, durability=durability)
    view = View(
        f"{hub.url}/{settings.model_repo_id}/tree/{settings.commit_sha}",
        shown.examples,
        signs_in,
        shown.ranges,
        shown.asked,
    )
    log.info("loading %s@%s", settings.model_repo_id, settings.commit_sha)
    if task.converses:
        return chat_app(chat_service(task, intake, hub, key=key), raters, view)
    return form_app(form_service(task, intake, hub, shown.examples), raters, view)


def raters_at(folder: Path, hub: Hub, durability: Durability) -> tuple[bytes, Raters]:
    """The Space's key and its raters, who stay the same over a restart.

    Keys are kept in `folder`; where that is lost at a restart they come from the Space's token.
    """
    if durability == "disk":
        key, key_of_day = rater_key(folder), kept_keys(folder)
    else:
        key = rater_key(folder, derived=hub.derive_key("hub_trainer raters"))
        key_of_day = derived_keys(key)
    sources = Sources(behind_proxy=is_on_the_hub(), key_of_day=key_of_day)
    return key, build_raters(key, hub.url, sources)


def form_service(
    task: Task, intake: RatingIntake, hub: Hub, examples: Sequence[Row]
) -> SpaceService:
    """The service of a model that predicts, with the model on the disk."""
    settings = intake.settings
    model_dir = download_model(hub, settings.model_repo_id, settings.commit_sha)
    widgets = task.widgets(examples)
    assert widgets is not None
    loaded = Loaded(task, ModelFolders(model_dir), widgets.labelled(settings.columns))
    return SpaceService(loaded, intake)


def chat_service(task: Task, intake: RatingIntake, hub: Hub, *, key: bytes) -> ChatService:
    """The service of a language model, and of its rival if there is one, ready to answer."""
    settings = intake.settings
    named = [(settings.model_repo_id, settings.commit_sha)]
    named += [(settings.rival.repo_id, settings.rival.commit_sha)] if settings.rival else []
    models = [
        ChatModel(f"{repo_id}@{sha}", ModelFolders(*download_folders(hub, repo_id, sha)))
        for repo_id, sha in named
    ]
    service = ChatService(task, models, intake, key=key)
    if not is_zerogpu():  # there a model can be asked within a visitor's call only
        service.warm_up()
    return service


def form_app(service: SpaceService, raters: Raters, view: View) -> Any:
    """Routes and the page of predictions around a service."""
    from hub_trainer.space.events import Events
    from hub_trainer.space.page import build_page

    return mount(service, raters, build_page(service, Events(service, raters), view))


def chat_app(service: ChatService, raters: Raters, view: View) -> Any:
    """Routes and the page of a conversation around a service."""
    from hub_trainer.space.chat.bubbles import CSS
    from hub_trainer.space.chat.chat_events import ChatEvents
    from hub_trainer.space.chat.chat_page import build_chat_page

    page = build_chat_page(service, ChatEvents(service, raters), view)
    return mount(service, raters, page, css=CSS)


def mount(service: RatedService, raters: Raters, page: Any, *, css: str = "") -> Any:
    """Routes and page around a service."""
    import gradio
    from fastapi import FastAPI

    from hub_trainer.space.visitors import asking_refusal

    _limit_pictures()
    announce()
    app = FastAPI(openapi_url=None, lifespan=lambda _: lifespan(service.intake))
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_route("/rate", rate_route(service, raters), methods=["POST"])
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        show_error=False,
        max_file_size=MAX_UPLOAD,
        app_kwargs={"openapi_url": None},
        **page_options(css),
    )
    refusal = asking_refusal(service.intake.limits, raters, page)
    return with_headers(guarded(app, refusal))


def _limit_pictures() -> None:
    """Gradio opens a picture before the task sees it: one that is a bomb must not get that far."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
