"""The routes beside the page: POST /rate, /health, and the headers of every answer."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from hub_trainer.ratings import RatingRefused
from hub_trainer.ratings.rating_records import Reason
from hub_trainer.space.guard import BadBody, parsed
from hub_trainer.space.raters import Rater, Raters
from hub_trainer.space.rating_intake import RatingIntake

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 65_536
SWEEP_SECONDS = 600.0
LEAVING_SECONDS = 0.2
STATUS_OF: dict[Reason, int] = {
    "expired": 410,
    "unknown": 404,
    "invalid": 422,
    "rater": 401,
    "limit": 429,
    "busy": 503,
    "storage": 503,
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RatedService(Protocol):
    """A Space's service, of labels or of answers."""

    intake: RatingIntake

    async def rate(self, ticket: str, kind: str, answer: str | None, rater: Rater) -> str:
        """Keep a rating; returns its id once it is on the disk."""
        ...

    def health(self) -> dict[str, Any]:
        """What GET /health says."""
        ...


@contextlib.asynccontextmanager
async def lifespan(intake: RatingIntake) -> AsyncIterator[None]:
    """Sends ratings, and deletes what nobody rated, for as long as the server runs."""
    intake.outbox.start()
    sweeper = asyncio.create_task(_sweep(intake))
    yield
    sweeper.cancel()
    if not await asyncio.to_thread(intake.outbox.stop):
        log.warning("stopped with ratings that are not on the Hub yet; they are on the disk")


async def _sweep(intake: RatingIntake) -> None:
    while True:
        await asyncio.to_thread(intake.forget_unrated)
        await asyncio.sleep(SWEEP_SECONDS)


def rate_route(service: RatedService, raters: Raters) -> Callable[[Any], Awaitable[Any]]:
    """POST /rate with a Hub token: {"generation_id", "rating", "answer"}."""
    from starlette.responses import JSONResponse

    async def rate(request: Any) -> JSONResponse:
        try:
            values = await _body(request)
            rater = await asyncio.to_thread(raters.from_token, request.headers)
            if rater is None:
                raise RatingRefused(
                    "This address takes ratings with a token of the Hub only.",
                    reason="rater",
                    do="Send the header Authorization: Bearer <token>.",
                )
            rating_id = await service.rate(*values, rater)
        except RatingRefused as error:
            headers = {"retry-after": "5"} if error.reason in ("busy", "storage") else None
            body = {"error": error.what, "do": error.do}
            return JSONResponse(body, STATUS_OF[error.reason], headers)
        return JSONResponse({"saved": True, "rating_id": rating_id})

    return rate


async def _body(request: Any) -> tuple[str, str, str]:
    """Generation id, rating and answer of a small JSON object."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RatingRefused("The body is not application/json.", reason="invalid")
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise RatingRefused(f"The body is over {MAX_BODY_BYTES:,} bytes.", reason="invalid")
    try:
        values = parsed(content)
        found = (values["generation_id"], values["rating"], values.get("answer") or "")
    except BadBody as error:
        raise RatingRefused(str(error), reason="invalid") from None
    except (KeyError, TypeError, AttributeError):
        found = (None, None, None)
    if not all(isinstance(value, str) for value in found):
        raise RatingRefused(
            "The body is not a rating.",
            reason="invalid",
            do='Send {"generation_id": "...", "rating": "...", "answer": "..."}, each a text.',
        )
    return found


def with_headers(app: Any) -> Any:
    """Headers that keep a browser from fetching or running anything from elsewhere."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    return answer


def until_leaving(app: Any, is_leaving: Callable[[], bool]) -> Any:
    """The application, whose open streams end when the server is told to stop.

    A page that is open keeps a stream open, which the server would else wait for and then break.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_or_leave() -> MutableMapping[str, Any]:
            waiting = asyncio.ensure_future(receive())
            try:
                while not waiting.done():
                    if is_leaving():
                        return {"type": "http.disconnect"}
                    await asyncio.wait({waiting}, timeout=LEAVING_SECONDS)
                return waiting.result()
            finally:
                waiting.cancel()

        await app(scope, receive_or_leave if scope["type"] == "http" else receive, send)

    return answer
