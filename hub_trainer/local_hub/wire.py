"""Requests as handlers get them (a Call) and their answers: JSON, pages, errors."""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import Response

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import WireError, bad_request
from hub_trainer.local_hub.permissions import Operation, authorize
from hub_trainer.local_hub.repo_rows import Repo

Need = Operation | Literal["anyone", "user", "write_token", "ticket"]
"""What a route asks of the actor: an operation on the repo that the path names, or: nothing
(anyone), any valid token (user), one that may change things (write_token), a signed URL (ticket).
"""


@dataclass(frozen=True)
class Call:
    """One request, after sign-in and permission."""

    core: Core
    request: Request
    actor: Actor
    params: dict[str, str]
    """Parts of the path, unquoted."""
    found_repo: Repo | None
    body: bytes = b""

    @property
    def repo(self) -> Repo:
        """The repo that the path names."""
        assert self.found_repo is not None, "this route names no repo"
        return self.found_repo

    @property
    def endpoint(self) -> str:
        """This server as the client addresses it."""
        return f"{self.request.url.scheme}://{self.request.headers.get('host', '')}"

    def require(self, operation: Operation) -> None:
        """Check a further permission on the repo."""
        authorize(self.core.store, self.actor, self.repo, operation)

    def query(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return self.request.query_params.get(name, default)

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter, also written `name[]` or with commas."""
        params = self.request.query_params
        values = [*params.getlist(name), *params.getlist(f"{name}[]")]
        return [part for value in values for part in value.split(",") if part]

    def flag(self, name: str) -> bool:
        """A query parameter that says yes."""
        return self.query(name).lower() in ("1", "true", "yes")

    def number(self, name: str, default: int, most: int) -> int:
        """A whole, not negative query parameter."""
        text = self.query(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 9:
            raise bad_request(f"{name} must be a whole number, not {text!r}.")
        return min(int(text), most)

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object; an empty body is an empty one."""
        if not self.body.strip():
            return {}
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            raise bad_request("The body is not valid JSON.") from None
        if not isinstance(found, dict):
            raise bad_request("The body must be a JSON object.")
        return found

    def form(self) -> dict[str, list[str]]:
        """The body as a form; JSON is accepted too."""
        if "json" in self.request.headers.get("content-type", ""):
            return {key: _as_texts(value) for key, value in self.json().items()}
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def text(self, field: str, default: str | None = None) -> str:
        """A text field of the JSON body; required without a default."""
        value = self.json().get(field, default)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise bad_request(f"The field {field} is missing or not text.")
        return value


def _as_texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [json.dumps(each) if isinstance(each, bool) else str(each) for each in values]


PlainHandler = Callable[[Call], Response]
Handler = PlainHandler | Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Entry:
    """One row of the route table."""

    method: str
    path: str
    handler: Handler
    needs: Need
    streams: bool = False
    """The handler is async and reads the body itself."""
    of_git: bool = False
    """For git itself, which shows people the text of an error."""
    page: bool = False
    """For people: errors are pages, and whoever is signed in there needs no token."""


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(
        text.encode("utf-8", "replace"),
        status,
        headers,
        media_type="application/json; charset=utf-8",
    )


def nothing() -> Response:
    """Done, and nothing to say."""
    return reply({"success": True})


def error_reply(error: WireError) -> Response:
    """An error in the Hub's shape: text in the JSON and in `X-Error-Message`, code in a header."""
    headers = {"X-Error-Message": header_text(error.message), **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return reply({"error": error.message, **error.extra}, error.status, headers)


def header_text(text: str) -> str:
    """Text that may stand in a header: one line of Latin-1, not too long, no blanks around it."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:1000].strip().encode("latin-1", "replace").decode("latin-1")


def cursor_of(call: Call) -> tuple[str, int]:
    """(what is listed, where to go on) from the cursor in the query."""
    text = call.query("cursor")
    if not text:
        return "", 0
    try:
        pinned, offset = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        if not isinstance(pinned, str) or not isinstance(offset, int) or offset < 0:
            raise ValueError
    except (ValueError, TypeError):
        raise bad_request("The cursor is not one of ours.") from None
    return pinned, offset


def page(call: Call, items: Sequence[Any], more: tuple[str, int] | None) -> Response:
    """One page of a list, with a Link to the next."""
    return reply(items, headers=next_link(call, more))


def next_link(call: Call, more: tuple[str, int] | None) -> dict[str, str]:
    """The header that leads to the next page."""
    if more is None:
        return {}
    cursor = base64.urlsafe_b64encode(json.dumps(more).encode()).decode()
    query = [pair for pair in call.request.query_params.multi_items() if pair[0] != "cursor"]
    path = call.request.scope["raw_path"].decode("ascii")
    url = f"{call.endpoint}{path}?{urlencode([*query, ('cursor', cursor)])}"
    return {"Link": f'<{url}>; rel="next"'}
