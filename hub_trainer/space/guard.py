"""Guard before the Space's routes: a request's size, its JSON, the asker's limit."""

import asyncio
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 1_000_000
MAX_DEPTH = 50
NOT_UNDERSTOOD = "The Space has no answer to this request: its API page says what to send."
RATE = "/rate"
"""A route that reads its small body itself, with `parsed`."""
UPLOAD = "/upload"
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")


class BadBody(Exception):
    """A body that is taken no further, and the status of the answer."""

    def __init__(self, what: str, status: int = 400) -> None:
        super().__init__(what)
        self.status = status


def guarded(app: Any, refusal: Callable[[Scope, Any], str | None]) -> Any:
    """The application behind the guard; `refusal` says why a visitor may not ask now, if so."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_looked_at(scope):
            await app(scope, receive, send)
            return
        try:
            body = await _read(receive)
            sent = None if _is_form(scope) else parsed(body)
        except BadBody as error:
            await _refuse(send, error.status, str(error))
            return
        refused = await asyncio.to_thread(refusal, scope, sent)
        if refused:
            await _refuse(send, 429, refused)
            return
        await _without_faults(app, scope, _again(body, receive), send)

    return answer


def _is_looked_at(scope: Scope) -> bool:
    """All that brings a body but uploads, which Gradio bounds."""
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or scope["path"] == RATE:
        return False
    return not (_is_form(scope) and scope["path"].endswith(UPLOAD))


def _is_form(scope: Scope) -> bool:
    """Whether the body says that it is no JSON; outside of uploads Gradio takes none such."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1").strip().lower()
    return kind.startswith(("multipart/form-data", "application/x-www-form"))


async def _without_faults(app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Gradio answers 500 to what it does not understand, and to what our handlers refuse."""
    fault: list[bytes] = []
    begun = False

    async def send_unless_fault(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start" and message["status"] >= 500:
            fault.append(b"")
        elif fault:
            fault.append(bytes(message.get("body", b"")))
        else:
            begun = True
            await send(message)

    try:
        await app(scope, receive, send_unless_fault)
    except Exception:
        if begun:
            raise
        log.exception("a request to %s was not understood", scope["path"])
        fault.append(b"")
    if fault:
        await _refuse(send, 422, _told(b"".join(fault)))


def _told(content: bytes) -> str:
    """The sentence in an error of Gradio's, else one of our own."""
    try:
        found = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        found = None
    return found if isinstance(found, str) and found else NOT_UNDERSTOOD


def parsed(body: bytes) -> Any:
    """The JSON value of a body, None of an empty one. Raises BadBody for one that could do harm."""
    if not body.strip():
        return None
    depth = most = 0
    for bracket in BRACKET.findall(STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        most = max(most, depth)
    if most > MAX_DEPTH:
        raise BadBody(f"The JSON is nested {most:,} deep, and {MAX_DEPTH} is the limit.")
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadBody("The body is not JSON.") from None
    for text in _texts(value):
        if "\0" in text:
            raise BadBody("The JSON holds a NUL character.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadBody("The JSON holds half of a character (a lone surrogate).") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one)


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BadBody("The body was not sent to its end.")
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise BadBody(f"The body is over {MAX_BODY_BYTES:,} bytes.", 413)
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """What receives the body once more, and then whatever comes."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


async def _refuse(send: Send, status: int, what: str) -> None:
    content = json.dumps({"error": what, "detail": what}).encode()
    headers = [(b"content-type", b"application/json")]
    headers += [(b"retry-after", b"60")] if status == 429 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
