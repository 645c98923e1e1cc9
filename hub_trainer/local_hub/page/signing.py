"""Routes of signing in and out, of the style sheet, and the guard of every form."""

from functools import wraps
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response

from hub_trainer.local_hub.errors import WireError
from hub_trainer.local_hub.page import render, sessions
from hub_trainer.local_hub.permissions import Operation
from hub_trainer.local_hub.wire import Call, Entry, PlainHandler


def form_entry(path: str, handler: PlainHandler, needs: Operation) -> Entry:
    """A form that people send: only with the proof that one of our pages made it."""

    @wraps(handler)
    def guarded(call: Call) -> Response:
        sessions.check_proof(call.request, field(call, "proof"))
        return handler(call)

    return Entry("POST", path, guarded, needs, page=True)


def field(call: Call, name: str) -> str:
    """A field of the form that was sent, or the empty string."""
    return call.form().get(name, [""])[-1]


def see_other(path: str) -> Response:
    """After a form: on to a page, so that a reload sends nothing twice."""
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


def show_login(call: Call) -> Response:
    """GET /login."""
    return render.page(call, "login.html", onward=_onward(call.query("next")), problem="")


def log_in(call: Call) -> Response:
    """POST /login: a token for a session. The answer never shows the token."""
    sent = parse_qs(call.body.decode("utf-8", "replace"))
    onward = _onward(sent.get("next", [""])[-1])
    try:
        session = sessions.sign_in(call.core.store, sent.get("token", [""])[-1].strip())
    except WireError:
        problem = "Nobody here has this token. Check that all of it was pasted."
        return render.page(call, "login.html", 401, onward=onward, problem=problem)
    answer = see_other(onward)
    sessions.set_cookie(call.request, answer, session)
    return answer


def log_out(call: Call) -> Response:
    """POST /logout."""
    if sessions.session_of(call.request):
        sessions.check_proof(call.request, field(call, "proof"))
        sessions.sign_out(call.core.store, call.request)
    answer = see_other("/")
    answer.delete_cookie(sessions.cookie_name(call.request))
    return answer


def _onward(path: str) -> str:
    """Where to go after signing in: a path of this site, never another one."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\", "/login"))
    return path if plain and path.isprintable() and "\\" not in path else "/"


def style(call: Call) -> Response:
    """GET /assets/page.css: its address holds its hash, so it may be kept for ever."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(render.STYLE, media_type="text/css; charset=utf-8", headers=headers)


ROUTES = [
    Entry("GET", "/assets/page.css", style, "anyone", page=True),
    Entry("GET", "/login", show_login, "anyone", page=True),
    Entry("POST", "/login", log_in, "anyone", page=True),
    Entry("POST", "/logout", log_out, "anyone", page=True),
]
