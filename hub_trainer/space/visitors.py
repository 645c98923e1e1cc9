"""Visitors: the rater behind a request of page or API, and how a refusal reads to them."""

import html
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.errors import HubTrainerError
from hub_trainer.ratings import OutboxStatus
from hub_trainer.space.asking_limits import AskingLimits
from hub_trainer.space.raters import Rater, Raters

MARKDOWN = frozenset("\\`*_{}[]()#+-.!|~$")


def rater_of(request: gr.Request, raters: Raters) -> Rater:
    """By token, else by sign-in, else by the session of the page. May ask the Hub."""
    by_token = raters.from_token(request.headers)
    if by_token:
        return by_token
    account = _signed_in(request)
    if account:
        return raters.of_account(account)
    return raters.of_session(str(request.session_hash), source_of(request.request, raters))


def source_of(request: Any, raters: Raters) -> str:
    """The network that a Starlette request comes from, under its pseudonym of the day."""
    peer = request.client.host if request.client else None
    return raters.sources.of_request(peer, request.headers.getlist("x-forwarded-for"))


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Turns our errors into Gradio's, which the page shows and a client raises."""
    try:
        yield
    except HubTrainerError as error:
        message = html.escape(sentence(error), quote=False)
        raise gr.Error(message, print_exception=False) from None


def not_saved(error: HubTrainerError) -> str:
    """A refusal as Markdown, beside the buttons."""
    return f"**Not saved.** {as_markdown(sentence(error))}"


def as_markdown(text: str) -> str:
    """Text that a Markdown reader shows as it is."""
    return "".join(f"\\{char}" if char in MARKDOWN else html.escape(char) for char in text)


def sentence(error: HubTrainerError) -> str:
    """What is wrong and what to do."""
    return error.what + (f" {error.do[0].upper()}{error.do[1:].rstrip('.')}." if error.do else "")


def status_line(status: OutboxStatus) -> str:
    """How many ratings there are, and whether the Hub has them."""
    if not status.kept:
        return "No ratings yet."
    kept = f"{status.kept:,} rating{'' if status.kept == 1 else 's'} kept"
    if not status.waiting:
        return f"{kept}, all on the Hub."
    if status.last_error:
        return f"{kept}; the Hub cannot be reached, {status.waiting:,} will be sent later."
    return f"{kept}, {status.waiting:,} not on the Hub yet."


def asking_refusal(
    limits: AskingLimits, raters: Raters, page: gr.Blocks
) -> Callable[[Mapping[str, Any], Any], str | None]:
    """Why a request may not ask the model now, told before it joins the queue.

    Who is signed in by cookie is known only to Gradio: their limit is looked at in the queue.
    """
    from starlette.requests import Request

    asking = {
        number: fn.api_name for number, fn in page.fns.items() if fn.concurrency_id == "model"
    }

    def refusal(scope: Mapping[str, Any], sent: Any) -> str | None:
        request = Request(dict(scope))
        name = scope["path"].rstrip("/").rsplit("/", 1)[-1]
        number = sent.get("fn_index") if isinstance(sent, dict) else None
        asks = name in asking.values() or (isinstance(number, int) and number in asking)
        if not asks or "session" in request.cookies:
            return None
        try:
            by_token = raters.from_token(request.headers)
        except HubTrainerError:  # told where the question is asked
            return None
        visitor = by_token.limited_as if by_token else source_of(request, raters)
        refused = limits.refusal(visitor)
        return sentence(refused) if refused else None

    return refusal


def _signed_in(request: gr.Request) -> str | None:
    """Account id of who is signed in through the Hub; the session is a cookie signed by Gradio."""
    scope = request.request.scope if request.request else {}
    info = scope.get("session", {}).get("oauth_info") or {}
    if info.get("expires_at", 0) and info["expires_at"] < time.time():
        return None
    account = info.get("userinfo", {}).get("sub")
    return str(account) if account else None
