"""Turns templates into answers: the frame that every page shares, its headers, and errors."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from hub_trainer.local_hub.accounts import Actor
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.page.sessions import actor_of_session, form_proof, session_of
from hub_trainer.local_hub.wire import Call, error_reply

FOLDER = Path(__file__).parent / "templates"
STYLE = (FOLDER / "page.css").read_bytes()

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "Cookie, Authorization",
}
_UNITS = ((365 * 86400, "year"), (30 * 86400, "month"), (86400, "day"), (3600, "hour"))


def page(call: Call, template: str, status: int = 200, **values: Any) -> Response:
    """A page for whoever makes this call."""
    return _render(call.request, call.actor, template, status, values)


def error_page(core: Core, request: Request, error: WireError) -> Response:
    """An error for people, with the same status and headers that a client would get."""
    actor = Actor() if error.status >= 500 else actor_of_session(core.store, request)
    values = {"status": error.status, "message": error.message, "code": error.code or ""}
    answer = _render(request, actor, "error.html", error.status, values)
    for name, value in error_reply(error).headers.items():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _render(
    request: Request, actor: Actor, template: str, status: int, values: dict[str, Any]
) -> Response:
    session = session_of(request)
    frame = {
        "actor": actor,
        "proof": form_proof(session) if session else "",
        "here": request.scope["path"],
        "query": request.query_params.get("search", ""),
    }
    html = _environment.get_template(template).render(**frame, **values)
    return HTMLResponse(html.encode("utf-8", "replace"), status, HEADERS)


def to(*parts: str, **query: Any) -> str:
    """A path of ours: every part is quoted whole, so none can become two."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(query)}" if query else path


def to_file(repo_url: str, kind: str, revision: str, path: str) -> str:
    """The page of a file or folder of a repo."""
    rest = f"/{quote(path, safe='/')}" if path else ""
    return f"{repo_url}/{kind}/{quote(revision, safe='')}{rest}"


def size(num_bytes: int) -> str:
    """Bytes for people."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def ago(moment: str, now: datetime | None = None) -> str:
    """How long ago a time in the Hub's format was."""
    then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    for span, unit in _UNITS:
        if seconds >= span:
            number = seconds // span
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return f"{seconds // 60} min ago" if seconds >= 60 else "just now"


def moment(text: str) -> str:
    """A time in the Hub's format, for people."""
    return f"{text[:10]} {text[11:16]} UTC"


def plural(number: int, word: str) -> str:
    """`1 file`, `2 files`, `2 replies`."""
    if number == 1:
        return f"1 {word}"
    return f"{number:,} {word[:-1] + 'ies' if word.endswith('y') else word + 's'}"


def _build() -> Environment:
    found = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(size=size, ago=ago, moment=moment, plural=plural)
    found.globals.update(
        to=to, to_file=to_file, style_digest=hashlib.sha256(STYLE).hexdigest()[:12]
    )
    return found


_environment = _build()
