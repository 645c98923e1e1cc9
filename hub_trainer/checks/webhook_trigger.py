"""A webhook as a trigger: whoever knows the secret may set it off, and nothing else is believed.

What a delivery says is only a hint that something happened; the reviewer looks for itself. So a
replayed, reordered or doubled delivery costs one look at the Hub and changes nothing.
"""

import hmac
import json
import socket
import threading
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hub_trainer.errors import UsageError

SECRET_VARIABLE = "HUB_TRAINER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
MIN_SECRET_BYTES = 32
MAX_BODY_BYTES = 65_536


class WebhookTrigger:
    """A small server in a thread of its own; `wait` returns at a delivery, or in time."""

    def __init__(self, dataset_id: str, secret: str) -> None:
        assert_secret(secret)
        self._delivered = threading.Event()
        self._closed = False
        self.app = webhook_app(dataset_id, secret, self._delivered.set)

    def listen(self, host: str, port: int) -> str:
        """Bind and serve; returns the address. Raises UsageError when the port is taken."""
        import uvicorn

        listener = _bind(host, port)
        config = uvicorn.Config(
            self.app, log_level="warning", timeout_keep_alive=5, limit_concurrency=32
        )
        self._server = uvicorn.Server(config)
        threading.Thread(target=self._server.run, args=([listener],), daemon=True).start()
        return f"http://{host}:{listener.getsockname()[1]}/"

    def wait(self, seconds: float) -> bool:
        """Wait for a delivery, or as long as said; False once it is closed."""
        self._delivered.wait(seconds)
        self._delivered.clear()
        return not self._closed

    def close(self) -> None:
        """Stop listening; a `wait` in progress returns."""
        self._closed = True
        self._server.should_exit = True
        self._delivered.set()


def assert_secret(secret: str) -> None:
    """Raise UsageError for a secret that can be guessed."""
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise UsageError(
            "The webhook needs a secret.",
            where=SECRET_VARIABLE,
            got=f"{len(secret.encode())} bytes",
            do=f"Set {SECRET_VARIABLE} to at least {MIN_SECRET_BYTES} random bytes, and the same "
            "in the webhook's settings on the Hub: openssl rand -hex 32",
        )


def webhook_app(dataset_id: str, secret: str, deliver: Any) -> Starlette:
    """The application: POST / with the secret is delivered, everything else is refused."""

    async def receive(request: Request) -> PlainTextResponse:
        given = request.headers.get("x-webhook-secret", "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            return PlainTextResponse("forbidden", status_code=403)
        body = await _read_body(request)
        if body is None:
            return PlainTextResponse("too large", status_code=413)
        if not concerns(body, dataset_id):
            return PlainTextResponse("ignored", status_code=200)
        deliver()
        return PlainTextResponse("accepted", status_code=202)

    return Starlette(routes=[Route("/", receive, methods=["POST"])])


def concerns(body: bytes, dataset_id: str) -> bool:
    """Whether a delivery is about the reviewed dataset."""
    try:
        repo = json.loads(body)["repo"]
        return bool(repo["type"] == "dataset" and repo["name"] == dataset_id)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


async def _read_body(request: Request) -> bytes | None:
    """The body, or None as soon as it is larger than one may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UsageError(
            "The webhook's port cannot be used.",
            where=f"{host}:{port}",
            got=error.strerror or str(error),
            do="Name another with --webhook HOST:PORT; port 0 takes a free one.",
        ) from None
