"""A Space for the kill test: python -m ratings.serve_counting SPACE_PORT FOLDER HUB_URL.

Beside the real routes it has POST /ask, which predicts at once, without the queue of the page.
"""

import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from hub_trainer.errors import HubTrainerError
from hub_trainer.hub import Hub
from hub_trainer.space.routes import lifespan, rate_route
from tests.space.factory import raters, service_of, settings_of

FLUSH_SECONDS = 0.3


def main() -> None:
    port, folder, url = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    settings = settings_of(ratings_per_hour=10**9, flush_seconds=FLUSH_SECONDS)
    service, _ = service_of(folder, Hub(url, os.environ["HF_TOKEN"]), settings)
    people = raters()
    app = FastAPI(lifespan=lambda _: lifespan(service.intake))

    async def ask(request: Request) -> Any:
        try:
            rater = people.from_token(request.headers)
            assert rater is not None
            shown = service.predict([(await request.json())["text"]], rater)
        except HubTrainerError as error:
            return JSONResponse({"error": error.what}, 503)
        return JSONResponse({"ticket": shown.ticket})

    app.add_route("/ask", ask, methods=["POST"])
    app.add_route("/rate", rate_route(service, people), methods=["POST"])
    app.add_api_route("/health", service.health)
    uvicorn.run(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    service.intake.outbox.store.close()


if __name__ == "__main__":
    main()
