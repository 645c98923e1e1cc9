"""Intake of ratings: tickets that this server signed, what was shown, and what is said of it."""

import asyncio
import hashlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from hub_trainer.errors import HubTrainerError
from hub_trainer.ratings import Generation, NewRating, Outbox, Pair, RatingRefused
from hub_trainer.ratings.rating_records import Kind
from hub_trainer.space.asking_limits import AskingLimits
from hub_trainer.space.durability import Durability
from hub_trainer.space.raters import Rater
from hub_trainer.space.settings import SpaceSettings, consent_text

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
TICKET_SECONDS = 24 * 3600
MAX_TICKET_CHARACTERS = 50_000
"""A ticket holds the prediction, which may say the text that it is about."""
ACKNOWLEDGE_SECONDS = 100.0
"""How long a rater waits for the Hub to have a rating."""


class RatingIntake:
    """Keeps what is shown and what is said of it; refusals are RatingRefused."""

    def __init__(
        self,
        settings: SpaceSettings,
        outbox: Outbox,
        *,
        key: bytes,
        needs_account: bool = False,
        durability: Durability = "disk",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.outbox, self.needs_account, self.now = (
            settings,
            outbox,
            needs_account,
            now,
        )
        self.consent = consent_text(settings)
        self.model = f"{settings.model_repo_id}@{settings.commit_sha}"
        self.signer = URLSafeTimedSerializer(key, salt="hub-trainer generation")
        self._consent_version = hashlib.sha256(self.consent.encode()).hexdigest()[:12]
        self.durability = durability
        self._store = outbox.store
        self.limits = AskingLimits(
            settings.predictions_per_minute, settings.predictions_per_day, now=now
        )

    # --- what is shown

    def keep(self, generation: Generation) -> None:
        """Keep what the model said, so that it can be rated."""
        _kept(self._store.add_generation(generation))

    def keep_pair(self, pair: Pair, sides: tuple[Generation, Generation]) -> None:
        """Keep two answers that are shown side by side."""
        _kept(self._store.add_pair(pair, sides))

    def ticket(self, *content: str) -> str:
        """A signed ticket with which what it names can be rated for a day."""
        return str(self.signer.dumps(list(content)))

    def open_ticket(self, ticket: str) -> tuple[str, str]:
        """The two texts in a ticket that this server signed."""
        try:
            if not isinstance(ticket, str) or len(ticket) > MAX_TICKET_CHARACTERS:
                raise BadSignature("too long")
            first, second = self.signer.loads(ticket, max_age=TICKET_SECONDS)
        except SignatureExpired:
            raise RatingRefused(
                "This prediction is more than a day old.", reason="expired", do="Ask again."
            ) from None
        except BadSignature:
            raise RatingRefused(
                "This is not a prediction of this Space.",
                reason="unknown",
                do="Ask the model first.",
            ) from None
        return first, second

    # --- what is said of it

    def assert_may_rate(self, rater: Rater) -> None:
        """Raise RatingRefused for somebody unknown where raters sign in."""
        if self.needs_account and rater.tier == "anonymous":
            raise RatingRefused("Sign in to rate.", reason="rater", do="Then ask the model again.")

    def rating(
        self, generation_id: str, kind: Kind, answer: str, rater: Rater, pair_id: str | None = None
    ) -> NewRating:
        """A rating by `rater`, under the consent that is shown here."""
        return NewRating(
            rating_id=secrets.token_hex(16),
            generation_id=generation_id,
            rater=rater.pseudonym,
            rater_tier=rater.tier,
            kind=kind,
            answer=answer,
            consent=self._consent_version,
            created=self.now(),
            pair_id=pair_id,
            source=rater.source,
        )

    async def save(self, rating: NewRating) -> str:
        """Keep a rating; returns its id once it is where `durability` says."""
        future = self._store.add_rating(rating, max_per_hour=self.settings.ratings_per_hour)
        try:
            rating_id = await asyncio.wrap_future(future)
        except sqlite3.Error as error:
            raise _not_kept(error) from error
        if self.durability == "hub":
            await self._on_the_hub()
        else:
            self.outbox.notify()
        return rating_id

    async def _on_the_hub(self) -> None:
        """Wait until what is kept has been stored through the Hub's API."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.outbox.stored()), ACKNOWLEDGE_SECONDS)
        except (TimeoutError, HubTrainerError):
            raise RatingRefused(
                "Your rating is not on the Hub yet, which does not take it at the moment.",
                reason="busy",
                do="It is sent again by itself; to be sure, rate once more in a while.",
            ) from None

    def forget_unrated(self) -> None:
        """Delete inputs whose ticket has run out and that nobody rated."""
        try:
            self._store.forget_unrated(before=self.now() - TICKET_SECONDS)
        except sqlite3.Error as error:
            log.warning("inputs that were not rated could not be deleted: %s", error)

    def health(self) -> dict[str, Any]:
        """Which model is served, and how far the Hub is behind."""
        settings, status = self.settings, self.outbox.status()
        return {
            "status": "ok",
            "task": settings.task,
            "model": {"repo_id": settings.model_repo_id, "commit_sha": settings.commit_sha},
            "consent": self.consent,
            "durability": self.durability,
            "ratings": {
                "repo_id": settings.ratings_repo_id,
                "kept": status.kept,
                "waiting": status.waiting,
                "last_flush": status.last_flush,
                "last_error": status.last_error,
                "flush_seconds": settings.flush_seconds,
            },
        }


def _kept(future: "Future[Answer]") -> Answer:
    try:
        return future.result()
    except sqlite3.Error as error:
        raise _not_kept(error) from error


def _not_kept(error: sqlite3.Error) -> RatingRefused:
    log.error("nothing can be kept: %s", error)
    return RatingRefused(
        "Nothing can be kept at the moment.", reason="storage", do="Try again later."
    )
