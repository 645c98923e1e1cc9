"""Builds the ASGI app: every call goes through sign-in and permission to its handler."""

import base64
import binascii
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import cast, get_args
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hub_trainer.local_hub.accounts import Actor, actor_of_token
from hub_trainer.local_hub.core import Core
from hub_trainer.local_hub.edge import Edge
from hub_trainer.local_hub.errors import (
    WireError,
    bad_credentials,
    bad_request,
    not_found,
    repo_not_found,
    too_large,
)
from hub_trainer.local_hub.git_refusal import git_refusal
from hub_trainer.local_hub.names import TYPE_OF_PLURAL, RepoType
from hub_trainer.local_hub.page.render import error_page
from hub_trainer.local_hub.page.sessions import actor_of_session
from hub_trainer.local_hub.permissions import (
    Operation,
    authorize,
    can_see,
    require_user,
    require_write_token,
)
from hub_trainer.local_hub.repo_rows import Repo, find_renamed, find_repo
from hub_trainer.local_hub.routes import ROUTES
from hub_trainer.local_hub.wire import Call, Entry, error_reply

log = logging.getLogger(__name__)

MAX_DRAINED_BYTES = 64 * 1024 * 1024


class _Pattern(Convertor[str]):
    """A part of a path that matches a regular expression."""

    def __init__(self, regex: str) -> None:
        setattr(self, "regex", regex)  # noqa: B010 - a class variable to the type checker

    def convert(self, value: str) -> str:
        """Text stays text."""
        return value

    def to_string(self, value: str) -> str:
        """Text stays text."""
        return value


register_url_convertor("kind", _Pattern("models|datasets|spaces"))
register_url_convertor("num", _Pattern("[0-9]{1,9}"))
register_url_convertor("space", _Pattern("spaces"))
register_url_convertor("prefix", _Pattern("(?:datasets/|spaces/)?"))
register_url_convertor("rev", _Pattern("refs/(?:pr|convert|heads|tags)/[^/]+|[^/]+"))
_VERBS = (
    "revision tree paths-info refs branch tag commits compare super-squash preupload commit "
    "discussions settings duplicate auth-check like likers user-access-request lfs-files "
    "variables secrets runtime xet-read-token xet-write-token"
)
register_url_convertor("verb", _Pattern(_VERBS.replace(" ", "|")))
register_url_convertor("dotgit", _Pattern(r"(?:\.git)?"))
# A namespace that has a page: not the first part of one of our own addresses.
register_url_convertor("owner", _Pattern("(?!(?:api|assets|models|datasets|spaces|uploads)/)[^/]+"))
register_url_convertor("word", _Pattern(r"[^/]+?"))


def build_app(core: Core, allowed_hosts: tuple[str, ...] = ()) -> ASGIApp:
    """The whole Local Hub as an ASGI app."""
    routes = [Route(entry.path, _endpoint(core, entry), methods=[entry.method]) for entry in ROUTES]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _plain_error})
    app.router.redirect_slashes = False
    return Edge(app, allowed_hosts)


def _endpoint(core: Core, entry: Entry) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await _serve(core, entry, request)
        except WireError as error:
            await _drain(request)
            return _refuse(core, entry, request, error)
        except ClientDisconnect:
            return Response(status_code=400)
        except (UnicodeEncodeError, OverflowError):
            # A lone surrogate, or a number beyond 64 bits, somewhere in what was sent.
            return error_reply(bad_request("The request holds text or a number that is not valid."))
        except Exception:
            log.exception("%s %s failed", request.method, request.scope["path"])
            return _refuse(core, entry, request, WireError(500, "Internal error"))

    return endpoint


def _refuse(core: Core, entry: Entry, request: Request, error: WireError) -> Response:
    if entry.page:
        return error_page(core, request, error)
    error = _ask_for_password(request, error)
    return git_refusal(request, error) if entry.of_git else error_reply(error)


async def _serve(core: Core, entry: Entry, request: Request) -> Response:
    """Sign in, find the repo, check permission, read the body, call the handler."""
    if request.method in ("GET", "HEAD") and not entry.streams:
        return await run_in_threadpool(lambda: _answer(_prepare(core, entry, request), entry, b""))
    prepared = await run_in_threadpool(_prepare, core, entry, request)
    if isinstance(prepared, Response):
        return prepared
    if entry.streams:
        handler = cast(Callable[[Call], Awaitable[Response]], entry.handler)
        return await handler(prepared)
    body = await _read_body(request, core.limits.json_bytes)
    return await run_in_threadpool(_answer, prepared, entry, body)


