"""Sessions of the pages: an opaque id in a cookie, its hash in the database.

A cookie knows no port, so a page on another port of this host makes the browser send it too. That
is why a form must also carry a proof that only our own pages could have written into it.
"""

import hashlib
import hmac
import secrets
import time

from starlette.requests import Request
from starlette.responses import Response

from hub_trainer.local_hub.accounts import NOBODY, Actor, actor_of_digest, token_digest
from hub_trainer.local_hub.errors import WireError, forbidden
from hub_trainer.local_hub.store import Store, row

SESSION_SECONDS = 7 * 24 * 3600


def cookie_name(request: Request) -> str:
    """One name per port, so that two Local Hubs on one machine do not sign each other out."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"local_hub_session_{port if port.isascii() and port.isdigit() else 80}"


def session_of(request: Request) -> str:
    """The session that the browser sent, or the empty string."""
    return request.cookies.get(cookie_name(request), "")


def actor_of_session(store: Store, request: Request, now: float | None = None) -> Actor:
    """Who is signed in; a session that ran out, or whose token was revoked, is nobody's."""
    session = session_of(request)
    found = row(
        store,
        "SELECT token_digest, expires FROM page_session WHERE digest = ?",
        token_digest(session),
    )
    if not session or found is None or found["expires"] < (time.time() if now is None else now):
        return NOBODY
    try:
        return actor_of_digest(store, found["token_digest"])
    except WireError:
        return NOBODY


def sign_in(store: Store, token: str, now: float | None = None) -> str:
    """Start a session for the holder of a token, else 401; gives back what goes in the cookie."""
    digest = token_digest(token)
    actor_of_digest(store, digest)
    session = secrets.token_urlsafe(32)
    moment = time.time() if now is None else now
    values = (token_digest(session), digest, moment + SESSION_SECONDS)
    with store.write() as db:
        db.execute("DELETE FROM page_session WHERE expires < ?", (moment,))
        db.execute("INSERT INTO page_session VALUES (?, ?, ?)", values)
    return session


def sign_out(store: Store, request: Request) -> None:
    """End the session for good."""
    with store.write() as db:
        digest = token_digest(session_of(request))
        db.execute("DELETE FROM page_session WHERE digest = ?", (digest,))


def set_cookie(request: Request, answer: Response, session: str) -> None:
    """Hand the session to the browser, out of reach of scripts and of other sites."""
    answer.set_cookie(
        cookie_name(request),
        session,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def form_proof(session: str) -> str:
    """What a form carries to show that one of our pages made it for this session."""
    return hashlib.sha256(f"form:{session}".encode()).hexdigest()


def check_proof(request: Request, sent: str) -> None:
    """Refuse a form that was not made for this session. A token in a header needs no proof."""
    if "authorization" in request.headers:
        return
    expected = form_proof(session_of(request))
    if not hmac.compare_digest(expected.encode(), sent.encode("utf-8", "replace")):
        raise forbidden("This form is not from this session. Load the page again and retry.")
