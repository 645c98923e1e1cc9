"""The process of a Space: loads the model at its commit, then serves until it is told to stop."""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from hub_trainer.errors import HubTrainerError
from hub_trainer.finetune.model_folder import download_model
from hub_trainer.hub import Hub
from hub_trainer.ratings import Outbox, RatingStore
from hub_trainer.ratings.outbox import Destination
from hub_trainer.space.examples import read_examples
from hub_trainer.space.raters import Raters, build_raters, rater_key
from hub_trainer.space.routes import health, lifespan, rate_route, with_headers
from hub_trainer.space.service import Loaded, SpaceService
from hub_trainer.space.settings import (
    SpaceSettings,
    load_settings,
    ratings_folder,
)
from hub_trainer.tasks import Row, classification, load_task

log = logging.getLogger(__name__)

MAX_UPLOAD = "10mb"
MAX_PIXELS = 16_000_000


def main() -> None:
    """Serve the Space whose files are in the current folder, until SIGTERM."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("hub_trainer").setLevel(logging.INFO)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        run(Path.cwd())
    except HubTrainerError as error:
        sys.exit(f"{error}")


def run(folder: Path) -> None:
    """Load what space.json names, then serve on GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    import uvicorn

    settings = load_settings(folder)
    # Only this object writes to the Hub: what else runs here does not find the token.
    hub = Hub(token=os.environ.pop("HF_TOKEN", None))
    store = RatingStore(ratings_folder())
    try:
        app = build_app(settings, hub, store, examples=read_examples(folder))
        config = uvicorn.Config(
            app,
            host=_host(),
            port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            proxy_headers=_is_on_the_hub(),
            forwarded_allow_ips="*",
        )
        # uvicorn raises the signal again once it has shut down in order.
        signal.signal(signal.SIGTERM, lambda *_: _leave(store))
        uvicorn.Server(config).run()
    finally:
        store.close()


def _leave(store: RatingStore) -> None:
    """End at once: ratings are on the disk, and threads of the page have nothing to save."""
    store.close()
    logging.shutdown()
    os._exit(0)


def _is_on_the_hub() -> bool:
    return bool(os.environ.get("SPACE_ID"))


def _host() -> str:
    """Everywhere behind the Hub's proxy, this machine alone elsewhere."""
    everywhere = "0.0.0.0"  # noqa: S104 - the Hub's proxy is the only way in
    return os.environ.get("GRADIO_SERVER_NAME") or (everywhere if _is_on_the_hub() else "127.0.0.1")


def build_app(settings: SpaceSettings, hub: Hub, store: RatingStore, *, examples: list[Row]) -> Any:
    """The whole Space as an ASGI application; its lifespan starts and stops the outbox."""
    folder = store.path.parent
    key = rater_key(folder)
    task = classification(load_task(settings.task))
    log.info("loading %s@%s", settings.model_repo_id, settings.commit_sha)
    model_dir = download_model(hub, settings.model_repo_id, settings.commit_sha)
    destination = Destination(
        settings.ratings_repo_id, settings.space_repo_id, settings.task, task.modality
    )
    outbox = Outbox(store, hub, destination, flush_seconds=settings.flush_seconds)
    signs_in = bool(os.environ.get("OAUTH_CLIENT_ID"))
    service = SpaceService(
        settings,
        Loaded(task, model_dir, task.widgets(settings.label_names, examples)),
        outbox,
        key=key,
        needs_account=signs_in,
    )
    return mount(
        service,
        build_raters(key, hub.url),
        model_url=f"{hub.url}/{settings.model_repo_id}/tree/{settings.commit_sha}",
        examples=examples,
        sign_in=signs_in,
    )


def mount(
    service: SpaceService,
    raters: Raters,
    *,
    model_url: str,
    examples: list[Row],
    sign_in: bool = False,
) -> Any:
    """Routes and page around a service."""
    import gradio
    from fastapi import FastAPI

    from hub_trainer.space.events import Events
    from hub_trainer.space.page import build_page, page_options

    _limit_pictures()
    app = FastAPI(openapi_url=None, lifespan=lambda _: lifespan(service))
    app.add_api_route("/health", lambda: health(service), methods=["GET"])
    app.add_route("/rate", rate_route(service, raters), methods=["POST"])
    page = build_page(
        service, Events(service, raters), model_url=model_url, examples=examples, sign_in=sign_in
    )
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        show_error=False,
        max_file_size=MAX_UPLOAD,
        app_kwargs={"openapi_url": None},
        **page_options(),
    )
    return with_headers(app)


def _limit_pictures() -> None:
    """Gradio opens a picture before the task sees it: one that is a bomb must not get that far."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