def _answer(prepared: Call | Response, entry: Entry, body: bytes) -> Response:
    if isinstance(prepared, Response):
        return prepared
    call = Call(
        prepared.core, prepared.request, prepared.actor, prepared.params, prepared.found_repo, body
    )
    handler = cast(Callable[[Call], Response], entry.handler)
    assert not inspect.iscoroutinefunction(handler), f"{entry.path} must be marked as streaming"
    return handler(call)


def _prepare(core: Core, entry: Entry, request: Request) -> Call | Response:
    params = {key: _unquote(value) for key, value in request.path_params.items()}
    actor = _actor_of(core, request, entry)
    if "name" not in params:
        _require_account(actor, entry)
        return Call(core, request, actor, params, None)
    kind = params.get("kind") or params.get("prefix", "").rstrip("/") or "models"
    found = _find(core, actor, TYPE_OF_PLURAL[kind], params["ns"], params["name"])
    if isinstance(found, str):
        return _redirect(request, params, found)
    assert entry.needs in get_args(Operation), f"{entry.path} names a repo but guards nothing"
    authorize(core.store, actor, found, cast(Operation, entry.needs))
    return Call(core, request, actor, params, found)


def _require_account(actor: Actor, entry: Entry) -> None:
    if entry.needs == "user":
        require_user(actor)
    elif entry.needs == "write_token":
        require_write_token(actor)
    else:
        assert entry.needs in ("anyone", "ticket"), f"{entry.path} names no repo"


def _find(core: Core, actor: Actor, repo_type: RepoType, ns: str, name: str) -> Repo | str:
    """The repo, or the new name of one that was moved, if the actor may know of it."""
    repo = find_repo(core.store, repo_type, f"{ns}/{name}")
    if repo is not None:
        return repo
    renamed = find_renamed(core.store, repo_type, f"{ns}/{name}")
    if renamed is not None and can_see(actor, renamed):
        return renamed.full_name
    raise repo_not_found(anonymous=actor.anonymous)


def _redirect(request: Request, params: dict[str, str], full_name: str) -> Response:
    raw: str = request.scope["path"]
    old = f"/{request.path_params['ns']}/{request.path_params['name']}"
    location = raw.replace(old, f"/{full_name}", 1)
    if request.url.query:
        location += f"?{request.url.query}"
    return RedirectResponse(location, status_code=307)


def _actor_of(core: Core, request: Request, entry: Entry) -> Actor:
    if entry.needs == "ticket":
        return Actor()
    authorization = request.headers.get("authorization", "")
    if entry.page and not authorization:
        return actor_of_session(core.store, request)
    return actor_of_token(core.store, token_of(authorization))


def token_of(authorization: str) -> str | None:
    """The token in a Bearer header, or the password of a Basic one."""
    scheme, _, value = authorization.strip().partition(" ")
    if not scheme:
        return None
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        raise bad_credentials()
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_credentials() from None
    user, _, password = pair.partition(":")
    return password or user or None


def _unquote(value: str) -> str:
    text = unquote(value, errors="surrogateescape")
    if "\0" in text or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise bad_request("The path is not valid UTF-8.")
    return text


async def _read_body(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large(f"The body is larger than {most} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def _ask_for_password(request: Request, error: WireError) -> WireError:
    """git and git-lfs send a password only after they were asked for one."""
    if error.status == 401 and "/api/" not in request.scope["path"]:
        error.headers["WWW-Authenticate"] = 'Basic realm="Local Hub", charset="UTF-8"'
    return error


async def _drain(request: Request) -> None:
    """Read what the client is still sending, so that it reads our answer and not a broken pipe."""
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_DRAINED_BYTES:
                return
    except (ClientDisconnect, RuntimeError):  # gone, or the handler has read it already
        return


async def _plain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_reply(not_found(f"Cannot {request.method} {request.scope['path']}"))
    return error_reply(
        WireError(error.status_code, error.detail, headers=dict(error.headers or {}))
    )
