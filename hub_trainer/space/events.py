"""Events of a form, from the page and the API: requests become raters, refusals become messages."""

import asyncio
import keyword
import re
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.errors import HubTrainerError
from hub_trainer.space.raters import Raters
from hub_trainer.space.service import SpaceService
from hub_trainer.space.visitors import (
    as_markdown,
    not_saved,
    rater_of,
    refusals_shown,
    status_line,
)


class Events:
    """Handlers of the page's buttons and of the API, over one service."""

    def __init__(self, service: SpaceService, raters: Raters) -> None:
        self._service, self._raters = service, raters

    def predict(self, request: gr.Request, *values: Any) -> list[Any]:
        """Ask the model: values of the task's outputs, then the ticket to rate with."""
        with refusals_shown():
            shown = self._service.predict(values, rater_of(request, self._raters))
        return [self._service.answer.shown(shown.prediction), shown.ticket]

    async def rate(
        self, generation_id: str, rating: str, answer: str, request: gr.Request
    ) -> dict[str, Any]:
        """Say of a prediction that it is right or wrong, and which label is the right answer."""
        with refusals_shown():
            rating_id = await self._rate(generation_id, rating, answer, request)
        return {"saved": True, "rating_id": rating_id}

    def mend(self, ticket: str) -> list[Any]:
        """The button Wrong: the place for the right answer, and what it holds at first."""
        try:
            return [gr.update(visible=True), gr.update(**self._service.draft(ticket))]
        except HubTrainerError:  # an old ticket: what is wrong with it is said when it is sent
            return [gr.update(visible=True), gr.skip()]

    async def rate_right(self, ticket: str, request: gr.Request) -> str:
        """The button Right."""
        try:
            await self._rate(ticket, "right", "", request)
        except HubTrainerError as error:
            return not_saved(error)
        return "**Saved.** Thank you: the model was right."

    async def rate_wrong(self, ticket: str, corrected: Any, request: gr.Request) -> str:
        """The button that sends the right answer."""
        answer = self._service.answer
        said = answer.said(corrected)
        try:
            await self._rate(ticket, "wrong", said, request)
        except HubTrainerError as error:
            return not_saved(error)
        return f"**Saved.** Thank you: the right answer is {as_markdown(answer.told(said))}."

    async def _rate(self, ticket: str, kind: str, answer: str, request: gr.Request) -> str:
        rater = await asyncio.to_thread(rater_of, request, self._raters)
        return await self._service.rate(ticket, kind, answer, rater)

    def status(self) -> str:
        """The line at the foot of the page."""
        return status_line(self._service.intake.outbox.status())


def with_names(asked: Callable[..., list[Any]], labels: Sequence[str]) -> Callable[..., list[Any]]:
    """The handler with its values under the names of the inputs, as the API shows them."""

    def named(request: gr.Request, *values: Any) -> list[Any]:
        return asked(request, *values)

    names = ["request"]
    for label in labels:
        name = re.sub(r"\W+", "_", label.strip().lower()).strip("_") or "value"
        name = f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
        same = 1 + sum(one == name or one.startswith(f"{name}_") for one in names)
        names.append(name if name not in names else f"{name}_{same}")
    kinds = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    # Gradio reads the names from the signature.
    named.__signature__ = Signature(kinds)  # type: ignore[attr-defined]
    return named
