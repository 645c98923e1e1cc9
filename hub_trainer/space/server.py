"""The process of a Space: loads the model at its commit, then serves until it is told to stop."""

import logging
import os
import signal
import sys
from pathlib import Path

from hub_trainer.errors import HubTrainerError
from hub_trainer.hub import Hub
from hub_trainer.ratings import RatingStore
from hub_trainer.space.application import build_app
from hub_trainer.space.durability import ratings_place
from hub_trainer.space.routes import until_leaving
from hub_trainer.space.settings import is_on_the_hub, load_settings
from hub_trainer.space.shown_rows import read_shown

log = logging.getLogger(__name__)


def main(token: str | None = None) -> None:
    """Serve the Space whose files are in the current folder, until SIGTERM.

    Without `token` that in the environment is taken, and taken out of it.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("hub_trainer").setLevel(logging.INFO)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        # Only the Hub object writes: what else runs here does not find the token.
        run(Path.cwd(), token or os.environ.pop("HF_TOKEN", None))
    except HubTrainerError as error:
        sys.exit(f"{error}")


def run(folder: Path, token: str | None) -> None:
    """Load what space.json names, then serve on GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    import uvicorn

    settings = load_settings(folder)
    hub = Hub(token=token)
    place = ratings_place()
    log.info("ratings in %s, safe once on the %s: %s", place.folder, place.durability, place.reason)
    store = RatingStore(place.folder)
    try:
        shown = read_shown(folder)
        app = build_app(settings, hub, store, shown=shown, durability=place.durability)
        config = uvicorn.Config(
            until_leaving(app, lambda: server.should_exit),
            host=_host(),
            port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            proxy_headers=is_on_the_hub(),
            forwarded_allow_ips="*",
        )
        # uvicorn raises the signal again once it has shut down in order.
        signal.signal(signal.SIGTERM, lambda *_: _leave(store))
        server = uvicorn.Server(config)
        server.run()
    finally:
        store.close()


def _leave(store: RatingStore) -> None:
    """End at once: ratings are on the disk, and threads of the page have nothing to save."""
    store.close()
    logging.shutdown()
    os._exit(0)


def _host() -> str:
    """Everywhere behind the Hub's proxy, this machine alone elsewhere."""
    everywhere = "0.0.0.0"  # noqa: S104 - the Hub's proxy is the only way in
    return os.environ.get("GRADIO_SERVER_NAME") or (everywhere if is_on_the_hub() else "127.0.0.1")
