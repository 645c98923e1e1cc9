"""What the page and the API call: requests become raters, refusals become messages for people."""

import asyncio
import html
import time
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.errors import HubTrainerError
from hub_trainer.ratings import OutboxStatus
from hub_trainer.space.raters import Rater, Raters
from hub_trainer.space.service import SpaceService
from hub_trainer.tasks import Prediction

MARKDOWN = frozenset("\\`*_{}[]()#+-.!|~$")


class Events:
    """Handlers of the page's buttons and of the API, over one service."""

    def __init__(self, service: SpaceService, raters: Raters) -> None:
        self._service, self._raters = service, raters

    def predict(self, request: gr.Request, *values: Any) -> list[Any]:
        """Ask the model: values of the task's outputs, then the ticket to rate with."""
        try:
            shown = self._service.predict(values, self._rater(request))
        except HubTrainerError as error:
            raise gr.Error(
                html.escape(sentence(error), quote=False), print_exception=False
            ) from None
        outputs = self._service.loaded.widgets.outputs
        return [*(_value(name, shown.prediction) for name, _ in outputs), shown.ticket]

    async def rate(
        self, generation_id: str, rating: str, answer: str, request: gr.Request
    ) -> dict[str, Any]:
        """Say of a prediction that it is right or wrong, and which label is the right answer."""
        try:
            rating_id = await self._rate(generation_id, rating, answer, request)
        except HubTrainerError as error:
            raise gr.Error(
                html.escape(sentence(error), quote=False), print_exception=False
            ) from None
        return {"saved": True, "rating_id": rating_id}

    async def rate_right(self, ticket: str, request: gr.Request) -> str:
        """The button Right."""
        try:
            await self._rate(ticket, "right", "", request)
        except HubTrainerError as error:
            return f"**Not saved.** {as_markdown(sentence(error))}"
        return "**Saved.** Thank you: the model was right."

    async def rate_wrong(self, ticket: str, answer: str | None, request: gr.Request) -> str:
        """The button that sends the right answer."""
        try:
            await self._rate(ticket, "wrong", answer or "", request)
        except HubTrainerError as error:
            return f"**Not saved.** {as_markdown(sentence(error))}"
        return f"**Saved.** Thank you: the right answer is {as_markdown(answer or '')}."

    async def _rate(self, ticket: str, kind: str, answer: str, request: gr.Request) -> str:
        rater = await asyncio.to_thread(self._rater, request)
        return await self._service.rate(ticket, kind, answer, rater)

    def status(self) -> str:
        """The line at the foot of the page."""
        return _status_line(self._service.outbox.status())

    def _rater(self, request: gr.Request) -> Rater:
        """By token, else by sign-in, else by the session of the page."""
        by_token = self._raters.from_token(request.headers)
        if by_token:
            return by_token
        account = _signed_in(request)
        if account:
            return self._raters.of_account(account)
        return self._raters.of_session(str(request.session_hash))


def as_markdown(text: str) -> str:
    """Text that a Markdown reader shows as it is."""
    return "".join(f"\\{char}" if char in MARKDOWN else html.escape(char) for char in text)


def sentence(error: HubTrainerError) -> str:
    """What is wrong and what to do."""
    return error.what + (f" {error.do[0].upper()}{error.do[1:].rstrip('.')}." if error.do else "")


def _signed_in(request: gr.Request) -> str | None:
    """Account id of who is signed in through the Hub; the session is a cookie signed by Gradio."""
    scope = request.request.scope if request.request else {}
    info = scope.get("session", {}).get("oauth_info") or {}
    if info.get("expires_at", 0) and info["expires_at"] < time.time():
        return None
    account = info.get("userinfo", {}).get("sub")
    return str(account) if account else None


def _value(component: str, prediction: Prediction) -> Any:
    """A prediction as the value of an output component."""
    assert component == "Label", f"no way to show a prediction in a {component}"
    return dict(prediction.scores)


def _status_line(status: OutboxStatus) -> str:
    if not status.kept:
        return "No ratings yet."
    kept = f"{status.kept:,} rating{'' if status.kept == 1 else 's'} kept"
    if not status.waiting:
        return f"{kept}, all on the Hub."
    if status.last_error:
        return f"{kept}; the Hub cannot be reached, {status.waiting:,} will be sent later."
    return f"{kept}, {status.waiting:,} not on the Hub yet."
