"""Events of a conversation, from the page and the API, and how an answer in progress is stopped."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

from hub_trainer.errors import HubTrainerError
from hub_trainer.space.chat.bubbles import conversation, side_by_side
from hub_trainer.space.chat.chat_service import ChatService
from hub_trainer.space.chat.messages import readable
from hub_trainer.space.raters import Raters
from hub_trainer.space.visitors import not_saved, rater_of, refusals_shown, status_line

Piece = TypeVar("Piece")
Marks = dict[str, str]
"""Ticket of an answer -> how the visitor rated it last."""
Turn = dict[str, str]
"""What a visitor said (`user`), what was answered (`assistant`, or `left` and `right`), and the
ticket to rate that with; kept on the server for as long as the page is open."""
PACE_SECONDS = 0.05
"""Pause between two updates of an answer that is shown while it is written."""
SIDES = {"left": "Left answer", "right": "Right answer"}
THANKS = {
    "up": "**Saved.** Thank you: a good answer.",
    "down": "**Saved.** Thank you: a bad answer.",
    "edit": "**Saved.** Thank you for the better answer.",
    "report": "**Saved.** Thank you: the report is kept.",
    "left": "**Saved.** Thank you: the left answer is better.",
    "right": "**Saved.** Thank you: the right answer is better.",
    "tie": "**Saved.** Thank you: both are equally good.",
}


class ChatEvents:
    """Handlers of the page's buttons and of the API, over one service."""

    def __init__(self, service: ChatService, raters: Raters) -> None:
        self._service, self._raters = service, raters
        self._stops: dict[str, threading.Event] = {}

    # --- the API

    def chat(
        self, message: str, request: gr.Request, after: str = ""
    ) -> Iterator[dict[str, str | None]]:
        """Ask the model; `after` is the generation_id of the answer that the message follows.

        Streams the answer as far as it is written; the last piece has the id to rate it with.
        """
        with refusals_shown():
            rater = rater_of(request, self._raters)
            for written in paced(self._service.answer(message, after, rater)):
                yield {"answer": written.text, "generation_id": written.ticket}

    def pair(
        self, message: str, request: gr.Request, after: str = ""
    ) -> Iterator[dict[str, str | None]]:
        """Ask two models, on random sides; `after` is the generation_id of the pair before.

        Streams both answers; the last piece has the id to rate the pair with.
        """
        with refusals_shown():
            rater = rater_of(request, self._raters)
            for pair in paced(self._service.pair(message, after, rater)):
                yield {"left": pair.left, "right": pair.right, "generation_id": pair.ticket}

    async def rate(
        self, generation_id: str, rating: str, request: gr.Request, answer: str = ""
    ) -> dict[str, Any]:
        """Say of an answer: up, down, edit or report; of a pair: left, right or tie.

        `answer` is the edited answer, or the reason of a report; report-left and report-right
        report one side of a pair.
        """
        with refusals_shown():
            rating_id = await self._rate(generation_id, rating, answer, request)
        return {"saved": True, "rating_id": rating_id}

    # --- the page

    def answer(
        self, message: str, turns: list[Turn], marks: Marks, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """The conversation as it grows by an answer: how it looks, turns, the emptied input, and
        which answer can be rated: each, the new one first."""
        typed: Any = ""
        after = turns[-1]["ticket"] if turns else ""
        for written in self._until_stopped(self._service.answer, message, after, request):
            turn = {"user": readable(message), "assistant": written.text}
            if written.is_cut:
                turn["cut"] = "assistant"
            whole = written.ticket is not None
            looks = conversation([*turns, turn], marks=marks, is_whole=whole)
            grown = [*turns, {**turn, "ticket": written.ticket}] if written.ticket else gr.skip()
            # With the turns, before there is anything to press: else a rating could be of another.
            yield looks, grown, typed, rateable(len(turns) + 1) if whole else gr.skip()
            typed = gr.skip()

    def again(
        self, turns: list[Turn], marks: Marks, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Another answer to the last message, in place of the one that is there."""
        yield from self.answer(turns[-1]["user"], turns[:-1], marks, request)

    def answers(
        self, message: str, turns: list[Turn], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """As `answer`, and after the emptied input the two answers and the row that they are in."""
        typed: Any = ""
        after = turns[-1]["ticket"] if turns else ""
        for pair in self._until_stopped(self._service.pair, message, after, request):
            turn = {"user": readable(message), "left": pair.left, "right": pair.right}
            whole = pair.ticket is not None
            grown = [*turns, {**turn, "ticket": pair.ticket}] if pair.ticket else gr.skip()
            left, right = (
                side_by_side(name, turn[side], is_whole=whole, is_cut=side in pair.cut_sides)
                for side, name in SIDES.items()
            )
            yield conversation([*turns, turn]), grown, typed, left, right, gr.update(visible=True)
            typed = gr.skip()

    def stop(self, request: gr.Request) -> None:
        """The button Stop: what is written so far is the answer."""
        running = self._stops.get(str(request.session_hash))
        if running:
            running.set()

    async def say(self, rating: str, text: str, turns: list[Turn], request: gr.Request) -> str:
        """Rate the last answer, or pair of answers; returns what is shown beside it."""
        try:
            await self._rate(turns[-1]["ticket"], rating, text, request)
        except HubTrainerError as error:
            return not_saved(error)
        return THANKS[rating.partition("-")[0]]

    async def rate_answer(
        self,
        rating: str,
        text: str,
        turns: list[Turn],
        place: int | None,
        marks: Marks,
        request: gr.Request,
    ) -> tuple[str, Marks]:
        """Rate one of the answers of the conversation: what is said of it, and all marks.

        The turns are not given back: a rating may take long, and the conversation have gone on.
        """
        turn = rated_turn(turns, place)
        said = await self.say(rating, text, [turn], request)
        return said, {**marks, turn["ticket"]: rating} if said == THANKS[rating] else marks

    async def prefer(self, rating: str, turns: list[Turn], request: gr.Request) -> tuple[Any, ...]:
        """Rate the last pair; the conversation goes on with the better answer, of a tie the left.

        Gives what is said, turns, how they look, and updates that hide the pair and its question.
        """
        said = await self.say(rating, "", turns, request)
        if said != THANKS[rating]:
            return said, *[gr.skip()] * 4
        chosen = turns[-1]["right" if rating == "right" else "left"]
        turn = {**turns[-1], "assistant": chosen, "decided": rating}
        grown, hidden = [*turns[:-1], turn], gr.update(visible=False)
        return said, grown, conversation(grown), hidden, hidden

    def status(self) -> str:
        """The line at the foot of the page."""
        return status_line(self._service.intake.outbox.status())

    async def _rate(self, ticket: str, kind: str, answer: str, request: gr.Request) -> str:
        rater = await asyncio.to_thread(rater_of, request, self._raters)
        return await self._service.rate(ticket, kind, answer, rater)

    def _until_stopped(
        self, write: Callable[..., Iterator[Piece]], message: str, after: str, request: gr.Request
    ) -> Iterator[Piece]:
        session, stop = str(request.session_hash), threading.Event()
        self._stops[session] = stop
        try:
            with refusals_shown():
                rater = rater_of(request, self._raters)
                yield from paced(write(message, after, rater, stopped=stop.is_set))
        finally:
            if self._stops.get(session) is stop:
                del self._stops[session]


def rateable(count: int) -> Any:
    """The choice among so many answers, the latest chosen; there is none of one."""
    places = [(f"Answer {place + 1}", place) for place in range(count)]
    return gr.update(choices=places, value=count - 1, visible=count > 1)


def rated_turn(turns: list[Turn], place: int | None) -> Turn:
    """The turn at this place, or the last where that is none."""
    is_there = isinstance(place, int) and 0 <= place < len(turns)
    return turns[place if is_there else -1]  # type: ignore[index]


def paced(pieces: Iterator[Piece], clock: Callable[[], float] = time.monotonic) -> Iterator[Piece]:
    """The first piece at once, the last for sure, and of those between one in a while."""
    due, held = clock(), None
    for piece in pieces:
        held = piece
        if clock() >= due:
            yield piece
            held, due = None, clock() + PACE_SECONDS
    if held is not None:
        yield held
